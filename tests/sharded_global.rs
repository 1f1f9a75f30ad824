//! `Sharded` as the `#[global_allocator]`: a program that has no other memory.

#![cfg(feature = "testing")]

mod support;

use std::collections::BTreeMap;
use std::sync::mpsc;

use context_allocator::adapt::AllocatorAdaptor;
use context_allocator::alloc::{Sharded, SizeClassAllocator};
use context_allocator::source::CachingSource;
use context_allocator::{Allocator, MmapAllocator, MmapSource};
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

unsafe extern "C" fn before_fork() {
    // SAFETY: The C library calls `after_fork` behind this, on the same thread, and nothing
    // allocates between.
    unsafe { GLOBAL.inner().before_fork() };
}

unsafe extern "C" fn after_fork() {
    // SAFETY: The C library calls `before_fork` before each fork, and this once in the parent and
    // once in the child.
    unsafe { GLOBAL.inner().after_fork() };
}

/// An allocator that stands alone does not know of forks: its hooks are given to the C library
/// here. (In the switchable allocator that is done.)
#[test]
fn a_child_has_the_memory_of_all_threads() {
    static SLOTS: Slots = Slots::new();
    // SAFETY: Both are functions for as long as the process lives.
    assert_eq!(unsafe { libc::pthread_atfork(Some(before_fork), Some(after_fork), Some(after_fork)) }, 0);
    // Also large ones.
    let work = |number| SLOTS.exchange(number, Some(words(number % 500)));
    while_busy(6, work, || {
        for round in 0..20 {
            in_a_child(|| {
                (0..10).for_each(|number| work(round + number));
                SLOTS.clear();
                check(&words(100));
            });
        }
    });
    SLOTS.clear();
}
