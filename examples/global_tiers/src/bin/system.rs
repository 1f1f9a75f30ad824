//! The system's allocator in the global tier.

use context_allocator::{ArenaSource, Builder, BumpAllocator, MmapSource};
use context_allocator::alloc::SizeClassAllocator;
use global_tiers::{With, run};
use std::alloc::System;

context_allocator::global_thread_and_coroutine_switchable_allocator!(
    static ALLOC: With<System> = Builder::new()
        .coroutine_tier(BumpAllocator::new(ArenaSource::new(MmapSource::new())))
        .thread_tier(SizeClassAllocator::new(ArenaSource::new(MmapSource::new())))
        .global_tier(System)
        .build();
);

fn main() {
    run("system", &ALLOC);
}
