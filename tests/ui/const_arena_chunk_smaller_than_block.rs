//! Constants are compared when code is made, not when it is checked.

// says: ArenaSource<S, B, C>: the chunk size C must be at least the block size B

use context_allocator::size::{U64, U4096};
use context_allocator::{ArenaSource, MemorySource, MmapSource, NonZeroLayout};

fn main() {
    let arena = ArenaSource::<_, U4096, U64>::new_in(MmapSource::new());
    let _ = arena.obtain(NonZeroLayout::of::<u64>().unwrap());
}
