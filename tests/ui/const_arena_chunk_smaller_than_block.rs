use context_allocator::size::{U64, U4096};
use context_allocator::{ArenaSource, MemorySource, MmapSource, NonZeroLayout};

fn main() {
    let arena = ArenaSource::<_, U4096, U64>::new(MmapSource::new());
    let _ = arena.obtain(NonZeroLayout::of::<u64>().unwrap());
}
