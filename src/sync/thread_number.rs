//! Which of several equal things a thread takes first.
//!
//! A number for each thread, given in turn when it first asks, so that threads which run at the
//! same time have different ones. It is a hint: nothing breaks where two threads have the same.
//!
//! Neither function is inlined: the address of the number is the thread's, and must not stay in a
//! register of a function that suspends a coroutine, which may go on on another thread.

/// The calling thread's number.
#[cfg(not(all(test, loom)))]
#[inline(never)]
pub(crate) fn thread_number() -> usize {
    let number = threads::HOME.get();
    if number == threads::NONE { threads::first() } else { number }
}

/// Gives the calling thread another number.
#[cfg(not(all(test, loom)))]
#[inline(never)]
pub(crate) fn set_thread_number(number: usize) {
    threads::HOME.set(number);
}

#[cfg(not(all(test, loom)))]
mod threads {
    use core::cell::Cell;
    use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    /// No thread's number yet.
    pub(super) const NONE: usize = usize::MAX;

    /// Relaxed: the numbers differ, and nothing hangs on them.
    static NEXT: AtomicUsize = AtomicUsize::new(0);

    std::thread_local! {
        /// Initialised when the program is compiled, and without a destructor, so that it can be
        /// used from the first allocation of a thread to its last, and allocates nothing.
        pub(super) static HOME: Cell<usize> = const { Cell::new(NONE) };
    }

    #[cold]
    #[inline(never)]
    pub(super) fn first() -> usize {
        let number = NEXT.fetch_add(1, Relaxed) % NONE;
        HOME.set(number);
        number
    }
}

/// Under loom all threads begin at the same place, where they are in each other's way.
#[cfg(all(test, loom))]
pub(crate) fn thread_number() -> usize {
    0
}

/// Under loom they stay there: its threads are one thread of the operating system.
#[cfg(all(test, loom))]
pub(crate) fn set_thread_number(_number: usize) {}
