//! A tier is left out with a call, not forgotten.

use context_allocator::{ArenaSource, Builder, BumpAllocator, MmapSource};

fn main() {
    let _ = Builder::new()
        .coroutine_tier(BumpAllocator::new(ArenaSource::<_>::new(MmapSource::new())))
        .global_tier(std::alloc::System)
        .build();
}
