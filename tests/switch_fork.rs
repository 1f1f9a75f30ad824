//! A process that forks while six threads allocate and free in all tiers: the child can allocate in
//! every tier, make heaps, and free what other threads' heaps had handed out.

#![cfg(feature = "testing")]

mod support;

use support::forking::{Slots, check, count_words, in_a_child, while_busy, words};

context_allocator::global_thread_and_coroutine_switchable_allocator!(static ALLOC);

static SLOTS: Slots = Slots::new();

/// Allocates and frees in all tiers.
fn work(number: usize) {
    let heap = ALLOC.heap().expect("memory for a heap");
    let inside = heap.enter(|| {
        let inside = words(1 + number % 50);
        assert_eq!(count_words(&inside), inside.len());
        inside
    });
    SLOTS.exchange(number, Some(ALLOC.with_global(|| words(5))));
    SLOTS.exchange(number + 21, Some(ALLOC.with_thread(|| words(number % 100))));
    SLOTS.exchange(number + 42, Some(inside));
    heap.enter(|| {
        let mut large = vec![1_u8; 100_000];
        large.resize(300_000, 2);
        assert_eq!((large[99_999], large[299_999]), (1, 2));
    });
}

#[test]
fn the_child_allocates_in_every_tier() {
    let inherited = ALLOC.heap().expect("memory for a heap");
    let before = inherited.enter(|| words(20));
    while_busy(6, work, || {
        for round in 0..200 {
            in_a_child(|| {
                (0..20).for_each(|number| work(round + number));
                check(&inherited.enter(|| words(30)));
                SLOTS.clear();
                let statistics = ALLOC.statistics();
                assert!(statistics.heaps_alive >= 1 && statistics.thread_heaps >= 1);
                ALLOC.trim();
                check(&before);
            });
        }
    });
    check(&before);
    drop(before);
    SLOTS.clear();
}
