//! Blocks and short runs that were freed just now, by length, before their maps hear of it.
//!
//! To find a run and to join a freed one with its neighbours takes some hundred instructions; a run
//! that is freed is often wanted again at the same length, and its memory is near the processor. So
//! up to 256 single blocks and 64 runs of each length from 2 to 16 blocks wait on lists (as in
//! quick fit: C. Weinstock and W. Wulf, QuickFit Fit: An Efficient Algorithm for Heap Storage
//! Allocation, 1988). They go back to their maps before a region is obtained or released, and
//! before anybody is told what is free.
//!
//! Always: a run on a list is not free in its region's map, and not counted as used there. The room
//! of a list and the runs on it are the most that it takes. If a run is freed twice, the list leads
//! in a circle, or the room is wrong: [`drain`](QuickFit::drain) finds out, and so does the map,
//! which has the run already.

use core::cell::Cell;
use core::ptr::{NonNull, null_mut};

use super::region::TWICE;
use crate::misuse;

/// The longest run that waits, in blocks.
pub(super) const LONGEST: usize = 16;
/// How many single blocks wait, and how many runs of each other length.
const MOST_SINGLE: i16 = 256;
const MOST: i16 = 64;

/// How many runs of `len` blocks wait.
const fn most(len: usize) -> i16 {
    if len == 1 { MOST_SINGLE } else { MOST }
}

/// What a run that waits begins with.
struct Waiting {
    next: *mut Waiting,
}

/// The lists, by length. Those of no blocks stay empty: so a length is an index as it is.
pub(super) struct QuickFit {
    lists: [Cell<*mut Waiting>; LONGEST + 1],
    /// How many runs more each list takes.
    room: [Cell<i16>; LONGEST + 1],
}

impl QuickFit {
    /// The room of empty lists.
    #[allow(clippy::declare_interior_mutable_const, reason = "it is copied, never borrowed")]
    const ROOM: [Cell<i16>; LONGEST + 1] = {
        let mut room = [const { Cell::new(MOST) }; LONGEST + 1];
        room[1] = Cell::new(MOST_SINGLE);
        room
    };

    pub(super) const fn new() -> Self {
        Self { lists: [const { Cell::new(null_mut()) }; LONGEST + 1], room: Self::ROOM }
    }

    /// A run of `len` blocks that waits here.
    #[inline(always)]
    pub(super) fn pop(&self, len: usize) -> Option<NonNull<u8>> {
        let list = self.lists.get(len)?;
        let run = NonNull::new(list.get())?;
        // SAFETY: What is on a list is free, of this allocator, and begins with the link that
        // `push` wrote.
        list.set(unsafe { run.as_ref() }.next);
        let room = &self.room[len];
        room.set(room.get().wrapping_add(1));
        Some(run.cast())
    }

    /// One of the shortest runs that wait here, and its length.
    pub(super) fn pop_shortest(&self) -> Option<(NonNull<u8>, usize)> {
        Self::lengths().find_map(|len| Some((self.pop(len)?, len)))
    }

    /// Keeps a run of `len` blocks here; `false` where there are enough.
    ///
    /// # Safety
    /// The run is the caller's to give up, in a region that stays held while the run is here. It is
    /// at a multiple of 8.
    #[inline(always)]
    pub(super) unsafe fn push(&self, len: usize, run: NonNull<u8>) -> bool {
        let Some(room) = self.room.get(len) else { return false };
        // Taken before it is known to be there: one instruction does that and tells.
        let left = room.get().wrapping_sub(1);
        room.set(left);
        if left < 0 {
            room.set(0);
            return false;
        }
        let list = &self.lists[len];
        let run = run.cast::<Waiting>();
        // SAFETY: The run is the caller's, at least 8 bytes, and aligned.
        unsafe { run.write(Waiting { next: list.get() }) };
        list.set(run.as_ptr());
        true
    }

    /// Takes all runs of `len` blocks off their list, and gives each to `f`. Ends the process if
    /// the list is longer than its room says, as one is that leads in a circle.
    pub(super) fn drain(&self, len: usize, mut f: impl FnMut(NonNull<u8>)) {
        let (list, room) = (&self.lists[len], &self.room[len]);
        let most = most(len);
        let left = room.replace(most);
        let mut next = list.replace(null_mut());
        misuse::check((0..=most).contains(&left), TWICE, next.addr());
        for _ in left..most {
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
        1..=LONGEST
    }

    /// Forgets all runs.
    pub(super) fn clear(&self) {
        self.lists.iter().for_each(|list| list.set(null_mut()));
        for len in Self::lengths() {
            self.room[len].set(most(len));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    /// Each list takes as many as it says, whatever it refused, and gives the newest first.
    #[test]
    fn a_list_takes_its_most_and_no_more() {
        let quick = QuickFit::new();
        let mut memory = [0_u64; MOST_SINGLE as usize + 3];
        for _ in 0..2 {
            for len in QuickFit::lengths() {
                // Lengths are tried one after the other, so that they may share the memory.
                let all = memory.iter_mut().map(|run| NonNull::from(run).cast::<u8>());
                let (mut kept, refused): (Vec<_>, Vec<_>) = all.partition(|&run| {
                    // SAFETY: Each is memory of its own, at a multiple of 8, which outlives what
                    // is on the list.
                    unsafe { quick.push(len, run) }
                });
                assert_eq!(kept.len(), most(len) as usize, "{len} blocks");
                assert_eq!(refused.len(), memory.len() - kept.len());
                (0..most(len) / 2).for_each(|_| assert_eq!(quick.pop(len), kept.pop()));
                assert_eq!(quick.pop_shortest(), kept.pop().map(|run| (run, len)));
                quick.drain(len, |run| assert_eq!(Some(run), kept.pop()));
                assert!(kept.is_empty() && quick.is_empty());
            }
        }
        assert_eq!(quick.pop_shortest(), None);
    }
}
