//! This library's shards in the global tier: no other allocator in the program.

use context_allocator::{ArenaSource, Builder, BumpAllocator, MmapSource, SlabAllocator};
use context_allocator::adapt::AllocatorAdaptor;
use context_allocator::alloc::{Sharded, SizeClassAllocator};
use context_allocator::source::PooledSource;
use global_tiers::{With, run};

type Global = AllocatorAdaptor<Sharded<SlabAllocator<PooledSource>>>;

context_allocator::global_thread_and_coroutine_switchable_allocator!(
    static ALLOC: With<Global> = Builder::new()
        .coroutine_tier(BumpAllocator::new(ArenaSource::new(MmapSource::new())))
        .thread_tier(SizeClassAllocator::new(ArenaSource::new(MmapSource::new())))
        .global_tier_allocator(Sharded::new(SlabAllocator::new(PooledSource::new())))
        .build();
);

fn main() {
    run("sharded", &ALLOC);
}
