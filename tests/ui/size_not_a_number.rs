use context_allocator::{ArenaSource, MmapSource};

struct SixtyFour;

fn main() {
    let _ = ArenaSource::<MmapSource, SixtyFour>::new(MmapSource::new());
}
