//! Counting blocks and bytes by tier, for those who ask for it with
//! [`Policy::ACCOUNTING`](super::Policy::ACCOUNTING).
//!
//! Each thread whose end will be seen has [`Counters`] of its own, and counts there, plainly. It
//! adds them to the process's totals when its bytes have changed by [`FLUSH`] and when it ends. A
//! request for figures adds what all counters have that the totals have not yet. So figures are
//! exact while the other threads are at rest, and a peak is exact to `FLUSH` bytes for each running
//! thread. A thread without counters adds to the totals at once: before it has some, and after its
//! heap was parked.
//!
//! Always: counters lie in memory that is never unmapped. A thread may end unseen, and its counters
//! keep what it counted; in the child of a fork those of all threads are there.

use core::cell::Cell;
use core::ptr::{NonNull, null, null_mut};

use crate::sync::Guarded;
use crate::sync::atomic::Ordering::Relaxed;
use crate::sync::atomic::{AtomicIsize, AtomicU64};
use crate::sys;

/// A thread adds to the totals when it has counted this many bytes up or down.
const FLUSH: isize = 64 * 1024;

/// The tiers, as indices.
pub(crate) const TIERS: usize = 3;

/// What a thread has counted in one tier: blocks allocated, blocks freed, and bytes.
type Change = [isize; 3];

/// What a thread has counted and not yet added to the totals.
#[derive(Debug)]
struct Counters {
    tiers: [[Count; 3]; TIERS],
    heaps: Count,
    /// The counters made before these; guarded by the list's lock.
    next: Cell<*mut Counters>,
    /// The next ones that no thread has; guarded by the list's lock.
    next_free: Cell<*mut Counters>,
}

/// A number that one thread changes, by plain loads and stores, and others may read.
///
/// An atomic of the core, not one that loom knows: no model counts blocks by tier.
#[derive(Debug)]
struct Count(core::sync::atomic::AtomicIsize);

impl Count {
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

/// The calling thread's counters, if it has some.
#[derive(Debug)]
pub(crate) struct Pending(Cell<*const Counters>);

/// What threads have counted and not added to the totals, in sum.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Unflushed {
    tiers: [Change; TIERS],
    heaps: isize,
}

/// The counters of all threads.
#[derive(Debug)]
struct AllCounters {
    /// All that were ever made, the ones made last first.
    first: *mut Counters,
    /// Those that no thread has.
    free: *mut Counters,
    /// Room for more, and for how many.
    room: *mut Counters,
    left: usize,
}

// SAFETY: The list belongs to the declaration, not to a thread.
unsafe impl Send for AllCounters {}

/// What the process has counted.
#[derive(Debug)]
pub(crate) struct Totals {
    tiers: [TotalTier; TIERS],
    heaps: AtomicU64,
    counters: Guarded<AllCounters>,
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
    #[must_use]
    pub fn live_blocks(&self) -> u64 {
        self.blocks_allocated.saturating_sub(self.blocks_freed)
    }
}

impl Pending {
    /// A thread without counters.
    pub(crate) const fn new() -> Self {
        Self(Cell::new(null()))
    }

    #[inline(always)]
    fn counters(&self) -> Option<&'static Counters> {
        // SAFETY: Counters are never unmapped, and reached by shared references only.
        unsafe { self.0.get().as_ref() }
    }

    #[inline(always)]
    pub(crate) fn allocated(&self, totals: &Totals, tier: usize, bytes: usize) {
        self.count(totals, tier, [1, 0, bytes.cast_signed()]);
    }

    #[inline(always)]
    pub(crate) fn freed(&self, totals: &Totals, tier: usize, bytes: usize) {
        self.freed_several(totals, tier, 1, bytes);
    }

    /// Counts several blocks of `bytes` bytes in all.
    #[inline(always)]
    pub(crate) fn freed_several(&self, totals: &Totals, tier: usize, blocks: usize, bytes: usize) {
        self.count(totals, tier, [0, blocks.cast_signed(), -bytes.cast_signed()]);
    }

    /// Counts a change of a block's size in place.
    #[inline(always)]
    pub(crate) fn changed(&self, totals: &Totals, tier: usize, bytes: isize) {
        self.count(totals, tier, [0, 0, bytes]);
    }

    #[inline(always)]
    fn count(&self, totals: &Totals, tier: usize, change: Change) {
        let Some(counters) = self.counters() else {
            totals.tiers[tier].add(change);
            return;
        };
        let counts = &counters.tiers[tier];
        // What is zero is known when this is compiled.
        counts.iter().zip(change).filter(|(_, more)| *more != 0).for_each(|(count, more)| count.add(more));
        if counts[2].get().unsigned_abs() >= FLUSH.unsigned_abs() {
            counters.flush_tier(totals, tier);
        }
    }

    #[inline(always)]
    pub(crate) fn heap_made(&self, totals: &Totals) {
        match self.counters() {
            Some(counters) => counters.heaps.add(1),
            None => {
                totals.heaps.fetch_add(1, Relaxed);
            }
        }
    }

    /// Adds everything to the totals.
    pub(crate) fn flush(&self, totals: &Totals) {
        if let Some(counters) = self.counters() {
            counters.flush(totals);
        }
    }
}

impl Counters {
    const fn new() -> Self {
        let zero = [const { [const { Count(core::sync::atomic::AtomicIsize::new(0)) }; 3] }; TIERS];
        let heaps = Count(core::sync::atomic::AtomicIsize::new(0));
        Self { tiers: zero, heaps, next: Cell::new(null_mut()), next_free: Cell::new(null_mut()) }
    }

    fn flush(&self, totals: &Totals) {
        totals.heaps.fetch_add(self.heaps.take().cast_unsigned() as u64, Relaxed);
        (0..TIERS).for_each(|tier| self.flush_tier(totals, tier));
    }

    #[cold]
    #[inline(never)]
    fn flush_tier(&self, totals: &Totals, tier: usize) {
        totals.tiers[tier].add(self.tiers[tier].each_ref().map(Count::take));
    }
}

impl Totals {
    crate::sync::const_fn! {
        pub(crate) fn new() -> Self {
            let none = AllCounters { first: null_mut(), free: null_mut(), room: null_mut(), left: 0 };
            Self {
                tiers: [TotalTier::new(), TotalTier::new(), TotalTier::new()],
                heaps: AtomicU64::new(0),
                counters: Guarded::new(none),
            }
        }
    }

    /// Gives the calling thread counters, if there is memory for them.
    pub(crate) fn join(&self, pending: &Pending) {
        if pending.counters().is_none() {
            pending.0.set(self.counters.lock().take());
        }
    }

    /// Takes the calling thread's counters back; it adds to the totals at once from now on.
    pub(crate) fn leave(&self, pending: &Pending) {
        pending.flush(self);
        if let Some(counters) = NonNull::new(pending.0.replace(null()).cast_mut()) {
            self.counters.lock().give(counters);
        }
    }

    /// What threads have counted and not added.
    pub(crate) fn unflushed(&self) -> Unflushed {
        let all = self.counters.lock();
        let mut sum = Unflushed::default();
        let mut next = all.first;
        while let Some(counters) = NonNull::new(next) {
            // SAFETY: Counters are never unmapped, and reached by shared references only.
            let counters = unsafe { counters.as_ref() };
            sum.heaps += counters.heaps.get();
            for (sum, counts) in sum.tiers.iter_mut().zip(&counters.tiers) {
                sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count.get());
            }
            next = counters.next.get();
        }
        sum
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

    pub(crate) fn before_fork(&self) {
        self.counters.hold_for_fork();
    }

    /// # Safety
    /// As [`Guarded::release_after_fork`].
    pub(crate) unsafe fn after_fork(&self) {
        // SAFETY: The caller called `before_fork` on this thread, or on the one that forked it.
        unsafe { self.counters.release_after_fork() };
    }

    pub(crate) fn reset_peaks(&self) {
        for total in &self.tiers {
            total.peak.store(total.bytes.load(Relaxed), Relaxed);
        }
    }
}

impl AllCounters {
    /// Counters that no thread has, or null if there is no memory.
    fn take(&mut self) -> *const Counters {
        if let Some(free) = NonNull::new(self.free) {
            // SAFETY: Counters are never unmapped; their links are used only under the lock, which
            // `self` shows.
            self.free = unsafe { free.as_ref() }.next_free.replace(null_mut());
            return free.as_ptr();
        }
        if self.left == 0 {
            let page = sys::page_size();
            let Ok(room) = sys::map(page) else { return null() };
            (self.room, self.left) = (room.as_ptr().cast(), page / size_of::<Counters>());
        }
        let new = self.room;
        // SAFETY: There is room for `left` more, in pages that were mapped for them, at an address
        // that is aligned for them.
        unsafe { new.write(Counters::new()) };
        // SAFETY: They were just written; their links are used only under the lock, which `self`
        // shows.
        unsafe { &*new }.next.set(self.first);
        self.first = new;
        self.room = self.room.wrapping_add(1);
        self.left -= 1;
        new
    }

    fn give(&mut self, counters: NonNull<Counters>) {
        // SAFETY: As in `take`.
        unsafe { counters.as_ref() }.next_free.set(self.free);
        self.free = counters.as_ptr();
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

/// What happened to heaps that are gone, or whose handles are.
#[derive(Debug)]
pub(crate) struct Lifetimes {
    pub(super) orphans_made: AtomicU64,
    pub(super) escaped_blocks: AtomicU64,
    pub(super) escaped_bytes: AtomicU64,
    pub(super) remote_frees: AtomicU64,
    pub(super) trimmed_resident_bytes: AtomicU64,
    pub(super) spilled_blocks: AtomicU64,
    pub(super) spilled_bytes: AtomicU64,
    pub(super) refused: AtomicU64,
}

impl Lifetimes {
    crate::sync::const_fn! {
        pub(crate) fn new() -> Self {
            Self {
                orphans_made: AtomicU64::new(0),
                escaped_blocks: AtomicU64::new(0),
                escaped_bytes: AtomicU64::new(0),
                remote_frees: AtomicU64::new(0),
                trimmed_resident_bytes: AtomicU64::new(0),
                spilled_blocks: AtomicU64::new(0),
                spilled_bytes: AtomicU64::new(0),
                refused: AtomicU64::new(0),
            }
        }
    }

    pub(crate) fn orphaned(&self, blocks: usize, bytes: usize) {
        self.orphans_made.fetch_add(1, Relaxed);
        self.escaped_blocks.fetch_add(blocks as u64, Relaxed);
        self.escaped_bytes.fetch_add(bytes as u64, Relaxed);
    }

    /// Counts a block that another tier served because of a heap's limit.
    pub(crate) fn spilled(&self, bytes: usize) {
        self.spilled_blocks.fetch_add(1, Relaxed);
        self.spilled_bytes.fetch_add(bytes as u64, Relaxed);
    }

    /// Counts a request that failed because of a heap's limit.
    pub(crate) fn refused(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    /// Counts the remote frees of a heap that has no blocks any more.
    pub(crate) fn remote_frees(&self, blocks: usize) {
        if blocks > 0 {
            self.remote_frees.fetch_add(blocks as u64, Relaxed);
        }
    }
}
