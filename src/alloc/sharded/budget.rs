//! How much the shards hold, and when to look whether all of that is needed.
//!
//! A shard keeps memory for each class of blocks that was ever asked of it, and an idle one cannot know that it is idle. So
//! the shards are looked after together: when they hold twice what they held after the last look, or a half of it, each of them
//! that nobody uses gives back what no block lies in.
//!
//! Always: `limit` is at least [`LEAST`], and after a look at least twice of what was held then. So a look comes only after
//! as many bytes were obtained, or half as many released, as there were to look at.
//!
//! These are figures: nothing is reached through them, so all accesses are Relaxed, and loom is not told of them.

#![forbid(unsafe_code)]

use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::Relaxed;

/// Shards that hold no more bytes than this are left alone.
pub(super) const LEAST: usize = 2 << 20;

/// The bytes that shards hold, and how many are too many.
#[derive(Debug)]
pub(super) struct Budget {
    held: AtomicUsize,
    limit: AtomicUsize,
}

impl Budget {
    /// Nothing is held.
    pub(super) const fn new() -> Self {
        Self { held: AtomicUsize::new(0), limit: AtomicUsize::new(LEAST) }
    }

    /// How many bytes the shards hold.
    pub(super) fn held(&self) -> usize {
        self.held.load(Relaxed)
    }

    /// A shard obtained that many bytes.
    pub(super) fn obtained(&self, bytes: usize) {
        self.held.fetch_add(bytes, Relaxed);
    }

    /// A shard released that many bytes.
    pub(super) fn released(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Relaxed);
    }

    /// Whether the shards are to be looked after.
    pub(super) fn is_due(&self) -> bool {
        let (held, limit) = (self.held(), self.limit.load(Relaxed));
        held > limit || (limit > LEAST && held < limit / 4)
    }

    /// The shards were looked after.
    pub(super) fn looked_after(&self) {
        self.limit.store(self.held().saturating_mul(2).max(LEAST), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::{Budget, LEAST};

    #[test]
    fn a_look_comes_after_twice_or_half_of_what_was_there() {
        let budget = Budget::new();
        budget.obtained(LEAST);
        assert!(!budget.is_due());
        budget.obtained(1);
        assert!(budget.is_due());
        budget.looked_after();
        assert!(!budget.is_due());
        budget.obtained(LEAST + 1);
        assert!(!budget.is_due(), "twice");
        budget.obtained(1);
        assert!(budget.is_due());
        budget.looked_after();
        budget.released(LEAST + 1);
        assert!(!budget.is_due());
        budget.released(2);
        assert!(budget.is_due(), "less than half");
        budget.looked_after();
        budget.released(budget.held());
        budget.looked_after();
        assert!(!budget.is_due(), "nothing to look for");
    }
}
