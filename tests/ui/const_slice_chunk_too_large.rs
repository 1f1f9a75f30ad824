// says: SliceSource<S, C>: the chunk size C must be 64 KiB to 4 MiB
use context_allocator::size::U8388608;
use context_allocator::{MmapSource, SliceSource};

fn main() {
    let _ = SliceSource::<MmapSource, U8388608>::new(MmapSource::new());
}
