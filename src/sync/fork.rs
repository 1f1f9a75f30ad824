//! A lock that is held around a fork, however many ask for it.
//!
//! The hooks of a fork take the locks of everything that an allocator stands on. One arena may stand under both tiers, or under two
//! allocators, and then one thread asks for its lock several times over. So the first request takes the lock and the last release
//! gives it back; those between only count.

use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::Relaxed;

use crate::sys;

/// Who holds a lock around a fork, and how many times over.
///
/// Relaxed: a thread finds its own name here only if it wrote it itself, and the count is touched by that thread alone. The child's one
/// thread goes by the name of the thread that forked it.
#[derive(Debug)]
pub(crate) struct ForkHold {
    thread: AtomicUsize,
    times: AtomicUsize,
}

/// No thread's name.
const NOBODY: usize = 0;

impl ForkHold {
    /// Nobody forks.
    pub(crate) const fn new() -> Self {
        Self { thread: AtomicUsize::new(NOBODY), times: AtomicUsize::new(0) }
    }

    /// Calls `lock`, unless this thread holds it for a fork already.
    pub(crate) fn hold(&self, lock: impl FnOnce()) {
        let this = sys::thread_name();
        if this == NOBODY || self.thread.load(Relaxed) != this {
            lock();
            self.thread.store(this, Relaxed);
        }
        self.times.store(self.times.load(Relaxed) + 1, Relaxed);
    }

    /// Calls `unlock`, if this is the last release of those that match the calls of [`hold`](Self::hold).
    pub(crate) fn release(&self, unlock: impl FnOnce()) {
        let times = self.times.load(Relaxed) - 1;
        self.times.store(times, Relaxed);
        if times == 0 {
            self.thread.store(NOBODY, Relaxed);
            unlock();
        }
    }
}
