//! A process that forks where both tiers, and two switchable allocators, take their memory from one
//! arena: its lock is asked for more than once around the fork. So is that of a global tier that
//! two share.

use std::alloc::System;

use crate::support::forking::in_a_child;
use crate::support::layout;
use context_allocator::adapt::AllocatorAdaptor;
use context_allocator::alloc::SizeClassAllocator;
use context_allocator::size::{U65536, U262144, U1048576, U4194304};
use context_allocator::{Allocator, ArenaSource, Builder, BumpAllocator, Locked, MmapSource, Tiers};

type Chunks = ArenaSource<MmapSource, U4194304, U4194304>;
type CoroutineTier = BumpAllocator<ArenaSource<&'static Chunks, U65536, U1048576>>;
type ThreadTier = SizeClassAllocator<ArenaSource<&'static Chunks, U262144, U4194304>>;

static CHUNKS: Chunks = ArenaSource::new_in(MmapSource::new());

type Shared = Locked<SizeClassAllocator<MmapSource>>;

static SHARED: Shared = Locked::new(SizeClassAllocator::new(MmapSource::new()));

context_allocator::switchable_allocator!(
    static FIRST: Tiers<CoroutineTier, ThreadTier, System> = Builder::new()
        .coroutine_tier(BumpAllocator::new(ArenaSource::new_in(&CHUNKS)))
        .thread_tier(SizeClassAllocator::new(ArenaSource::new_in(&CHUNKS)))
        .global_tier(System)
        .build();
);

context_allocator::switchable_allocator!(
    static SECOND: Tiers<CoroutineTier, ThreadTier, AllocatorAdaptor<&'static Shared>> = Builder::new()
        .coroutine_tier(BumpAllocator::new(ArenaSource::new_in(&CHUNKS)))
        .thread_tier(SizeClassAllocator::new(ArenaSource::new_in(&CHUNKS)))
        .global_tier_allocator(&SHARED)
        .build();
);

context_allocator::switchable_allocator!(
    static THIRD: Tiers<CoroutineTier, ThreadTier, AllocatorAdaptor<&'static Shared>> = Builder::new()
        .coroutine_tier(BumpAllocator::new(ArenaSource::new_in(&CHUNKS)))
        .thread_tier(SizeClassAllocator::new(ArenaSource::new_in(&CHUNKS)))
        .global_tier_allocator(&SHARED)
        .build();
);

fn allocate_everywhere() {
    let layout = layout(100, 8);
    let first = FIRST.heap().unwrap();
    let blocks = [FIRST.allocate(layout).unwrap(), first.enter(|| FIRST.allocate(layout).unwrap())];
    for block in blocks {
        // SAFETY: Just allocated with this layout, and not used again.
        unsafe { FIRST.deallocate(block.cast(), layout) };
    }
    let blocks = [SECOND.allocate(layout).unwrap(), SECOND.with_global(|| SECOND.allocate(layout).unwrap())];
    for block in blocks {
        // SAFETY: Just allocated with this layout, and not used again.
        unsafe { SECOND.deallocate(block.cast(), layout) };
    }
    let block = THIRD.with_global(|| THIRD.allocate(layout).unwrap());
    // SAFETY: Just allocated with this layout, and not used again.
    unsafe { THIRD.deallocate(block.cast(), layout) };
}

#[test]
fn a_lock_that_is_asked_for_more_than_once_does_not_hang_the_fork() {
    allocate_everywhere();
    for _ in 0..20 {
        in_a_child(allocate_everywhere);
        allocate_everywhere();
    }
}
