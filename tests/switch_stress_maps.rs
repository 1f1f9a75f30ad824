//! As `switch_stress`, with memory maps directly under both tiers (heaps of whole slices, found in
//! the page map without a header), and an allocator that reuses blocks in the coroutine tier.

#![cfg(feature = "testing")]

mod support;

use std::alloc::System;

use context_allocator::alloc::SizeClassAllocator;
use context_allocator::{Builder, MmapSource, Tiers};
use support::CheckingSource;
use support::stress::{Plan, run};

type Counting = CheckingSource<MmapSource>;

static COROUTINE: Counting = CheckingSource::new(MmapSource::new());
static THREAD: Counting = CheckingSource::new(MmapSource::new());

type Tier = SizeClassAllocator<&'static Counting>;

context_allocator::global_thread_and_coroutine_switchable_allocator!(
    static ALLOC: Tiers<Tier, Tier, System> = Builder::new()
        .coroutine_tier(SizeClassAllocator::new(&COROUTINE))
        .thread_tier(SizeClassAllocator::new(&THREAD))
        .global_tier(System)
        .build();
);

#[test]
fn memory_maps_under_both_tiers() {
    let plan = Plan { threads: 8, operations: 300_000, in_thread_tier: |f| ALLOC.with_thread(f) };
    let end = run(&ALLOC, plan, &COROUTINE, &THREAD);
    assert_eq!(THREAD.counts().bytes, end.thread_bytes);
}
