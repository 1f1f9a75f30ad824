//! As `switch_stress`, with the tree allocator in both tiers: over an arena in the coroutine tier,
//! over memory maps in the thread tier.

#![cfg(feature = "testing")]

mod support;

use std::alloc::System;

use context_allocator::size::U65536;
use context_allocator::{ArenaSource, Builder, MmapSource, MultipleBinarySearchTreeAllocator, Tiers};
use support::CheckingSource;
use support::stress::{Plan, run};

type Counting = CheckingSource<MmapSource>;

static COROUTINE: Counting = CheckingSource::new(MmapSource::new());
static THREAD: Counting = CheckingSource::new(MmapSource::new());

type CoroutineTier = MultipleBinarySearchTreeAllocator<ArenaSource<&'static Counting, U65536>>;
type ThreadTier = MultipleBinarySearchTreeAllocator<&'static Counting>;

context_allocator::global_thread_and_coroutine_switchable_allocator!(
    static ALLOC: Tiers<CoroutineTier, ThreadTier, System> = Builder::new()
        .coroutine_tier(CoroutineTier::new(ArenaSource::new(&COROUTINE)))
        .thread_tier(ThreadTier::new(&THREAD))
        .global_tier(System)
        .build();
);

#[test]
fn trees_in_both_tiers() {
    let plan = Plan { threads: 8, operations: 300_000, in_thread_tier: |f| ALLOC.with_thread(f) };
    let end = run(&ALLOC, plan, &COROUTINE, &THREAD);
    assert_eq!(THREAD.counts().bytes, end.thread_bytes);
}
