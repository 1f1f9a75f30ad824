//! As `switch_stress`, with an allocator chosen by lifetime in both tiers.

#![cfg(feature = "testing")]

mod support;

use std::alloc::System;

use context_allocator::alloc::Lifetime;
use context_allocator::size::U65536;
use context_allocator::{ArenaSource, Builder, ContextAllocator, MmapSource, Tiers};
use support::CheckingSource;
use support::stress::{Plan, run};

type Counting = CheckingSource<MmapSource>;

static COROUTINE: Counting = CheckingSource::new(MmapSource::new());
static THREAD: Counting = CheckingSource::new(MmapSource::new());

type CoroutineTier = ContextAllocator<ArenaSource<&'static Counting, U65536>>;
type ThreadTier = ContextAllocator<&'static Counting>;

context_allocator::global_thread_and_coroutine_switchable_allocator!(
    static ALLOC: Tiers<CoroutineTier, ThreadTier, System> = Builder::new()
        .coroutine_tier(ContextAllocator::new(ArenaSource::new(&COROUTINE), Lifetime::Medium))
        .thread_tier(ContextAllocator::new(&THREAD, Lifetime::Medium))
        .global_tier(System)
        .build();
);

#[test]
fn chosen_by_lifetime_in_both_tiers() {
    let plan = Plan { threads: 8, operations: 300_000, in_thread_tier: |f| ALLOC.with_thread(f) };
    let end = run(&ALLOC, plan, &COROUTINE, &THREAD);
    assert_eq!(THREAD.counts().bytes, end.thread_bytes);
}
