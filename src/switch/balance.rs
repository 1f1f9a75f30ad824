//! When is a heap's last block free?
//!
//! The heap's user counts, plainly, the blocks handed out minus the blocks that it freed: `live`.
//! Any other thread adds 1 to the atomic `balance` for each block that it frees. Nobody needs the
//! sum until the heap is *retired*: its handle was dropped, or its thread ended, and `live` can no
//! longer change. Then `live` is subtracted from `balance`, once, and
//!
//! ```text
//!   before:  balance =  remote frees         >= 0
//!   after:   balance =  remote frees - live  <= 0,   and 0 exactly when every block is free
//! ```
//!
//! Before, an addition goes from n to n + 1 with n >= 0; after, from a negative number up, and only
//! the last one goes from -1 to 0. So the thread that sees the old value -1, or retires to 0, is
//! the last, and there is exactly one. A remote free costs one atomic addition, whose result tells
//! the last one that it is the last.
//!
//! Ordering: each addition releases what the thread did with the block, and the last one acquires
//! all of that before it gives the memory to somebody else.

use crate::sync::atomic::AtomicIsize;
use crate::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};

/// What an addition to a balance says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Frees {
    /// The heap is not retired, or more of its blocks are alive.
    Some,
    /// These were the last of a retired heap: they took the sum from below 0 to 0.
    All,
    /// A retired heap handed out fewer.
    TooMany,
}

/// Remote frees, minus the live blocks once the heap is retired.
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

    /// Retires the heap with `live` blocks; returns how many of those are not freed yet, 0 to the
    /// last.
    #[inline]
    pub(crate) fn retire(&self, live: usize) -> usize {
        let live = live.cast_signed();
        let before = self.0.fetch_sub(live, AcqRel);
        (live - before).cast_unsigned()
    }

    /// Undoes [`retire`](Self::retire), for a heap that is used again.
    ///
    /// Relaxed, because the heap itself passes from user to user under the lock of the parking lot;
    /// and as it is an addition too, what the frees before it released still reaches the thread
    /// that retires the heap later.
    pub(crate) fn revive(&self, live: usize) {
        self.0.fetch_add(live.cast_signed(), Relaxed);
    }

    /// Whether a retired heap's blocks are all free.
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
