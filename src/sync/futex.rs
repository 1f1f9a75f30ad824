//! A word to wait on.
//!
//! `wait(expected)` sleeps only while the word holds `expected`, and may wake for no reason;
//! `wake_one` wakes at least one sleeper, if there is one. With an operating system this is a
//! futex; without one, waiting is a hint to the processor; under loom it is a mutex and a condition
//! variable, which loom checks for lost wake-ups.

use super::atomic::AtomicU32;
#[cfg(not(all(test, loom)))]
use super::const_fn;

/// A 32-bit word with `wait` and `wake_one`.
#[derive(Debug)]
pub(crate) struct Futex {
    pub(crate) word: AtomicU32,
    #[cfg(all(test, loom))]
    sleepers: (loom::sync::Mutex<()>, loom::sync::Condvar),
}

#[cfg(not(all(test, loom)))]
impl Futex {
    const_fn! {
        pub(crate) fn new(value: u32) -> Self {
            Self { word: AtomicU32::new(value) }
        }
    }

    /// Sleeps while the word is `expected`.
    pub(crate) fn wait(&self, expected: u32) {
        crate::sys::futex_wait(&self.word, expected);
    }

    /// Wakes a thread that sleeps in [`wait`](Self::wait).
    pub(crate) fn wake_one(&self) {
        crate::sys::futex_wake_one(&self.word);
    }
}

#[cfg(all(test, loom))]
impl Futex {
    pub(crate) fn new(value: u32) -> Self {
        Self {
            word: AtomicU32::new(value),
            sleepers: (loom::sync::Mutex::new(()), loom::sync::Condvar::new()),
        }
    }

    /// Sleeps while the word is `expected`.
    pub(crate) fn wait(&self, expected: u32) {
        let held = self.sleepers.0.lock().expect("loom does not poison");
        if self.word.load(super::atomic::Ordering::Relaxed) == expected {
            drop(self.sleepers.1.wait(held));
        }
    }

    /// Wakes a thread that sleeps in [`wait`](Self::wait).
    pub(crate) fn wake_one(&self) {
        let held = self.sleepers.0.lock().expect("loom does not poison");
        self.sleepers.1.notify_one();
        drop(held);
    }
}
