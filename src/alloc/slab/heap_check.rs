//! Checks all lists of a heap, for tests.

use std::collections::BTreeMap;

use super::*;

impl<S: MemorySource, B: BlockSize> Heap<S, B> {
    /// Checks all that the heads of these files promise; gives the number of blocks on the lists of
    /// the classes.
    pub(in super::super) fn check_all(&self, at_hand: AtHand<'_, B>) -> usize {
        let mut where_it_is: BTreeMap<*const Slab, (State, usize)> = BTreeMap::new();
        let mut blocks = 0;
        let mut put = |slab: &Slab, state, index| {
            let before = where_it_is.insert(slab, (state, index));
            assert_eq!(before, None, "a slab is in two places");
        };
        for class in 0..CLASSES {
            // SAFETY: A slab that is current is one of this heap's.
            let current = unsafe { self.current[class].get().as_ref() };
            let mut next = at_hand.lists.of(class).get();
            assert!(next.is_null() || current.is_some(), "class {class} has blocks of no slab");
            if let Some(slab) = current {
                put(slab, State::Current, class);
                let free = slab.check();
                // SAFETY: What is on a list are free blocks with links.
                while let Some(block) = unsafe { next.as_ref() } {
                    assert!(slab.is_block(next.addr()) && !free.contains(&next.addr()));
                    blocks += 1;
                    next = block.next;
                }
            }
            self.waiting.queued(class).for_each(|slab| put(slab, State::Queued, class));
        }
        for index in 0..LENGTHS {
            let mut count = 0;
            self.waiting.empty(index).for_each(|slab| {
                put(slab, State::Empty, index);
                count += 1;
            });
            assert_eq!(self.waiting.kept(index), count);
        }
        let mut known = 0;
        for slab in self.slabs() {
            slab.check();
            match where_it_is.remove(&core::ptr::from_ref(slab)) {
                None => assert_eq!(slab.state.get(), State::Full, "{slab:p} is nowhere"),
                Some((state, index)) => {
                    assert_eq!(slab.state.get(), state);
                    let of =
                        if state == State::Empty { Self::length_index(slab.len()) } else { slab.class() };
                    assert_eq!(index, of);
                }
            }
            known += at_hand.known.map_or(0, |known| known.known(slab));
        }
        assert!(where_it_is.is_empty(), "a slab that is not the heap's is in its lists");
        if let Some(slabs) = at_hand.known {
            assert_eq!(slabs.len(), known, "the thread knows a slab that is not the heap's");
        }
        blocks
    }
}
