//! jemalloc in the global tier.

use context_allocator::{ArenaSource, Builder, BumpAllocator, MmapSource};
use context_allocator::alloc::SizeClassAllocator;
use global_tiers::{With, run};
use tikv_jemallocator::Jemalloc;

context_allocator::global_thread_and_coroutine_switchable_allocator!(
    static ALLOC: With<Jemalloc> = Builder::new()
        .coroutine_tier(BumpAllocator::new(ArenaSource::new(MmapSource::new())))
        .thread_tier(SizeClassAllocator::new(ArenaSource::new(MmapSource::new())))
        .global_tier(Jemalloc)
        .build();
);

fn main() {
    run("jemalloc", &ALLOC);
}
