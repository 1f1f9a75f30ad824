//! A block that another thread frees holds a link, for which 8 bytes are too few.

// says: BitSetAllocator<S, U8> cannot serve a tier, because a block that another thread frees holds a link of 16 bytes: write `BitSetAllocator<S, U16>`, or larger blocks

use context_allocator::size::U8;
use context_allocator::{ArenaSource, BitSetAllocator, Builder, MmapSource, Tiers};
use context_allocator::switch::NoTier;
use std::alloc::System;

context_allocator::switchable_allocator!(
    static ALLOC: Tiers<BitSetAllocator<ArenaSource<MmapSource>, U8>, NoTier, System> = Builder::new()
        .coroutine_tier(BitSetAllocator::new_in(ArenaSource::new(MmapSource::new())))
        .without_thread_tier()
        .global_tier(System)
        .build();
);

fn main() {
    let heap = ALLOC.heap().unwrap();
    heap.enter(|| ());
}
