//! Checks a slab's own index, for tests.

use std::collections::BTreeSet;

use super::*;

impl Slab {
    /// Checks the slab's own index; gives the blocks on its list.
    pub(in super::super) fn check(&self) -> BTreeSet<usize> {
        let mut free = BTreeSet::new();
        // The caller has the slab.
        self.join_lists();
        let mut next = self.free.first();
        // SAFETY: What is on a list are free blocks with links.
        while let Some(block) = unsafe { next.as_ref() } {
            assert!(self.is_block(next.addr()), "what is on the list of {self:p} is no block of it");
            assert!(free.insert(next.addr()), "a block is on the list of {self:p} twice");
            next = block.next;
        }
        assert!(self.carved.get() <= self.capacity.get());
        let (out, in_holes) = (self.out() as usize, self.in_holes() as usize);
        assert_eq!(out + in_holes + free.len(), self.carved.get() as usize, "{self:p} counts wrong");
        match self.state.get() {
            State::Empty => assert_eq!(self.out(), 0),
            State::Current => assert!(self.until.get() > NEVER / 2),
            State::Full => assert!(self.until.get() > 0 && self.until.get() <= 64),
            // With none out, if the last one came back while a sweep held it.
            State::Queued => assert!(self.has_some()),
            State::LetGo | State::Returned => panic!("{self:p} is let go of, and the heap's"),
        }
        free
    }
}
