//! As `switch_fork_locked`, with shards in the global tier: all of their locks must be held around
//! the fork.

#![cfg(feature = "testing")]

mod support;

use context_allocator::adapt::AllocatorAdaptor;
use context_allocator::alloc::{Sharded, SizeClassAllocator};
use context_allocator::switch::NoTier;
use context_allocator::{ArenaSource, Builder, BumpAllocator, MmapSource, Tiers};
use support::forking::{Slots, fork_while_busy, words};

/// Two shards for six threads, over a source with a lock of its own.
type Global = AllocatorAdaptor<Sharded<SizeClassAllocator<ArenaSource<MmapSource>>, typenum::U2>>;

context_allocator::global_thread_and_coroutine_switchable_allocator!(
    static ALLOC: Tiers<BumpAllocator<ArenaSource<MmapSource>>, NoTier, Global> = Builder::new()
        .coroutine_tier(BumpAllocator::new(ArenaSource::new_in(MmapSource::new())))
        .without_thread_tier()
        .global_tier_allocator(Sharded::new_in(SizeClassAllocator::new(ArenaSource::new_in(
            MmapSource::new(),
        ))))
        .build();
);

static SLOTS: Slots = Slots::new();

fn globally(number: usize) {
    SLOTS.exchange(number, Some(words(number % 40)));
}

fn in_heaps_too(number: usize) {
    globally(number);
    let heap = ALLOC.heap().expect("memory for a heap");
    SLOTS.exchange(number + 31, Some(heap.enter(|| words(number % 40))));
}

/// In one test, since the first part must come before the first heap of the process.
#[test]
fn the_locks_of_the_shards_are_held_around_a_fork() {
    fork_while_busy(&SLOTS, &[globally, in_heaps_too]);
}
