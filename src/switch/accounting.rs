//! Counting blocks and bytes by tier, for those who ask for it with [`Policy::ACCOUNTING`](super::Policy::ACCOUNTING).
//!
//! Each thread counts for itself, plainly, and adds what it counted to the process's totals when its bytes have changed by
//! [`FLUSH`], when it ends, and when it asks for statistics. What destructors do after a thread's heap was parked is added at once. So a total is exact once
//! the other threads have ended, and a peak is exact to `FLUSH` bytes for each running thread.

use core::cell::Cell;

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
    heaps: Cell<u64>,
    /// Whether it adds to the totals at once.
    at_once: Cell<bool>,
}

#[derive(Debug)]
struct PendingTier {
    allocated: Cell<u64>,
    freed: Cell<u64>,
    bytes: Cell<isize>,
}

/// What the process has counted.
#[derive(Debug)]
pub(crate) struct Totals {
    tiers: [TotalTier; TIERS],
    heaps: AtomicU64,
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
    /// The most that `live_bytes` was since the program began or [`reset_peaks`](super::SwitchableAllocator::reset_peaks), to
    /// 64 KiB for each running thread.
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
        let tiers = [const { PendingTier { allocated: Cell::new(0), freed: Cell::new(0), bytes: Cell::new(0) } };
            TIERS];
        Self { tiers, heaps: Cell::new(0), at_once: Cell::new(false) }
    }

    #[inline(always)]
    pub(crate) fn allocated(&self, totals: &Totals, tier: usize, bytes: usize) {
        let pending = &self.tiers[tier];
        pending.allocated.set(pending.allocated.get() + 1);
        self.changed(totals, tier, bytes.cast_signed());
    }

    #[inline(always)]
    pub(crate) fn freed(&self, totals: &Totals, tier: usize, bytes: usize) {
        self.freed_several(totals, tier, 1, bytes);
    }

    /// Counts several blocks of `bytes` bytes in all.
    #[inline(always)]
    pub(crate) fn freed_several(&self, totals: &Totals, tier: usize, blocks: usize, bytes: usize) {
        let pending = &self.tiers[tier];
        pending.freed.set(pending.freed.get() + blocks as u64);
        self.changed(totals, tier, -bytes.cast_signed());
    }

    /// Counts a change of a block's size in place.
    #[inline(always)]
    pub(crate) fn changed(&self, totals: &Totals, tier: usize, bytes: isize) {
        let pending = &self.tiers[tier];
        pending.bytes.set(pending.bytes.get() + bytes);
        if pending.bytes.get().unsigned_abs() >= FLUSH.unsigned_abs() || self.at_once.get() {
            self.flush_tier(totals, tier);
        }
    }

    #[inline(always)]
    pub(crate) fn heap_made(&self, totals: &Totals) {
        self.heaps.set(self.heaps.get() + 1);
        if self.at_once.get() {
            self.flush(totals);
        }
    }

    /// Adds everything to the totals, and from now on at once: the end of the thread will not be seen (any more).
    pub(crate) fn flush_always(&self, totals: &Totals) {
        self.at_once.set(true);
        self.flush(totals);
    }

    /// Adds everything to the totals.
    pub(crate) fn flush(&self, totals: &Totals) {
        totals.heaps.fetch_add(self.heaps.replace(0), Relaxed);
        (0..TIERS).for_each(|tier| self.flush_tier(totals, tier));
    }

    #[cold]
    #[inline(never)]
    fn flush_tier(&self, totals: &Totals, tier: usize) {
        let (pending, total) = (&self.tiers[tier], &totals.tiers[tier]);
        total.allocated.fetch_add(pending.allocated.replace(0), Relaxed);
        total.freed.fetch_add(pending.freed.replace(0), Relaxed);
        let bytes = pending.bytes.replace(0);
        let now = total.bytes.fetch_add(bytes, Relaxed) + bytes;
        total.peak.fetch_max(now, Relaxed);
    }
}

impl Totals {
    crate::sync::const_fn! {
        pub(crate) fn new() -> Self {
            Self {
                tiers: [TotalTier::new(), TotalTier::new(), TotalTier::new()],
                heaps: AtomicU64::new(0),
            }
        }
    }

    pub(crate) fn tier(&self, tier: usize) -> TierStatistics {
        let total = &self.tiers[tier];
        TierStatistics {
            blocks_allocated: total.allocated.load(Relaxed),
            blocks_freed: total.freed.load(Relaxed),
            live_bytes: usize::try_from(total.bytes.load(Relaxed)).unwrap_or(0),
            peak_live_bytes: usize::try_from(total.peak.load(Relaxed)).unwrap_or(0),
        }
    }

    pub(crate) fn heaps(&self) -> u64 {
        self.heaps.load(Relaxed)
    }

    pub(crate) fn reset_peaks(&self) {
        for total in &self.tiers {
            total.peak.store(total.bytes.load(Relaxed), Relaxed);
        }
    }
}

impl TotalTier {
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
