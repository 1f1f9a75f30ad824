//! Each tier is chosen once.

use context_allocator::{Builder, BumpAllocator, MmapSource};

fn main() {
    let _ = Builder::new()
        .coroutine_tier(BumpAllocator::new(MmapSource::new()))
        .coroutine_tier(BumpAllocator::new(MmapSource::new()));
}
