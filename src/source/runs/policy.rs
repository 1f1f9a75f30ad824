//! When the memory of free slices goes back to the operating system.

use core::time::Duration;

/// What a [`RunSource`](crate::source::RunSource) does with the memory of slices that are free: how
/// long it stays for the next user, how much of it, and who sees to that.
///
/// A free slice whose memory stays costs resident memory; one whose memory was given up costs its
/// next user sixteen page faults: 22 µs where this was measured (in a virtual machine), beside 4 µs
/// for giving it up by itself and half a microsecond among others. So memory stays for as long as a
/// program usually takes to want it again, and goes when it does not.
///
/// The default: half a second, but 512 KiB stay for ever and never more than 64 MiB wait; a thread
/// of the library sees to it that this needs no further calls. What a program frees in one phase
/// and takes again in the next, as a compiler or a server under a changing load does, comes back
/// within a fraction of a second. 512 KiB are what a small program frees and takes all the time, so
/// that it never sees the thread. Beyond 64 MiB who frees gives a quarter up, which takes 0.6 ms:
/// that is seldom, and bounds what a burst leaves.
///
/// The thread also gives up pages without a block in slabs of a thread tier over the pool
/// ([`sweep_later`](crate::MemorySource::sweep_later)), if nothing was freed there for half the
/// delay.
///
/// If the system joins pages into huge ones unasked (`always` in
/// `/sys/kernel/mm/transparent_hugepage/enabled`), it would bring memory back that was given up
/// between slices that are held. So a chunk that is given up in part has small pages from then on
/// ([`keep_pages_small`](crate::source::Decommit::keep_pages_small)).
///
/// Regions longer than a chunk that came back wait in the same way, and count in the same sum: they
/// are unmapped when their time is over. One that would make more than `most` wait goes at once. To
/// map and touch 16 MiB anew takes some 5 ms; to use those of a kept map again takes a hundredth.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use context_allocator::MmapSource;
/// use context_allocator::source::{Purge, RunSource};
///
/// let purge = Purge::new().delay(Duration::from_secs(5)).keep(8 << 20).by_traffic();
/// let slices = RunSource::<MmapSource>::with_purge(MmapSource::new(), purge);
/// assert_eq!(slices.usage().obtained, 0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Purge {
    /// Milliseconds; `u64::MAX` for ever.
    delay: u64,
    keep: usize,
    most: usize,
    thread: bool,
}

impl Purge {
    /// The default, to be changed by the methods below.
    #[must_use]
    pub const fn new() -> Self {
        Self { delay: 500, keep: 512 * 1024, most: 64 * 1024 * 1024, thread: true }
    }

    /// Memory stays until somebody calls [`purge`](crate::source::RunSource::purge).
    #[must_use]
    pub const fn never() -> Self {
        Self { delay: u64::MAX, keep: usize::MAX, most: usize::MAX, thread: false }
    }

    /// Memory goes as soon as it is free, on the thread that frees it: a system call for each
    /// release.
    #[must_use]
    pub const fn at_once() -> Self {
        Self { delay: 0, keep: 0, most: 0, thread: false }
    }

    /// Memory goes when it has been free for `delay` or a little less: between half of it and all
    /// of it.
    #[must_use]
    pub const fn delay(mut self, delay: Duration) -> Self {
        let millis = delay.as_millis();
        self.delay = if millis < u64::MAX as u128 { millis as u64 } else { u64::MAX };
        self
    }

    /// That many bytes stay, however long they are free.
    #[must_use]
    pub const fn keep(mut self, bytes: usize) -> Self {
        self.keep = bytes;
        self
    }

    /// No more than that many bytes wait: at more, who frees the last of them gives the oldest
    /// quarter up.
    #[must_use]
    pub const fn most(mut self, bytes: usize) -> Self {
        self.most = bytes;
        self
    }

    /// No thread is made: memory that has been free for long enough goes when somebody next
    /// releases some.
    ///
    /// For processes that must have one thread, or none that they do not know of: those that call
    /// `unshare` or `setns`, count their threads, or run under a filter that kills who makes one;
    /// and where the library's memory serves the C library's `malloc`, which making a thread calls.
    #[must_use]
    pub const fn by_traffic(mut self) -> Self {
        self.thread = false;
        self
    }

    /// How long a tick is, in milliseconds: what is free for two of them goes. None if time has no
    /// part in it.
    pub(super) const fn tick(self) -> Option<u64> {
        if self.delay == u64::MAX || self.delay == 0 {
            None
        } else if self.delay < 2 {
            Some(1)
        } else {
            Some(self.delay / 2)
        }
    }

    pub(super) const fn keep_bytes(self) -> usize {
        self.keep
    }

    pub(super) const fn most_bytes(self) -> usize {
        if self.delay == 0 || self.most < self.keep { self.keep } else { self.most }
    }

    pub(super) const fn makes_thread(self) -> bool {
        self.thread && self.tick().is_some()
    }
}

impl Default for Purge {
    fn default() -> Self {
        Self::new()
    }
}
