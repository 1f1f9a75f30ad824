//! What the library's description names is at the root, and complete as it is written there.

use context_allocator::alloc::{LocalAllocator, SizeClassAllocator};
use context_allocator::size::U64;
use context_allocator::source::{CachingSource, LimitSource};
use context_allocator::{
    Allocator, ArenaSource, BitSetAllocator, BumpAllocator, ContextAllocator, MemorySource, MmapAllocator,
    MmapSource, MultipleBinarySearchTreeAllocator,
};

const fn allocators<A: Allocator + Send>() {}
const fn in_tiers<A: LocalAllocator>() {}
const fn sources<S: MemorySource + Send + Sync>() {}

const _: () = {
    allocators::<MmapAllocator>();
    in_tiers::<BitSetAllocator<ArenaSource<MmapSource>, U64>>();
    in_tiers::<BitSetAllocator<MmapSource>>();
    in_tiers::<BumpAllocator<ArenaSource<MmapSource>>>();
    in_tiers::<ContextAllocator<MmapSource>>();
    in_tiers::<MultipleBinarySearchTreeAllocator<MmapSource>>();
    in_tiers::<SizeClassAllocator<MmapSource>>();
    sources::<ArenaSource<MmapSource>>();
    sources::<CachingSource<LimitSource<MmapSource>>>();
};

/// Statics need no initialisation at run time, and hold nothing before they are used.
#[test]
fn allocators_are_constants() {
    type Bits = BitSetAllocator<ArenaSource<MmapSource>, U64>;
    let bits = const { Bits::new(ArenaSource::new(MmapSource::new())) };
    let tree = const { MultipleBinarySearchTreeAllocator::<MmapSource>::new(MmapSource::new()) };
    let maps = const { MmapAllocator::new() };
    assert_eq!((bits.bytes_held(), tree.bytes_held(), size_of_val(&maps)), (0, 0, 0));
}
