use context_allocator::{BumpAllocator, MmapSource};

fn share<T: Sync>(_: &T) {}

fn main() {
    share(&BumpAllocator::new(MmapSource::new()));
}
