//! As `switch_stress`, with small arena blocks (sixteen to a slice of the page map) in the
//! coroutine tier, and no thread tier.

#![cfg(feature = "testing")]

mod support;

use std::alloc::System;

use context_allocator::size::U4096;
use context_allocator::switch::NoTier;
use context_allocator::{ArenaSource, Builder, BumpAllocator, MmapSource, Tiers};
use support::CheckingSource;
use support::stress::{Plan, run};

type Counting = CheckingSource<MmapSource>;

static COROUTINE: Counting = CheckingSource::new(MmapSource::new());
static THREAD: Counting = CheckingSource::new(MmapSource::new());

context_allocator::global_thread_and_coroutine_switchable_allocator!(
    static ALLOC: Tiers<BumpAllocator<ArenaSource<&'static Counting, U4096>>, NoTier, System> =
        Builder::new()
            .coroutine_tier(BumpAllocator::new(ArenaSource::new_in(&COROUTINE)))
            .without_thread_tier()
            .global_tier(System)
            .build();
);

#[test]
fn small_blocks_and_no_thread_tier() {
    let plan = Plan { threads: 8, operations: 300_000, in_thread_tier: |f| f() };
    let end = run(&ALLOC, plan, &COROUTINE, &THREAD);
    assert_eq!((end.thread_heaps, end.thread_bytes, THREAD.counts().obtained), (0, 0, 0));
}
