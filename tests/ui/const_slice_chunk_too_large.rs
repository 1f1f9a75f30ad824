// says: RunSource<S, C>: the chunk size C must be 64 KiB to 4 MiB
use context_allocator::size::U8388608;
use context_allocator::MmapSource;
use context_allocator::source::RunSource;

fn main() {
    let _ = RunSource::<MmapSource, U8388608>::new_in(MmapSource::new());
}
