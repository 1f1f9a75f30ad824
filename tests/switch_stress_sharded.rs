//! As `switch_stress`, with all three tiers from this library: a `Sharded` in the global tier.

#![cfg(feature = "testing")]

mod support;

use context_allocator::adapt::AllocatorAdaptor;
use context_allocator::alloc::{Sharded, SizeClassAllocator};
use context_allocator::size::{U65536, U262144, U1048576, U4194304};
use context_allocator::{ArenaSource, Builder, BumpAllocator, MmapSource, Tiers};
use support::CheckingSource;
use support::stress::{Plan, run};

type Counting = CheckingSource<MmapSource>;

static COROUTINE: Counting = CheckingSource::new(MmapSource::new());
static THREAD: Counting = CheckingSource::new(MmapSource::new());
static GLOBAL: Counting = CheckingSource::new(MmapSource::new());

type CoroutineTier = BumpAllocator<ArenaSource<&'static Counting, U65536, U1048576>>;
type ThreadTier = SizeClassAllocator<ArenaSource<&'static Counting, U262144, U4194304>>;
type GlobalTier = Sharded<SizeClassAllocator<&'static Counting>, typenum::U4>;

context_allocator::global_thread_and_coroutine_switchable_allocator!(
    static ALLOC: Tiers<CoroutineTier, ThreadTier, AllocatorAdaptor<GlobalTier>> = Builder::new()
        .coroutine_tier(BumpAllocator::new(ArenaSource::new_in(&COROUTINE)))
        .thread_tier(SizeClassAllocator::new(ArenaSource::new_in(&THREAD)))
        .global_tier_allocator(Sharded::new_in(SizeClassAllocator::new(&GLOBAL)))
        .build();
);

#[test]
fn all_tiers_from_this_library() {
    let plan = Plan { threads: 8, operations: 500_000, in_thread_tier: |f| ALLOC.with_thread(f) };
    run(&ALLOC, plan, &COROUTINE, &THREAD);
    GLOBAL.assert_sound();
    assert!(GLOBAL.counts().obtained > 1, "the global tier has several shards in use: {:?}", GLOBAL.counts());
}
