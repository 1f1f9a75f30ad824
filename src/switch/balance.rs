//! When is a heap's last block gone?
//!
//! The user of a heap counts, plainly, the blocks handed out minus the blocks freed by itself:
//! `live`. Everybody else adds 1 to the atomic `balance` for each block freed. Nobody needs the sum
//! until the heap is *settled*: its handle was dropped (or its thread ended), and `live` can no
//! longer change. Then `live` is subtracted from `balance`, once, and
//!
//! ```text
//!   before:  balance =  remote frees         >= 0
//!   after:   balance =  remote frees - live  <= 0,   and 0 exactly when every block is gone
//! ```
//!
//! Before, an addition goes from n to n + 1 with n >= 0; after, from a negative number up, and only
//! the last one goes from -1 to 0. So who sees the old value -1, or settles to 0, is the last, and
//! there is exactly one of them. A remote free costs one atomic addition and the last one learns
//! that it is the last from that addition's result.
//!
//! Ordering: each addition releases what the thread did with the block, and the last one acquires
//! all of that before it gives the memory to somebody else.

use crate::sync::atomic::AtomicIsize;
use crate::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};

/// What an addition to a balance says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Frees {
    /// The heap is not settled, or more of its blocks are alive.
    Some,
    /// These were the last of a settled heap: they took the sum from below 0 to 0.
    All,
    /// A settled heap gave out fewer.
    TooMany,
}

/// Remote frees, minus the live blocks once those are settled.
#[derive(Debug)]
pub(crate) struct Balance(AtomicIsize);

impl Balance {
    /// Of a heap without blocks.
    pub(crate) fn new() -> Self {
        Self(AtomicIsize::new(0))
    }

    /// Counts blocks freed by somebody who does not use the heap.
    #[inline(always)]
    pub(crate) fn remote_frees(&self, blocks: usize) -> Frees {
        let blocks = blocks.cast_signed();
        let before = self.0.fetch_add(blocks, AcqRel);
        if before == -blocks {
            Frees::All
        } else if before < 0 && before > -blocks {
            Frees::TooMany
        } else {
            Frees::Some
        }
    }

    /// Settles the heap with `live` blocks; gives the number of those that are not freed yet, 0 to
    /// the last.
    #[inline]
    pub(crate) fn retire(&self, live: usize) -> usize {
        let live = live.cast_signed();
        let before = self.0.fetch_sub(live, AcqRel);
        (live - before).cast_unsigned()
    }

    /// Undoes [`retire`](Self::retire), for a heap that is used again.
    ///
    /// Relaxed, because the heap itself passes from user to user under the lock of the parking lot;
    /// and as it is an addition too, what the frees before it released still reaches who settles
    /// the heap later.
    pub(crate) fn revive(&self, live: usize) {
        self.0.fetch_add(live.cast_signed(), Relaxed);
    }

    /// Whether a settled heap's blocks are all gone.
    pub(crate) fn is_even(&self) -> bool {
        self.0.load(Acquire) == 0
    }

    /// The number, for statistics and for tests.
    #[inline]
    pub(crate) fn get(&self) -> isize {
        self.0.load(Relaxed)
    }

    /// Back to that of a heap without blocks. Nobody else may know of the heap.
    #[inline]
    pub(crate) fn clear(&self) {
        self.0.store(0, Relaxed);
    }
}
