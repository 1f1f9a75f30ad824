//! A tier is left out with a call, not forgotten.

// says: `Unchosen` cannot serve a tier of the switchable allocator
// says: `Unchosen` stands for a tier that was not chosen
// says: before `.build()`, call `.coroutine_tier(allocator)` or `.without_coroutine_tier()`, and `.thread_tier(allocator)` or `.without_thread_tier()`

use context_allocator::{ArenaSource, Builder, BumpAllocator, MmapSource};

fn main() {
    let _ = Builder::new()
        .coroutine_tier(BumpAllocator::new(ArenaSource::new(MmapSource::new())))
        .global_tier(std::alloc::System)
        .build();
}
