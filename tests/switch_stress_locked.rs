//! As `switch_stress`, with all three tiers from this library: a `Locked` in the global tier.

#![cfg(feature = "testing")]

mod support;

use context_allocator::adapt::AllocatorAdaptor;
use context_allocator::alloc::SizeClassAllocator;
use context_allocator::size::{U65536, U262144, U1048576, U4194304};
use context_allocator::{
    ArenaSource, Builder, BumpAllocator, Locked, MmapSource, MultipleBinarySearchTreeAllocator, Tiers,
};
use support::CheckingSource;
use support::stress::{Plan, run};

type Counting = CheckingSource<MmapSource>;

static COROUTINE: Counting = CheckingSource::new(MmapSource::new());
static THREAD: Counting = CheckingSource::new(MmapSource::new());
static GLOBAL: Counting = CheckingSource::new(MmapSource::new());

type CoroutineTier = BumpAllocator<ArenaSource<&'static Counting, U65536, U1048576>>;
type ThreadTier = SizeClassAllocator<ArenaSource<&'static Counting, U262144, U4194304>>;
// One that serves every size: a `SizeClassAllocator` refuses large blocks, and nothing stands
// behind it here.
type GlobalTier = Locked<MultipleBinarySearchTreeAllocator<&'static Counting>>;

context_allocator::global_thread_and_coroutine_switchable_allocator!(
    static ALLOC: Tiers<CoroutineTier, ThreadTier, AllocatorAdaptor<GlobalTier>> = Builder::new()
        .coroutine_tier(BumpAllocator::new(ArenaSource::new_in(&COROUTINE)))
        .thread_tier(SizeClassAllocator::new(ArenaSource::new_in(&THREAD)))
        .global_tier_allocator(Locked::new(MultipleBinarySearchTreeAllocator::new_in(&GLOBAL)))
        .build();
);

#[test]
fn all_tiers_from_this_library() {
    let plan = Plan { threads: 8, operations: 500_000, in_thread_tier: |f| ALLOC.with_thread(f) };
    run(&ALLOC, plan, &COROUTINE, &THREAD);
    GLOBAL.assert_sound();
    assert!(GLOBAL.counts().obtained > 0, "nothing came from the global tier");
}
