//! As `switch_fork_sharded`, with all tiers on the process's pool of slices: its lock is taken by
//! threads that hold a shard's, so around a fork the shards' come first.

#![cfg(feature = "testing")]

mod support;

use std::hint::black_box;

use context_allocator::adapt::AllocatorAdaptor;
use context_allocator::alloc::Sharded;
use context_allocator::source::PooledSource;
use context_allocator::switch::NoTier;
use context_allocator::{Builder, SlabAllocator, Tiers};
use support::forking::{Slots, check, in_a_child, while_busy, words};

type Pooled = SlabAllocator<PooledSource>;
type Global = AllocatorAdaptor<Sharded<Pooled, typenum::U2>>;

context_allocator::global_thread_and_coroutine_switchable_allocator!(
    static ALLOC: Tiers<Pooled, NoTier, Global> = Builder::new()
        .coroutine_tier(SlabAllocator::new_in(PooledSource::new()))
        .without_thread_tier()
        .global_tier_allocator(Sharded::new_in(SlabAllocator::new_in(PooledSource::new())))
        .build();
);

static SLOTS: Slots = Slots::new();

/// So many blocks come and go that the shards obtain and release slabs all the time.
fn slabs_come_and_go(number: usize) {
    let blocks: Vec<Vec<u8>> = (0..300).map(|_| black_box(vec![1; 8000])).collect();
    assert!(blocks.iter().all(|block| block.iter().all(|&byte| byte == 1)));
    SLOTS.exchange(number, Some(words(number % 40)));
}

#[test]
fn the_pool_s_lock_comes_after_those_of_the_shards() {
    let heap = ALLOC.heap().expect("memory for a heap");
    check(&heap.enter(|| words(10)));
    while_busy(4, slabs_come_and_go, || {
        for round in 0..80 {
            in_a_child(|| {
                (0..3).for_each(|number| slabs_come_and_go(round + number));
                SLOTS.clear();
                check(&words(100));
            });
        }
    });
    SLOTS.clear();
}
