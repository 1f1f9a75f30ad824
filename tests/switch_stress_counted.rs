//! As `switch_stress`, with every block and byte counted by tier; the counts are exact once the
//! threads have ended.

#![cfg(feature = "testing")]

mod support;

use std::alloc::System;

use context_allocator::size::{U16384, U65536, U1048576};
use context_allocator::switch::CountingPolicy;
use context_allocator::{ArenaSource, Builder, BumpAllocator, MmapSource, SlabAllocator, Tiers};
use support::CheckingSource;
use support::stress::{Plan, run};

type Counting = CheckingSource<MmapSource>;

static COROUTINE: Counting = CheckingSource::new(MmapSource::new());
static THREAD: Counting = CheckingSource::new(MmapSource::new());

type CoroutineTier = BumpAllocator<ArenaSource<&'static Counting, U16384>>;
type ThreadTier = SlabAllocator<ArenaSource<&'static Counting, U65536, U1048576>>;

context_allocator::global_thread_and_coroutine_switchable_allocator!(
    static ALLOC: Tiers<CoroutineTier, ThreadTier, System, CountingPolicy> = Builder::new()
        .coroutine_tier(BumpAllocator::new(ArenaSource::new_in(&COROUTINE)))
        .thread_tier(SlabAllocator::new_in(ArenaSource::new_in(&THREAD)))
        .global_tier(System)
        .policy::<CountingPolicy>()
        .build();
);

#[test]
fn every_block_counted() {
    let plan = Plan { threads: 8, operations: 300_000, in_thread_tier: |f| ALLOC.with_thread(f) };
    let end = run(&ALLOC, plan, &COROUTINE, &THREAD);
    assert!(end.coroutine.blocks_allocated > 0 && end.heaps_made > 0);
    assert_eq!(end.coroutine.live_blocks(), 0);
    assert_eq!(end.coroutine.blocks_allocated, end.coroutine.blocks_freed);
    assert_eq!(end.coroutine.live_bytes, 0);
}
