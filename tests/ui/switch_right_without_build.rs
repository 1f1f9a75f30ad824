//! The macros build what was not built.

use context_allocator::{ArenaSource, Builder, BumpAllocator, MmapSource, Tiers};
use context_allocator::switch::NoTier;
use std::alloc::System;

context_allocator::switchable_allocator!(
    static ALLOC: Tiers<BumpAllocator<ArenaSource<MmapSource>>, NoTier, System> = Builder::new()
        .coroutine_tier(BumpAllocator::new(ArenaSource::new(MmapSource::new())))
        .without_thread_tier()
        .global_tier(System)
);

fn main() {
    let _ = ALLOC.heap();
}
