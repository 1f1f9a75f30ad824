//! snmalloc in the global tier.

use context_allocator::{ArenaSource, Builder, BumpAllocator, MmapSource};
use context_allocator::alloc::SizeClassAllocator;
use global_tiers::{With, run};
use snmalloc_rs::SnMalloc;

context_allocator::global_thread_and_coroutine_switchable_allocator!(
    static ALLOC: With<SnMalloc> = Builder::new()
        .coroutine_tier(BumpAllocator::new(ArenaSource::new(MmapSource::new())))
        .thread_tier(SizeClassAllocator::new(ArenaSource::new(MmapSource::new())))
        .global_tier(SnMalloc)
        .build();
);

fn main() {
    run("snmalloc", &ALLOC);
}
