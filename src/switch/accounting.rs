//! Counting blocks and bytes by tier, for those who ask for it with
//! [`Policy::ACCOUNTING`](super::Policy::ACCOUNTING).
//!
//! Each thread counts for itself, plainly, and adds what it counted to the process's totals when
//! its bytes have changed by [`FLUSH`] and when it ends. A thread whose end will be seen is on a
//! list meanwhile, and whoever asks for figures adds what the threads on the list have not added
//! yet. So figures are exact while the other threads are at rest, and a peak is exact to `FLUSH`
//! bytes for each running thread. What destructors do after a thread's heap was parked is added at
//! once.
//!
//! Always: what is on the list of threads is the state of a thread that runs; it is taken off,
//! under the list's lock, before the thread's storage goes.

use core::cell::Cell;
use core::ptr::{NonNull, null_mut};

use crate::sync::Guarded;
use crate::sync::atomic::Ordering::Relaxed;
use crate::sync::atomic::{AtomicIsize, AtomicU64};

/// A thread adds to the totals when it has counted this many bytes up or down.
const FLUSH: isize = 64 * 1024;

/// The tiers, as indices.
pub(crate) const TIERS: usize = 3;

/// What a thread has counted and not yet added to the totals.
#[derive(Debug)]
pub(crate) struct Pending {
    tiers: [PendingTier; TIERS],
    heaps: Count,
    /// Whether it adds to the totals at once.
    at_once: Cell<bool>,
    /// Its neighbours on the list of threads; guarded by the list's lock.
    next: Cell<*mut Pending>,
    previous: Cell<*mut Pending>,
}

#[derive(Debug)]
struct PendingTier {
    allocated: Count,
    freed: Count,
    bytes: Count,
}

/// A number that one thread changes, by plain loads and stores, and others may read.
#[derive(Debug)]
struct Count(core::sync::atomic::AtomicIsize);

impl Count {
    const fn new() -> Self {
        Self(core::sync::atomic::AtomicIsize::new(0))
    }

    #[inline(always)]
    fn get(&self) -> isize {
        self.0.load(Relaxed)
    }

    #[inline(always)]
    fn add(&self, more: isize) {
        self.0.store(self.get().wrapping_add(more), Relaxed);
    }

    fn take(&self) -> isize {
        let value = self.get();
        self.0.store(0, Relaxed);
        value
    }
}

/// What threads have counted and not added to the totals, in sum.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Unflushed {
    tiers: [[isize; 3]; TIERS],
    heaps: isize,
}

/// The threads whose end will be seen.
#[derive(Debug)]
struct Threads {
    first: *mut Pending,
    /// While a fork is under way: what the threads that the child will not have had counted.
    others_at_fork: Unflushed,
}

// SAFETY: The list belongs to the declaration, not to a thread.
unsafe impl Send for Threads {}

/// What the process has counted.
#[derive(Debug)]
pub(crate) struct Totals {
    tiers: [TotalTier; TIERS],
    heaps: AtomicU64,
    threads: Guarded<Threads>,
}

#[derive(Debug)]
struct TotalTier {
    allocated: AtomicU64,
    freed: AtomicU64,
    bytes: AtomicIsize,
    peak: AtomicIsize,
}

/// The figures of one tier; see [`Statistics`](super::Statistics).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TierStatistics {
    /// Blocks allocated since the program began.
    pub blocks_allocated: u64,
    /// Blocks freed since the program began, wherever they were freed.
    pub blocks_freed: u64,
    /// Bytes in blocks that are allocated now, as asked for.
    pub live_bytes: usize,
    /// The most that `live_bytes` was since the program began or
    /// [`reset_peaks`](super::SwitchableAllocator::reset_peaks), to 64 KiB for each running thread.
    pub peak_live_bytes: usize,
}

impl TierStatistics {
    /// Blocks that are allocated now.
    pub fn live_blocks(&self) -> u64 {
        self.blocks_allocated.saturating_sub(self.blocks_freed)
    }
}

impl Pending {
    pub(crate) const fn new() -> Self {
        let tiers = [const { PendingTier { allocated: Count::new(), freed: Count::new(), bytes: Count::new() } };
            TIERS];
        let (next, previous) = (Cell::new(null_mut()), Cell::new(null_mut()));
        Self { tiers, heaps: Count::new(), at_once: Cell::new(false), next, previous }
    }

    #[inline(always)]
    pub(crate) fn allocated(&self, totals: &Totals, tier: usize, bytes: usize) {
        self.tiers[tier].allocated.add(1);
        self.changed(totals, tier, bytes.cast_signed());
    }

    #[inline(always)]
    pub(crate) fn freed(&self, totals: &Totals, tier: usize, bytes: usize) {
        self.freed_several(totals, tier, 1, bytes);
    }

    /// Counts several blocks of `bytes` bytes in all.
    #[inline(always)]
    pub(crate) fn freed_several(&self, totals: &Totals, tier: usize, blocks: usize, bytes: usize) {
        self.tiers[tier].freed.add(blocks.cast_signed());
        self.changed(totals, tier, -bytes.cast_signed());
    }

    /// Counts a change of a block's size in place.
    #[inline(always)]
    pub(crate) fn changed(&self, totals: &Totals, tier: usize, bytes: isize) {
        let pending = &self.tiers[tier].bytes;
        pending.add(bytes);
        if pending.get().unsigned_abs() >= FLUSH.unsigned_abs() || self.at_once.get() {
            self.flush_tier(totals, tier);
        }
    }

    #[inline(always)]
    pub(crate) fn heap_made(&self, totals: &Totals) {
        self.heaps.add(1);
        if self.at_once.get() {
            self.flush(totals);
        }
    }

    /// Adds everything to the totals, and from now on at once: the end of the thread will not be
    /// seen (any more).
    pub(crate) fn flush_always(&self, totals: &Totals) {
        self.at_once.set(true);
        self.flush(totals);
    }

    /// Adds everything to the totals.
    pub(crate) fn flush(&self, totals: &Totals) {
        totals.heaps.fetch_add(self.heaps.take().cast_unsigned() as u64, Relaxed);
        (0..TIERS).for_each(|tier| self.flush_tier(totals, tier));
    }

    #[cold]
    #[inline(never)]
    fn flush_tier(&self, totals: &Totals, tier: usize) {
        let pending = &self.tiers[tier];
        totals.tiers[tier].add([pending.allocated.take(), pending.freed.take(), pending.bytes.take()]);
    }

    fn add_to(&self, sum: &mut Unflushed) {
        sum.heaps += self.heaps.get();
        for (sum, pending) in sum.tiers.iter_mut().zip(&self.tiers) {
            let [allocated, freed, bytes] = sum;
            *allocated += pending.allocated.get();
            *freed += pending.freed.get();
            *bytes += pending.bytes.get();
        }
    }
}

impl Totals {
    crate::sync::const_fn! {
        pub(crate) fn new() -> Self {
            let none = Unflushed { tiers: [[0; 3]; TIERS], heaps: 0 };
            Self {
                tiers: [TotalTier::new(), TotalTier::new(), TotalTier::new()],
                heaps: AtomicU64::new(0),
                threads: Guarded::new(Threads { first: null_mut(), others_at_fork: none }),
            }
        }
    }

    /// Puts the calling thread on the list.
    ///
    /// # Safety
    /// `pending` is the calling thread's, on no list, and is taken off by [`leave`](Self::leave)
    /// before the thread's storage goes.
    pub(crate) unsafe fn join(&self, pending: &Pending) {
        let mut threads = self.threads.lock();
        pending.next.set(threads.first);
        let this = core::ptr::from_ref(pending).cast_mut();
        if let Some(next) = NonNull::new(threads.first) {
            // SAFETY: What is on the list is a thread's that runs; its links are used only under
            // the lock.
            unsafe { next.as_ref() }.previous.set(this);
        }
        threads.first = this;
    }

    /// Takes the calling thread off the list, if it is there.
    pub(crate) fn leave(&self, pending: &Pending) {
        let mut threads = self.threads.lock();
        let (next, previous) = (pending.next.replace(null_mut()), pending.previous.replace(null_mut()));
        let this = core::ptr::from_ref(pending).cast_mut();
        match NonNull::new(previous) {
            // SAFETY: As in `join`.
            Some(previous) => unsafe { previous.as_ref() }.next.set(next),
            None if core::ptr::eq(threads.first, this) => threads.first = next,
            None => {}
        }
        if let Some(next) = NonNull::new(next) {
            // SAFETY: As in `join`.
            unsafe { next.as_ref() }.previous.set(previous);
        }
    }

    /// What the threads on the list have counted and not added.
    pub(crate) fn unflushed(&self) -> Unflushed {
        self.threads.lock().unflushed(None)
    }

    pub(crate) fn tier(&self, unflushed: &Unflushed, tier: usize) -> TierStatistics {
        let total = &self.tiers[tier];
        let [allocated, freed, bytes] = unflushed.tiers[tier];
        let live_bytes = usize::try_from(total.bytes.load(Relaxed) + bytes).unwrap_or(0);
        TierStatistics {
            blocks_allocated: total.allocated.load(Relaxed).wrapping_add_signed(allocated as i64),
            blocks_freed: total.freed.load(Relaxed).wrapping_add_signed(freed as i64),
            live_bytes,
            peak_live_bytes: usize::try_from(total.peak.load(Relaxed)).unwrap_or(0).max(live_bytes),
        }
    }

    pub(crate) fn heaps(&self, unflushed: &Unflushed) -> u64 {
        self.heaps.load(Relaxed).wrapping_add_signed(unflushed.heaps as i64)
    }

    /// Before a fork: takes the list's lock. `own` is the calling thread's, the only one that the
    /// child will have.
    pub(crate) fn before_fork(&self, own: &Pending) {
        self.threads.hold_for_fork();
        // The thread passes through the lock that it holds.
        let mut threads = self.threads.lock();
        threads.others_at_fork = threads.unflushed(Some(own));
    }

    /// After a fork: gives the lock back. In the child the calling thread remains, and what the
    /// others had counted is added.
    ///
    /// # Safety
    /// As [`Guarded::release_after_fork`].
    pub(crate) unsafe fn after_fork(&self, own: &Pending, child: bool) {
        if child {
            let mut threads = self.threads.lock();
            let listed = !threads.first.is_null()
                && (core::ptr::eq(threads.first, own) || !own.previous.get().is_null());
            own.next.set(null_mut());
            own.previous.set(null_mut());
            threads.first = if listed { core::ptr::from_ref(own).cast_mut() } else { null_mut() };
            let others = threads.others_at_fork;
            drop(threads);
            for (total, others) in self.tiers.iter().zip(others.tiers) {
                total.add(others);
            }
            self.heaps.fetch_add(others.heaps.cast_unsigned() as u64, Relaxed);
        }
        // SAFETY: The caller's promises.
        unsafe { self.threads.release_after_fork() };
    }

    pub(crate) fn reset_peaks(&self) {
        for total in &self.tiers {
            total.peak.store(total.bytes.load(Relaxed), Relaxed);
        }
    }
}

impl Threads {
    /// The sum of what the threads on the list have counted, all but one.
    fn unflushed(&self, but: Option<&Pending>) -> Unflushed {
        let mut sum = Unflushed::default();
        let mut next = self.first;
        while let Some(pending) = NonNull::new(next) {
            // SAFETY: What is on the list is a thread's that runs; `self` is reached under the
            // lock.
            let pending = unsafe { pending.as_ref() };
            if !but.is_some_and(|but| core::ptr::eq(but, pending)) {
                pending.add_to(&mut sum);
            }
            next = pending.next.get();
        }
        sum
    }
}

impl TotalTier {
    /// Adds what a thread counted: blocks allocated, blocks freed, and bytes.
    fn add(&self, [allocated, freed, bytes]: [isize; 3]) {
        self.allocated.fetch_add(allocated.cast_unsigned() as u64, Relaxed);
        self.freed.fetch_add(freed.cast_unsigned() as u64, Relaxed);
        let now = self.bytes.fetch_add(bytes, Relaxed) + bytes;
        self.peak.fetch_max(now, Relaxed);
    }

    crate::sync::const_fn! {
        fn new() -> Self {
            Self {
                allocated: AtomicU64::new(0),
                freed: AtomicU64::new(0),
                bytes: AtomicIsize::new(0),
                peak: AtomicIsize::new(0),
            }
        }
    }
}
