//! Blocks and short runs that were freed just now, by length, before their maps hear of it.
//!
//! To find a run and to join a freed one with its neighbours takes some hundred instructions; a run
//! that is freed is often wanted again at the same length, and its memory is near the processor. So
//! up to [`MOST`] runs of each length from 1 to 16 blocks wait on lists (as in quick fit: C.
//! Weinstock and W. Wulf, QuickFit Fit: An Efficient Algorithm for Heap Storage Allocation, 1988).
//! They go back to their maps before a region is obtained or released, and before anybody is told
//! what is free.
//!
//! Always: a run on a list is not free in its region's map, and not counted as used there. A list
//! has as many runs as its count says. If a run is freed twice, the list leads in a circle, or the
//! count is wrong: [`drain`](QuickFit::drain) finds out, and so does the map, which has the run
//! already.

use core::cell::Cell;
use core::ptr::{NonNull, null_mut};

use super::region::TWICE;
use crate::misuse;

/// The shortest and the longest run that waits, in blocks.
const SHORTEST: usize = 1;
pub(super) const LONGEST: usize = 16;
/// How many runs of a length wait.
const MOST: u8 = 16;

/// What a run that waits begins with.
struct Waiting {
    next: *mut Waiting,
}

/// The lists.
pub(super) struct QuickFit {
    lists: [Cell<*mut Waiting>; LONGEST - SHORTEST + 1],
    counts: [Cell<u8>; LONGEST - SHORTEST + 1],
}

impl QuickFit {
    pub(super) const fn new() -> Self {
        Self {
            lists: [const { Cell::new(null_mut()) }; LONGEST - SHORTEST + 1],
            counts: [const { Cell::new(0) }; LONGEST - SHORTEST + 1],
        }
    }

    /// A run of `len` blocks that waits here.
    #[inline(always)]
    pub(super) fn pop(&self, len: usize) -> Option<NonNull<u8>> {
        let list = self.lists.get(len.wrapping_sub(SHORTEST))?;
        let run = NonNull::new(list.get())?;
        // SAFETY: What is on a list is free, of this allocator, and begins with the link that
        // `push` wrote.
        list.set(unsafe { run.as_ref() }.next);
        let count = &self.counts[len - SHORTEST];
        count.set(count.get().wrapping_sub(1));
        Some(run.cast())
    }

    /// Keeps a run of `len` blocks here; `false` where there are enough.
    ///
    /// # Safety
    /// The run is the caller's to give up, in a region that stays held while the run is here. It is
    /// at a multiple of 8.
    #[inline(always)]
    pub(super) unsafe fn push(&self, len: usize, run: NonNull<u8>) -> bool {
        let Some(count) = self.counts.get(len.wrapping_sub(SHORTEST)) else { return false };
        if count.get() >= MOST {
            return false;
        }
        count.set(count.get() + 1);
        let list = &self.lists[len - SHORTEST];
        let run = run.cast::<Waiting>();
        // SAFETY: The run is the caller's, at least 8 bytes, and aligned.
        unsafe { run.write(Waiting { next: list.get() }) };
        list.set(run.as_ptr());
        true
    }

    /// Takes all runs of `len` blocks off their list, and gives each to `f`. Ends the process if
    /// the list is longer than its count says, as one is that leads in a circle.
    pub(super) fn drain(&self, len: usize, mut f: impl FnMut(NonNull<u8>)) {
        let (list, count) = (&self.lists[len - SHORTEST], &self.counts[len - SHORTEST]);
        let number = count.replace(0);
        let mut next = list.replace(null_mut());
        misuse::check(number <= MOST, TWICE, next.addr());
        for _ in 0..number {
            let Some(run) = NonNull::new(next) else { break };
            // SAFETY: What is on a list is free, of this allocator, and begins with the link that
            // `push` wrote.
            next = unsafe { run.as_ref() }.next;
            f(run.cast());
        }
        misuse::check(next.is_null(), TWICE, next.addr());
    }

    /// Whether nothing waits here.
    pub(super) fn is_empty(&self) -> bool {
        self.lists.iter().all(|list| list.get().is_null())
    }

    /// The lengths of which there may be runs here.
    pub(super) fn lengths() -> impl Iterator<Item = usize> {
        SHORTEST..=LONGEST
    }

    /// Forgets all runs.
    pub(super) fn clear(&self) {
        self.lists.iter().for_each(|list| list.set(null_mut()));
        self.counts.iter().for_each(|count| count.set(0));
    }
}
