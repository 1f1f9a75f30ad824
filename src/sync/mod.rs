//! Atomics, cells and locks: the only place that knows about loom.
//!
//! With `--cfg loom` the same names stand for loom's types, which explore the interleavings that
//! the memory model allows. Loom's types cannot be made in const context, so a constructor that
//! holds one of them is written inside [`const_fn!`], which drops the `const` there.

mod fork;
mod free_list;
mod futex;
mod lock;
#[cfg(feature = "std")]
mod remote;
#[cfg(feature = "std")]
mod returned;
#[cfg(feature = "std")]
mod table;
#[cfg(feature = "std")]
mod thread_number;

#[cfg(all(test, loom))]
pub(crate) use fork::Claim;
pub(crate) use fork::ForkHold;
#[cfg(feature = "std")]
pub(crate) use fork::{forked, forks_here};
pub(crate) use free_list::{FreeBlock, FreeList};
pub(crate) use futex::Futex;
pub(crate) use lock::Guarded;
#[cfg(feature = "std")]
pub(crate) use lock::Held;
pub use lock::{RawLock, SpinFutexLock};
#[cfg(feature = "std")]
pub(crate) use remote::{Batch, RemoteBlock, RemoteList};
#[cfg(feature = "std")]
pub(crate) use returned::{Given, LetGo, Returned, TakenBack};
#[cfg(feature = "std")]
pub(crate) use table::PointerTable;
#[cfg(feature = "std")]
pub(crate) use thread_number::{set_thread_number, thread_number};

#[cfg(not(all(test, loom)))]
pub(crate) use core::sync::atomic;
#[cfg(all(test, loom))]
pub(crate) use loom::sync::atomic;

/// An `UnsafeCell` reached through closures, so that loom sees each access.
#[cfg(not(all(test, loom)))]
pub(crate) mod cell {
    #[cfg(feature = "std")]
    pub(crate) use core::cell::Cell;

    /// See [`core::cell::UnsafeCell`].
    #[derive(Debug)]
    pub(crate) struct UnsafeCell<T>(core::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self(core::cell::UnsafeCell::new(value))
        }

        /// Gives the pointer to the value; what is done through it is the caller's to justify.
        #[inline(always)]
        pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0.get())
        }
    }
}
#[cfg(all(test, loom))]
pub(crate) mod cell {
    pub(crate) use loom::cell::UnsafeCell;

    /// See [`core::cell::Cell`]; loom fails a model in which two threads use it without order.
    #[derive(Debug)]
    pub(crate) struct Cell<T>(UnsafeCell<T>);

    impl<T: Copy> Cell<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(UnsafeCell::new(value))
        }

        pub(crate) fn get(&self) -> T {
            // SAFETY: Loom checks that no other thread writes at the same time.
            self.0.with(|value| unsafe { *value })
        }

        pub(crate) fn set(&self, value: T) {
            // SAFETY: Loom checks that no other access is at the same time.
            self.0.with_mut(|place| unsafe { *place = value });
        }

        pub(crate) fn replace(&self, value: T) -> T {
            let old = self.get();
            self.set(value);
            old
        }
    }
}

/// Tells the processor (and loom) that this thread waits for another.
#[inline(always)]
pub(crate) fn spin_hint() {
    #[cfg(not(all(test, loom)))]
    core::hint::spin_loop();
    #[cfg(all(test, loom))]
    loom::thread::yield_now();
}

/// Lets other threads run, because this one waits for one of them.
#[cfg(feature = "std")]
pub(crate) fn yield_now() {
    #[cfg(not(all(test, loom)))]
    std::thread::yield_now();
    #[cfg(all(test, loom))]
    loom::thread::yield_now();
}

/// How often a lock looks again before it sleeps.
#[cfg(not(all(test, loom)))]
pub(crate) const SPINS: u32 = 100;
/// Loom explores each look, so one is enough.
#[cfg(all(test, loom))]
pub(crate) const SPINS: u32 = 1;

/// The logarithm of the number of slices in a leaf of the page map.
#[cfg(all(feature = "std", not(all(test, loom))))]
pub(crate) const LEAF_BITS: u32 = 13;
/// Loom follows each entry, so two are enough.
#[cfg(all(feature = "std", test, loom))]
pub(crate) const LEAF_BITS: u32 = 1;

/// The logarithm of the number of leaves of a table of addresses that lies in memory of its own:
/// with the leaves, 48 bits of an address.
#[cfg(all(feature = "std", not(all(test, loom))))]
pub(crate) const ROOT_BITS: u32 = 48 - crate::size::SLICE.ilog2() - LEAF_BITS;
/// Two are enough for the slices of a model, which are adjacent.
#[cfg(all(feature = "std", test, loom))]
pub(crate) const ROOT_BITS: u32 = 1;

/// A `const fn`, or under loom a plain `fn`.
#[cfg(not(all(test, loom)))]
macro_rules! const_fn {
    ($(#[$meta:meta])* $vis:vis fn $($rest:tt)*) => { $(#[$meta])* $vis const fn $($rest)* };
    ($(#[$meta:meta])* $vis:vis unsafe fn $($rest:tt)*) => { $(#[$meta])* $vis const unsafe fn $($rest)* };
}
#[cfg(all(test, loom))]
macro_rules! const_fn {
    ($($rest:tt)*) => { $($rest)* };
}
pub(crate) use const_fn;
