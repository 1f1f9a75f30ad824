//! The counts of a shared value: those of one thread, and those of many.

use core::cell::Cell;

use crate::sync::atomic::{AtomicUsize, Ordering, fence};
use crate::sync::spin_hint;
use crate::unwind::no_unwind;

/// More owners than this are a mistake, and the counts abort before they could wrap round: half of
/// what a count can hold, so that as many threads as there are can count up at once.
const MOST: usize = isize::MAX as usize;
/// What a count of weak owners holds while [`Count::lock_if_one`] has it.
const LOCKED: usize = usize::MAX;

/// A count of owners. It starts at 1, and whoever brings it to 0 is the last.
///
/// Only the types here implement it, since the memory of shared values depends on it.
pub trait Count: sealed::Count {}

impl Count for Unshared {}
impl Count for Atomic {}

/// The counts of values that stay on one thread.
#[derive(Debug)]
pub struct Unshared(Cell<usize>);

/// The counts of values that threads share.
///
/// The protocol is that of the standard library's `Arc`: counting up needs no order, since whoever
/// does so has an owner already; counting down releases what the owner did, and the last acquires
/// what all others did.
#[derive(Debug)]
pub struct Atomic(AtomicUsize);

pub(super) mod sealed {
    /// What a count does.
    pub trait Count: Sized {
        /// A count of one.
        fn one() -> Self;
        /// The count at this moment; for a count of weak owners, 1 also while it is locked.
        fn get(&self) -> usize;
        /// Whether it is one, seeing what those did that were counted down.
        fn is_one(&self) -> bool;
        /// One more, for whoever has one, of a count that is not locked.
        fn up(&self);
        /// One more, for whoever has one, once the count is not locked.
        fn up_when_unlocked(&self);
        /// One more, unless there is none any more.
        fn up_unless_zero(&self) -> bool;
        /// One less; whether that was the last, which then sees what all others did.
        fn down(&self) -> bool;
        /// From one to none, if there is only one.
        fn down_if_one(&self) -> bool;
        /// Keeps others from counting up, if there is only one.
        fn lock_if_one(&self) -> bool;
        /// Ends what a `lock_if_one` that said yes began.
        fn unlock(&self);
    }
}

impl sealed::Count for Unshared {
    fn one() -> Self {
        Self(Cell::new(1))
    }

    fn get(&self) -> usize {
        self.0.get()
    }

    fn is_one(&self) -> bool {
        self.0.get() == 1
    }

    fn up_when_unlocked(&self) {
        self.up();
    }

    #[inline]
    fn up(&self) {
        if self.0.get() > MOST {
            too_many();
        }
        self.0.set(self.0.get() + 1);
    }

    fn up_unless_zero(&self) -> bool {
        let some = self.0.get() != 0;
        if some {
            self.up();
        }
        some
    }

    #[inline]
    fn down(&self) -> bool {
        self.0.set(self.0.get() - 1);
        self.0.get() == 0
    }

    fn down_if_one(&self) -> bool {
        self.0.get() == 1 && self.down()
    }

    fn lock_if_one(&self) -> bool {
        self.0.get() == 1
    }

    fn unlock(&self) {}
}

impl sealed::Count for Atomic {
    fn one() -> Self {
        Self(AtomicUsize::new(1))
    }

    fn get(&self) -> usize {
        match self.0.load(Ordering::Relaxed) {
            LOCKED => 1,
            count => count,
        }
    }

    fn is_one(&self) -> bool {
        self.0.load(Ordering::Acquire) == 1
    }

    #[inline]
    fn up(&self) {
        if self.0.fetch_add(1, Ordering::Relaxed) > MOST {
            too_many();
        }
    }

    fn up_when_unlocked(&self) {
        let mut count = self.0.load(Ordering::Relaxed);
        loop {
            if count == LOCKED {
                spin_hint();
                count = self.0.load(Ordering::Relaxed);
                continue;
            }
            if count > MOST {
                too_many();
            }
            // Acquire goes with the release of `unlock`: what an owner did alone comes before what
            // a second one sees.
            match self.0.compare_exchange_weak(count, count + 1, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => count = now,
            }
        }
    }

    fn up_unless_zero(&self) -> bool {
        let more = |count: usize| {
            if count > MOST {
                too_many();
            }
            (count != 0).then(|| count + 1)
        };
        self.0.fetch_update(Ordering::Acquire, Ordering::Relaxed, more).is_ok()
    }

    #[inline]
    fn down(&self) -> bool {
        if self.0.fetch_sub(1, Ordering::Release) != 1 {
            return false;
        }
        fence(Ordering::Acquire);
        true
    }

    fn down_if_one(&self) -> bool {
        self.0.compare_exchange(1, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    fn lock_if_one(&self) -> bool {
        self.0.compare_exchange(1, LOCKED, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    fn unlock(&self) {
        self.0.store(1, Ordering::Release);
    }
}

/// Ends the process.
#[cold]
#[inline(never)]
fn too_many() -> ! {
    no_unwind(|| panic!("more owners of a shared value than could ever be"))
}
