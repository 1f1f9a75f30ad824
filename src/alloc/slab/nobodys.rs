//! What a slab says of itself while its heap has let go of it: see [`Returned`].

use super::*;
use crate::sync::TakenBack;

impl Slab {
    /// The slab's word.
    #[inline(always)]
    pub(in super::super) fn returned(&self) -> &Returned {
        // SAFETY: `init` wrote it, and it stays as long as the slab.
        unsafe { place_of_returned(self.start()).as_ref() }
    }

    /// Gets ready to be let go of, as `state` says; gives the countdown for
    /// [`Returned::let_go`], and how many more blocks are out than when it was last counted. A
    /// block is out.
    pub(in super::super) fn prepare(&self, state: State) -> (usize, isize) {
        self.state.set(state);
        let out = self.out();
        let until =
            if state == State::LetGo { (self.capacity.get() / 4).min(out).max(1) } else { half_way(out) };
        (until as usize, self.arm(until, out - until))
    }

    /// How many blocks are out, after the countdown ended with so many more.
    pub(in super::super) fn left_beyond(&self, beyond: usize) -> usize {
        self.less(self.rest.get() as usize, beyond)
    }

    /// `blocks` less than `left`, both of this slab.
    pub(in super::super) fn less(&self, left: usize, blocks: usize) -> usize {
        misuse::check(blocks <= left, TWICE, core::ptr::from_ref(self).addr());
        left.wrapping_sub(blocks)
    }

    /// Gets ready for the next countdown, with `left` blocks out: to when half of them are back, so
    /// that a sweep looks again, or all if they are few; from how many it counts.
    pub(in super::super) fn prepare_next(&self, left: usize) -> usize {
        let until = half_way(small(left));
        self.until.set(until);
        self.rest.set(small(left) - until);
        until as usize
    }

    /// Comes back to its heap, with what was returned; the threads that returned it counted it.
    pub(in super::super) fn come_back(&self, taken: TakenBack) {
        self.state.set(State::Full);
        self.until.set(small(taken.left));
        self.out.set(self.out());
        self.merge(taken.first.cast());
    }

    /// Is held by a sweep, with what was returned; a countdown from what is left follows.
    pub(in super::super) fn become_held(&self, taken: TakenBack) {
        self.rest.set(self.rest.get() + small(taken.left));
        self.until.set(0);
        self.merge(taken.first.cast());
    }

    /// Puts blocks that were returned before those on the slab's list.
    fn merge(&self, returned: *mut FreeBlock) {
        let Some(first) = NonNull::new(returned) else { return };
        if self.has_free() {
            let (last, _) = self.last_of(first);
            // SAFETY: What was returned are linked blocks of this slab, which are free, and nobody
            // else's: the caller has the slab or holds it.
            unsafe { last.write(FreeBlock { next: self.free.first() }) };
        }
        self.free.set(first.as_ptr());
    }
}
