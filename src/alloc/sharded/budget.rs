//! How much the shards hold, and when to look whether all of that is needed.
//!
//! A shard keeps memory for each class of blocks that was ever asked of it, and an idle one cannot
//! know that it is idle. So the shards are looked after together: when they hold twice what they
//! held after the last look, or have released half of what they hold since, each of them that
//! nobody uses gives back what no block lies in.
//!
//! Always: `limit` is at least [`LEAST`], and after a look at least twice of what was held then. So
//! a look comes only after as many bytes were obtained, or half as many released, as there are to
//! look at, and no fewer than [`LEAST`]. Only the holder of a shard's lock touches its `asked`;
//! where that is false, the shard has its allocator.
//!
//! These are figures: nothing is reached through them, so all accesses are Relaxed, and loom is not
//! told of them.

#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicBool, AtomicUsize};

/// Shards that hold no more bytes than this are left alone.
pub(super) const LEAST: usize = 2 << 20;

/// No `ShardCount` is more.
const MOST: usize = u64::BITS as usize;

/// The bytes that shards hold, and how many are too many.
#[derive(Debug)]
pub(super) struct Budget {
    held: AtomicUsize,
    limit: AtomicUsize,
    /// How many bytes were released since the last look.
    released: AtomicUsize,
    /// Which shards want to be looked after when they are next used: those that were never used,
    /// and those that passed the limit.
    asked: [AtomicBool; MOST],
}

impl Budget {
    /// Nothing is held.
    pub(super) const fn new() -> Self {
        let asked = [const { AtomicBool::new(true) }; MOST];
        let (held, released) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { held, limit: AtomicUsize::new(LEAST), released, asked }
    }

    /// How many bytes the shards hold.
    pub(super) fn held(&self) -> usize {
        self.held.load(Relaxed)
    }

    /// Whether a shard wants to be looked after, which is one that the caller holds the lock of.
    #[inline(always)]
    pub(super) fn asks(&self, shard: usize) -> bool {
        self.asked[shard].load(Relaxed)
    }

    /// It does, or not any more.
    pub(super) fn set_asks(&self, shard: usize, asks: bool) {
        self.asked[shard].store(asks, Relaxed);
    }

    /// A shard obtained that many bytes.
    pub(super) fn obtained(&self, shard: usize, bytes: usize) {
        self.held.fetch_add(bytes, Relaxed);
        self.ask(shard);
    }

    /// A shard released that many bytes.
    pub(super) fn released(&self, shard: usize, bytes: usize) {
        self.held.fetch_sub(bytes, Relaxed);
        self.released.fetch_add(bytes, Relaxed);
        self.ask(shard);
    }

    fn ask(&self, shard: usize) {
        if self.is_due() {
            self.set_asks(shard, true);
        }
    }

    /// Whether the shards are to be looked after.
    pub(super) fn is_due(&self) -> bool {
        let (held, released) = (self.held(), self.released.load(Relaxed));
        held > self.limit.load(Relaxed) || released >= LEAST.max(held / 2)
    }

    /// The shards were looked after.
    pub(super) fn looked_after(&self) {
        self.limit.store(self.held().saturating_mul(2).max(LEAST), Relaxed);
        self.released.store(0, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::{Budget, LEAST};

    #[test]
    fn a_look_comes_after_twice_was_obtained_or_half_released() {
        let budget = Budget::new();
        budget.obtained(0, LEAST);
        assert!(!budget.is_due());
        budget.obtained(0, 1);
        assert!(budget.is_due());
        budget.looked_after();
        budget.obtained(0, LEAST + 1);
        assert!(!budget.is_due(), "twice");
        budget.obtained(0, 10 * LEAST);
        assert!(budget.is_due());
        budget.looked_after();
        budget.released(0, 3 * LEAST);
        assert!(!budget.is_due());
        budget.released(0, LEAST + 1);
        assert!(budget.is_due(), "half of what is held now");
        budget.looked_after();
        // However much is obtained meanwhile.
        for _ in 0..4 {
            budget.obtained(0, LEAST);
            budget.released(0, LEAST);
        }
        assert!(budget.is_due());
        budget.released(0, budget.held());
        budget.looked_after();
        assert!(!budget.is_due(), "nothing to look for");
    }
}
