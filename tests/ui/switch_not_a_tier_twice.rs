//! Each tier is chosen once.

// says: no method named `coroutine_tier` found for struct `context_allocator::Builder<BumpAllocator<MmapSource>>` in the current scope

use context_allocator::{Builder, BumpAllocator, MmapSource};

fn main() {
    let _ = Builder::new()
        .coroutine_tier(BumpAllocator::new(MmapSource::new()))
        .coroutine_tier(BumpAllocator::new(MmapSource::new()));
}
