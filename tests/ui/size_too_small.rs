use context_allocator::{ArenaSource, MmapSource};

fn main() {
    let _ = ArenaSource::<MmapSource, typenum::U4>::new(MmapSource::new());
}
