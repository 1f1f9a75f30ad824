//! An arena whose chunks are smaller than a slice of the owner map cannot stand in a tier.

// says: this source cannot stand in a tier, because it may share 64 KiB slices with memory of others: use an ArenaSource by value, whose chunks are at least U65536, or a source of whole regions

use context_allocator::size::U4096;
use context_allocator::{ArenaSource, Builder, BumpAllocator, MmapSource, Tiers};
use context_allocator::switch::NoTier;
use std::alloc::System;

context_allocator::switchable_allocator!(
    static ALLOC: Tiers<BumpAllocator<ArenaSource<MmapSource, U4096, U4096>>, NoTier, System> = Builder::new()
        .coroutine_tier(BumpAllocator::new(ArenaSource::new_in(MmapSource::new())))
        .without_thread_tier()
        .global_tier(System)
        .build();
);

fn main() {
    let heap = ALLOC.heap().unwrap();
    heap.enter(|| ());
}
