//! Chunks larger than blocks, and as large.

use context_allocator::size::{U4096, U65536};
use context_allocator::{ArenaSource, MemorySource, MmapSource, NonZeroLayout};

fn main() {
    let layout = NonZeroLayout::of::<u64>().unwrap();
    let larger = ArenaSource::<_, U4096, U65536>::new_in(MmapSource::new());
    assert_eq!(larger.obtain(layout).unwrap().len(), 4096);
    let equal = ArenaSource::<_, U4096, U4096>::new_in(MmapSource::new());
    assert_eq!(equal.obtain(layout).unwrap().len(), 4096);
}
