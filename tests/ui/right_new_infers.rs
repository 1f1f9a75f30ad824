//! `new` needs no names of parameters.

use context_allocator::source::{CachingSource, PooledSource, RunSource};
use context_allocator::alloc::{Sharded, SizeClassAllocator};
use context_allocator::{
    ArenaSource, BitSetAllocator, BumpAllocator, Locked, MmapSource, MultipleBinarySearchTreeAllocator, SlabAllocator,
};

fn main() {
    let slabs = SlabAllocator::new(PooledSource::new());
    let bits = BitSetAllocator::new(MmapSource::new());
    let tree = MultipleBinarySearchTreeAllocator::new(MmapSource::new());
    let bump = BumpAllocator::new(ArenaSource::new(MmapSource::new()));
    let locked = Locked::new(BumpAllocator::new(CachingSource::new(MmapSource::new())));
    let classes = SizeClassAllocator::new(RunSource::new(MmapSource::new()));
    let shards = Sharded::new(SlabAllocator::new(PooledSource::new()));
    let _ = (slabs, bits, tree, bump, locked, classes, shards);
}
