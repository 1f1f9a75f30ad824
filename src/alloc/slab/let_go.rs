//! How a heap lets go of slabs, and takes them back.

use core::ptr::NonNull;
use core::sync::atomic::Ordering::Relaxed;

use super::header::{Slab, State};
use super::heap::{Heap, release};
use super::lists::AtHand;
use super::returned::RecentlyFull;
use crate::alloc::classes::STEP;
use crate::size::BlockSize;
use crate::source::MemorySource;
use crate::sync::{Batch, Given, LetGo, Returned};

impl<S: MemorySource, B: BlockSize> Heap<S, B> {
    /// Whether slabs' words have room for what is returned. (Loom's words do not lie in slabs.)
    const LETS_GO: bool = Returned::fits(4 * B::BYTES, B::BYTES / STEP) && cfg!(not(all(test, loom)));

    /// Whether a slab is one that a heap may let go of.
    fn may_leave(slab: &Slab) -> bool {
        Self::LETS_GO && slab.is_region
    }

    /// Whether the heap may let go of a slab, which is in none of its lists but that of all; from
    /// here on it is not in that either.
    fn forget(&self, at_hand: AtHand<'_, B>, slab: &Slab) -> bool {
        let Some(known) = at_hand.known else { return false };
        if !Self::may_leave(slab) {
            return false;
        }
        known.remove(slab);
        // SAFETY: The slab is one of this heap's.
        unsafe { self.all.remove(slab) };
        true
    }

    /// Lets go of a full slab, which is in no list but that of all, if the heap may.
    pub(super) fn let_go(&self, at_hand: AtHand<'_, B>, slab: &Slab) {
        if self.forget(at_hand, slab) {
            let (until, more) = slab.prepare(State::LetGo);
            self.count(more);
            self.returned.let_go(slab, until);
        }
    }

    /// Takes a slab back if the heap let go of it: `None` if another thread holds it, otherwise
    /// whether the heap had let go of it. In that case the caller gives a block back to it, and
    /// calls [`place`](Self::place).
    #[inline]
    pub(super) fn reclaim(&self, slab: &Slab) -> Option<bool> {
        slab.check_header(self.identity.get());
        if !Self::may_leave(slab) || !slab.returned().is_let_go() {
            return Some(false);
        }
        self.take_back(slab)
    }

    /// The same of a slab that the heap let go of.
    #[cold]
    #[inline(never)]
    fn take_back(&self, slab: &Slab) -> Option<bool> {
        if !self.returned.of(slab).take_back() {
            return None;
        }
        slab.is_kept.set(true);
        self.have_again(slab);
        Some(true)
    }

    /// Takes a slab of a class back that got blocks back.
    pub(super) fn take_returned(&self, class: usize) -> Option<&Slab> {
        let slab = self.returned.take(class)?;
        slab.is_kept.set(false);
        self.have_again(slab);
        Some(slab)
    }

    /// Undoes [`forget`](Self::forget), but for the thread cache, which learns of slabs by frees.
    fn have_again(&self, slab: &Slab) {
        // SAFETY: The slab is this heap's again, and stays until it is released.
        unsafe { self.all.push(NonNull::from(slab)) };
    }

    /// Lets go of all slabs of which blocks are out, and releases the empty ones but for `kept` of
    /// the shorter ones: the thread ends. Classes have no current slabs.
    #[cold]
    pub(super) fn let_go_of_all(&self, at_hand: AtHand<'_, B>, kept: u32) {
        self.recent.iter().for_each(RecentlyFull::clear);
        self.catch_up(at_hand);
        for slab in self.slabs() {
            let state = slab.state.get();
            if !matches!(state, State::Full | State::Queued) || !Self::may_leave(slab) {
                continue;
            }
            // SAFETY: The slab says that it is in its class's queue. (No sweep holds it: see
            // `sweep`.)
            if state == State::Queued && unsafe { !self.waiting.take_off(slab) } {
                continue;
            }
            if slab.out() == 0 {
                self.place(at_hand, slab);
            } else if !slab.has_some() {
                self.let_go(at_hand, slab);
            } else if self.forget(at_hand, slab) {
                // SAFETY: The heap just forgot the slab.
                self.count(unsafe { self.returned.put(slab) });
            }
        }
        self.release_empty(at_hand, kept);
    }

    /// Gives freed blocks of a slab back to it, if the heap let go of it; whether it did. Gives the
    /// slab back to the source, if no other block of it is out. Any thread may call this.
    ///
    /// # Safety
    /// The heap is alive, and its source may be used by any thread. The slab is one of the heap's;
    /// the blocks are linked, lie in the slab, are the caller's, and as many as `blocks` says.
    pub(super) unsafe fn return_blocks(
        heap: *const Self,
        slab: *mut Slab,
        batch: Batch,
        blocks: usize,
    ) -> bool {
        // SAFETY: A slab stays while one of its blocks is out.
        let slab = unsafe { &*slab };
        // SAFETY: The heap is alive; its user does not change this once it has a slab.
        slab.check_header(unsafe { &(*heap).identity }.get());
        if !Self::may_leave(slab) {
            return false;
        }
        // SAFETY: The slab begins there; the caller promises the rest.
        match unsafe { slab.returned().give(slab.start(), batch, blocks) } {
            Given::No => return false,
            Given::Yes => {}
            Given::Last { beyond } => {
                // SAFETY: The heap is alive, and any thread may reach this field.
                let returned = unsafe { &(*heap).returned };
                // SAFETY: This thread holds the slab, as the word says.
                if unsafe { returned.of(slab).end_countdown(beyond) } {
                    // SAFETY: The heap is alive, and any thread may use its source.
                    let source = unsafe { &(*heap).source };
                    // SAFETY: The slab is a region by itself, in no list, and none of its blocks is
                    // in use.
                    unsafe { release(source, slab.start(), slab.region.get(), slab.len()) };
                } else {
                    returned.is_unswept.store(true, Relaxed);
                }
            }
        }
        true
    }
}
