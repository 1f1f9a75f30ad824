//! As `switch_stress`, with slabs in both tiers: over an arena in the coroutine tier, over memory
//! maps, each a slab, in the thread tier.

#![cfg(feature = "testing")]

mod support;

use std::alloc::System;

use context_allocator::size::U16384;
use context_allocator::switch::CountingPolicy;
use context_allocator::{ArenaSource, Builder, MmapSource, SlabAllocator, Tiers};
use support::CheckingSource;
use support::stress::{Plan, run};

type Counting = CheckingSource<MmapSource>;

static COROUTINE: Counting = CheckingSource::new(MmapSource::new());
static THREAD: Counting = CheckingSource::new(MmapSource::new());

type CoroutineTier = SlabAllocator<ArenaSource<&'static Counting, U16384>, U16384>;
type ThreadTier = SlabAllocator<&'static Counting>;

context_allocator::global_thread_and_coroutine_switchable_allocator!(
    static ALLOC: Tiers<CoroutineTier, ThreadTier, System, CountingPolicy> = Builder::new()
        .coroutine_tier(CoroutineTier::new_in(ArenaSource::new_in(&COROUTINE)))
        .thread_tier(ThreadTier::new(&THREAD))
        .global_tier(System)
        .policy::<CountingPolicy>()
        .build();
);

#[test]
fn slabs_in_both_tiers() {
    let plan = Plan { threads: 8, operations: 300_000, in_thread_tier: |f| ALLOC.with_thread(f) };
    let end = run(&ALLOC, plan, &COROUTINE, &THREAD);
    assert_eq!(THREAD.counts().bytes, end.thread_bytes);
}
