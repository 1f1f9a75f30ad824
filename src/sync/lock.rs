//! Locks that never allocate.
//!
//! [`SpinFutexLock`] is the mutex of U. Drepper, "Futexes Are Tricky" (2011), third version, with a
//! bounded spin before the first sleep. Its word is
//!
//! ```text
//!   0  free
//!   1  held, nobody sleeps
//!   2  held, somebody may sleep
//! ```
//!
//! Who leaves a 2 behind wakes one sleeper; a sleeper that wakes takes the lock as 2, because
//! others may still sleep.

use core::ops::{Deref, DerefMut};

use super::atomic::Ordering::{Acquire, Relaxed, Release};
use super::cell::UnsafeCell;
use super::{ForkHold, Futex, SPINS, const_fn, spin_hint};

const FREE: u32 = 0;
const HELD: u32 = 1;
const CONTENDED: u32 = 2;

/// A lock without its data.
///
/// # Safety
/// Between a `lock` (or a `try_lock` that returned `true`) and the next `unlock`, no other `lock`
/// returns and no `try_lock` returns `true`; an `unlock` happens before the `lock` that follows it.
/// None of the methods unwinds or allocates.
pub unsafe trait RawLock {
    /// A free lock.
    #[cfg(not(all(test, loom)))]
    #[allow(clippy::declare_interior_mutable_const, reason = "the constant is only an initialiser")]
    const FREE: Self;

    /// Takes the lock, waiting for it.
    fn lock(&self);

    /// Takes the lock if nobody holds it, and tells whether it did.
    fn try_lock(&self) -> bool;

    /// Gives the lock back.
    ///
    /// # Safety
    /// The caller holds the lock: a `lock`, or a `try_lock` that returned `true`, has not been
    /// followed by an `unlock` yet.
    unsafe fn unlock(&self);
}

/// A lock that spins for a moment, then sleeps in the operating system; 4 bytes, no allocation.
///
/// Without the feature `std` it only spins.
#[derive(Debug)]
pub struct SpinFutexLock {
    futex: Futex,
}

impl SpinFutexLock {
    const_fn! {
        /// A free lock.
        pub fn new() -> Self {
            Self { futex: Futex::new(FREE) }
        }
    }

    #[cold]
    #[inline(never)]
    fn lock_contended(&self) {
        for _ in 0..SPINS {
            if self.futex.word.load(Relaxed) == FREE && self.try_lock() {
                return;
            }
            spin_hint();
        }
        while self.futex.word.swap(CONTENDED, Acquire) != FREE {
            self.futex.wait(CONTENDED);
        }
    }
}

impl Default for SpinFutexLock {
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: The word leaves FREE only by the compare-exchange of `try_lock` or the swap of
// `lock_contended`, both atomic, so that one thread at a time sees FREE; their Acquire pairs with
// the Release of `unlock`.
unsafe impl RawLock for SpinFutexLock {
    #[cfg(not(all(test, loom)))]
    const FREE: Self = Self::new();

    #[inline(always)]
    fn lock(&self) {
        if !self.try_lock() {
            self.lock_contended();
        }
    }

    #[inline(always)]
    fn try_lock(&self) -> bool {
        self.futex.word.compare_exchange(FREE, HELD, Acquire, Relaxed).is_ok()
    }

    #[inline(always)]
    unsafe fn unlock(&self) {
        if self.futex.word.swap(FREE, Release) == CONTENDED {
            self.futex.wake_one();
        }
    }
}

/// A value that is reached only while a [`SpinFutexLock`] is held.
#[derive(Debug)]
pub(crate) struct Guarded<T> {
    lock: SpinFutexLock,
    fork: ForkHold,
    value: UnsafeCell<T>,
}

// SAFETY: The value is reached only through `Held`, which exists only while the lock is held, so
// that one thread at a time reaches it; sending it from thread to thread this way needs `T: Send`.
unsafe impl<T: Send> Sync for Guarded<T> {}

impl<T> Guarded<T> {
    const_fn! {
        pub(crate) fn new(value: T) -> Self {
            Self { lock: SpinFutexLock::new(), fork: ForkHold::new(), value: UnsafeCell::new(value) }
        }
    }

    /// Takes the lock; dropping the result gives it back.
    #[inline]
    pub(crate) fn lock(&self) -> Held<'_, T> {
        let taken = self.fork.lock(&self.lock);
        Held { guarded: self, taken }
    }

    /// Takes the lock if nobody holds it.
    #[cfg(feature = "std")]
    #[inline]
    pub(crate) fn try_lock(&self) -> Option<Held<'_, T>> {
        // Not made before the answer: dropping it gives the lock back.
        self.lock.try_lock().then(|| Held { guarded: self, taken: true })
    }

    /// Takes the lock and keeps it past this call, for the time of a fork; the thread that forks
    /// may do so more than once.
    pub(crate) fn hold_for_fork(&self) {
        self.fork.hold(&self.lock);
    }

    /// Reaches the value while the lock is held for a fork.
    ///
    /// # Safety
    /// As [`release_after_fork`](Self::release_after_fork).
    #[cfg(feature = "std")]
    pub(crate) unsafe fn with_held_for_fork<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        // SAFETY: `hold_for_fork` took the lock for this thread, as the caller promises, so nobody
        // else reaches the value.
        self.value.with_mut(|value| f(unsafe { &mut *value }))
    }

    /// Gives back what [`hold_for_fork`](Self::hold_for_fork) took.
    ///
    /// # Safety
    /// This thread, or the thread that forked this process, called `hold_for_fork` more often than
    /// this.
    pub(crate) unsafe fn release_after_fork(&self) {
        // SAFETY: This thread, or the one that forked it, took the lock before the fork, for this
        // call.
        unsafe { self.fork.release(&self.lock) };
    }
}

/// The value of a [`Guarded`], while its lock is held.
#[derive(Debug)]
pub(crate) struct Held<'a, T> {
    guarded: &'a Guarded<T>,
    /// False if the thread holds the lock for a fork, beyond this.
    taken: bool,
}

impl<T> Deref for Held<'_, T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: This thread holds the lock while `self` lives, so no other reaches the value; the
        // reference borrows `self`. A thread that holds the lock for a fork has no other `Held`: it
        // forks in no critical section, and nests none.
        self.guarded.value.with_mut(|value| unsafe { &*value })
    }
}

impl<T> DerefMut for Held<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: As in `deref`; `self` is borrowed mutably, so this is the only reference.
        self.guarded.value.with_mut(|value| unsafe { &mut *value })
    }
}

impl<T> Drop for Held<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.taken {
            // SAFETY: `Guarded::lock` took the lock when it made `self`, and only this drop gives
            // it back.
            unsafe { self.guarded.lock.unlock() };
        }
    }
}
