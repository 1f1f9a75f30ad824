//! `Sharded` as the `#[global_allocator]`: a program that has no other memory.

#![cfg(feature = "std")]

mod support;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc;

use context_allocator::{
    AllocatorAdaptor, CachingSource, MmapAllocator, MmapSource, Sharded, SizeClassAllocator,
};
use support::forking::{Slots, check, count_words, in_a_child, while_busy, words};
use typenum::U8;

type Large = MmapAllocator<CachingSource<MmapSource>>;

#[global_allocator]
static GLOBAL: AllocatorAdaptor<Sharded<SizeClassAllocator<MmapSource>, U8, Large>> =
    AllocatorAdaptor::new(Sharded::with_large(
        SizeClassAllocator::new(MmapSource::new()),
        MmapAllocator::new_in(CachingSource::new(MmapSource::new())),
    ));

/// Bytes that the C library's allocator has handed out.
#[cfg(all(target_env = "gnu", target_pointer_width = "64"))]
fn c_heap() -> usize {
    // SAFETY: Always callable.
    unsafe { libc::mallinfo2() }.uordblks
}

#[test]
fn collections_grow_and_shrink() {
    let words: Vec<String> = (0..100_000_u32).map(|number| number.to_string()).collect();
    let lengths: BTreeMap<&str, usize> = words.iter().map(|word| (word.as_str(), word.len())).collect();
    assert_eq!((lengths.len(), lengths["999"]), (100_000, 3));
    let mut bytes = Vec::new();
    (0..20_000_000_u32).for_each(|number| bytes.push(number as u8));
    assert!(bytes.iter().zip(0_u32..).all(|(&byte, number)| byte == number as u8));
    bytes.truncate(10);
    bytes.shrink_to_fit();
    assert_eq!(bytes, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert!(vec![0_u8; 10_000_000].iter().all(|&byte| byte == 0));
}

#[test]
#[cfg(all(target_env = "gnu", target_pointer_width = "64"))]
fn nothing_of_it_comes_from_the_c_library() {
    let before = c_heap();
    let words: Vec<String> = (0..1_000_000).map(|number| format!("{number:040}")).collect();
    let grown = c_heap().saturating_sub(before);
    // Threads that the harness starts meanwhile take a little.
    assert!(grown < 1 << 20, "{grown} bytes of the C library for {} words", words.len());
}

#[test]
fn blocks_are_freed_by_other_threads_than_theirs() {
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let (send, receive) = mpsc::channel();
            scope.spawn(move || (0..3000).for_each(|count| send.send(words(count % 50)).unwrap()));
            scope.spawn(move || {
                for (number, words) in receive.iter().enumerate() {
                    check(&words);
                    assert_eq!(count_words(&words), number % 50);
                }
            });
        }
    });
}

#[test]
fn threads_come_and_go() {
    let mut kept = Vec::new();
    for number in 0..500 {
        kept.push(std::thread::spawn(move || words(number % 60)).join().expect("the thread ends well"));
    }
    kept.iter().for_each(|words| check(words));
}

/// Nobody calls the hooks of a fork for an allocator that stands alone; a child goes on all the same as long as one shard was free, and here the
/// other threads are never in more than some.
#[test]
fn a_child_goes_round_the_shards_that_were_taken() {
    static SLOTS: Slots = Slots::new();
    static FORKED: AtomicBool = AtomicBool::new(false);
    while_busy(
        2,
        |number| SLOTS.exchange(number, Some(words(number % 20))),
        || {
            for round in 0..50 {
                in_a_child(|| {
                    (0..20).for_each(|number| check(&words(round + number)));
                    FORKED.store(true, Relaxed);
                });
            }
        },
    );
    SLOTS.clear();
    assert!(!FORKED.load(Relaxed), "a child has memory of its own");
}
