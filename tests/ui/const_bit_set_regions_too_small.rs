//! The index of a region leave room for blocks.

// says: BitSetAllocator<S, B>: the index would take more than half of a region of S: choose a source of larger regions, such as `ArenaSource<MmapSource, U65536>`, or smaller blocks

use context_allocator::size::{U64, U1024};
use context_allocator::{ArenaSource, BitSetAllocator, MmapSource};

fn main() {
    let _ = BitSetAllocator::new(ArenaSource::<_, U1024>::new_in(MmapSource::new()));
}
