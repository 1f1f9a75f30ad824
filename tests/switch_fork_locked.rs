//! A process that forks while six threads are in a global tier with a lock of its own, which must
//! be held around the fork: also where no thread has made a heap yet, of either tier.

#![cfg(feature = "testing")]

mod support;

use context_allocator::adapt::AllocatorAdaptor;
use context_allocator::alloc::SizeClassAllocator;
use context_allocator::switch::NoTier;
use context_allocator::{ArenaSource, Builder, BumpAllocator, Locked, MmapSource, Tiers};
use support::forking::{Slots, fork_while_busy, words};

type Global = AllocatorAdaptor<Locked<SizeClassAllocator<MmapSource>>>;

context_allocator::global_thread_and_coroutine_switchable_allocator!(
    static ALLOC: Tiers<BumpAllocator<ArenaSource<MmapSource>>, NoTier, Global> = Builder::new()
        .coroutine_tier(BumpAllocator::new(ArenaSource::new(MmapSource::new())))
        .without_thread_tier()
        .global_tier_allocator(Locked::new(SizeClassAllocator::new(MmapSource::new())))
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
fn the_lock_of_the_global_tier_is_held_around_a_fork() {
    fork_while_busy(&SLOTS, &[globally, in_heaps_too]);
}
