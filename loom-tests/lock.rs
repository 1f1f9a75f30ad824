//! The lock excludes, orders, and wakes who sleeps.
//!
//! The value of a `Guarded` is in a loom cell, and under loom the futex is a condition variable: an
//! access without order and a wake-up that gets lost (a thread that sleeps for ever) both fail the
//! model.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::ground::Place;
use super::{explore, together};
use crate::sync::Guarded;
use crate::sync::{RawLock, SpinFutexLock};

fn count(counter: &Guarded<usize>) {
    *counter.lock() += 1;
}

fn count_twice(counter: &Guarded<usize>) {
    count(counter);
    count(counter);
}

#[test]
fn two_threads_lock_again_and_again() {
    explore("lock, 2 threads twice", 2, || {
        let counter = together(Guarded::new(0), count_twice, [count_twice]);
        assert_eq!(*counter.lock(), 4);
    });
}

#[test]
fn three_threads_lock() {
    explore("lock, 3 threads", 3, || {
        let counter = together(Guarded::new(0), count, [count, count]);
        assert_eq!(*counter.lock(), 3);
    });
}

#[test]
fn four_threads_lock() {
    explore("lock, 4 threads", 4, || {
        let counter = together(Guarded::new(0), count, [count, count, count]);
        assert_eq!(*counter.lock(), 4);
    });
}

/// A bare lock, what it guards, and how often somebody had it.
struct Bare {
    lock: SpinFutexLock,
    place: Place,
    taken: AtomicUsize,
}

impl Bare {
    fn lock(&self) {
        self.lock.lock();
        self.use_and_unlock();
    }

    fn try_lock(&self) {
        if self.lock.try_lock() {
            self.use_and_unlock();
        }
    }

    fn use_and_unlock(&self) {
        self.place.touch();
        self.taken.fetch_add(1, Relaxed);
        // SAFETY: The callers have just taken the lock.
        unsafe { self.lock.unlock() };
    }
}

#[test]
fn try_lock_takes_the_lock_or_leaves_it() {
    explore("lock, try_lock", 3, || {
        let bare = Bare { lock: SpinFutexLock::new(), place: Place::new(), taken: AtomicUsize::new(0) };
        let bare = together(bare, Bare::try_lock, [Bare::lock, Bare::try_lock]);
        let taken = bare.taken.load(Relaxed);
        assert!((1..=3).contains(&taken));
        assert_eq!(bare.place.touch(), taken + 1);
        assert!(bare.lock.try_lock(), "nobody holds it any more");
    });
}

#[test]
fn the_lock_is_held_over_a_fork() {
    explore("lock, held for a fork", 3, || {
        let fork = |counter: &Guarded<usize>| {
            counter.hold_for_fork();
            // SAFETY: Taken on the line above.
            unsafe { counter.release_after_fork() };
        };
        let counter = together(Guarded::new(0), count, [fork, count]);
        assert_eq!(*counter.lock(), 2);
    });
}

/// A try that fails gives nothing back: the lock is another thread's.
#[test]
fn a_guard_that_was_tried_leaves_the_lock_to_its_holder() {
    /// Counts, and how often it did.
    struct Tried {
        counter: Guarded<usize>,
        counted: AtomicUsize,
    }
    fn lock(tried: &Tried) {
        count(&tried.counter);
        tried.counted.fetch_add(1, Relaxed);
    }
    fn try_lock(tried: &Tried) {
        if let Some(mut counter) = tried.counter.try_lock() {
            *counter += 1;
            tried.counted.fetch_add(1, Relaxed);
        }
    }
    explore("lock, a guard that was tried", 3, || {
        let tried = Tried { counter: Guarded::new(0), counted: AtomicUsize::new(0) };
        let tried = together(tried, lock, [try_lock, lock]);
        let counted = tried.counted.load(Relaxed);
        assert!((2..=3).contains(&counted));
        assert_eq!(*tried.counter.lock(), counted);
    });
}
