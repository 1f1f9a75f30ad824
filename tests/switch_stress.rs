//! Many threads in all tiers at once, over the recommended tiers with a source that counts beneath
//! them.
//!
//! The other `switch_stress_*` binaries run the same body over other tiers. `STRESS_OPERATIONS`
//! sets the number of operations of each thread.

#![cfg(feature = "testing")]

mod support;

use std::alloc::System;

use context_allocator::alloc::SizeClassAllocator;
use context_allocator::size::{U65536, U262144, U1048576, U4194304};
use context_allocator::{ArenaSource, Builder, BumpAllocator, MmapSource, Tiers};
use support::CheckingSource;
use support::stress::{Plan, run};

type Counting = CheckingSource<MmapSource>;

static COROUTINE: Counting = CheckingSource::new(MmapSource::new());
static THREAD: Counting = CheckingSource::new(MmapSource::new());

type CoroutineTier = BumpAllocator<ArenaSource<&'static Counting, U65536, U1048576>>;
type ThreadTier = SizeClassAllocator<ArenaSource<&'static Counting, U262144, U4194304>>;

context_allocator::global_thread_and_coroutine_switchable_allocator!(
    static ALLOC: Tiers<CoroutineTier, ThreadTier, System> = Builder::new()
        .coroutine_tier(BumpAllocator::new(ArenaSource::new_in(&COROUTINE)))
        .thread_tier(SizeClassAllocator::new(ArenaSource::new_in(&THREAD)))
        .global_tier(System)
        .build();
);

#[test]
fn recommended_tiers() {
    let plan = Plan { threads: 8, operations: 2_000_000, in_thread_tier: |f| ALLOC.with_thread(f) };
    run(&ALLOC, plan, &COROUTINE, &THREAD);
}
