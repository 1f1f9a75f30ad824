use context_allocator::{ArenaSource, MmapSource};

fn main() {
    let _ = ArenaSource::<MmapSource, typenum::U24>::new(MmapSource::new());
}
