//! As `switch_stress`, with bit-set allocators in both tiers: over blocks of an arena in one, over
//! memory maps in the other.

#![cfg(feature = "testing")]

mod support;

use std::alloc::System;

use context_allocator::size::{U16, U64, U65536};
use context_allocator::{ArenaSource, BitSetAllocator, Builder, MmapSource, Tiers};
use support::CheckingSource;
use support::stress::{Plan, run};

type Counting = CheckingSource<MmapSource>;

static COROUTINE: Counting = CheckingSource::new(MmapSource::new());
static THREAD: Counting = CheckingSource::new(MmapSource::new());

type CoroutineTier = BitSetAllocator<ArenaSource<&'static Counting, U65536>, U16>;
type ThreadTier = BitSetAllocator<&'static Counting, U64>;

context_allocator::global_thread_and_coroutine_switchable_allocator!(
    static ALLOC: Tiers<CoroutineTier, ThreadTier, System> = Builder::new()
        .coroutine_tier(BitSetAllocator::new_in(ArenaSource::new_in(&COROUTINE)))
        .thread_tier(BitSetAllocator::new_in(&THREAD))
        .global_tier(System)
        .build();
);

#[test]
fn bit_sets_in_both_tiers() {
    let plan = Plan { threads: 8, operations: 500_000, in_thread_tier: |f| ALLOC.with_thread(f) };
    run(&ALLOC, plan, &COROUTINE, &THREAD);
}
