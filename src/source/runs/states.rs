//! What the slices of one chunk are at the moment.
//!
//! ```text
//!              take                          begin_purge
//!   free  ------------>  held        free  ------------>  purging
//!   (dirty or clean)                 (dirty)
//!         <------------                    <------------
//!              put                           end_purge
//!           (dirty)                    (clean; or dirty, if that failed)
//! ```
//!
//! Always: `free` and `purging` have no bit in common, and what is in neither is held. `dirty` is
//! part of `free`: those slices may have memory; free slices that are not dirty have none. `young`,
//! `old` and `due` are parts of `dirty` without a bit in common: slices that wait to be purged.
//! Dirty slices that wait no more are those that could not be purged; only somebody who asks for
//! everything tries them again.
//!
//! Ages are counted in ticks, brought up to date when somebody looks: `young` became free in the
//! tick `tick`, `old` in the one before, `due` earlier.

#![forbid(unsafe_code)]

/// The slices of a chunk.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct States {
    pub(super) free: u64,
    pub(super) dirty: u64,
    young: u64,
    old: u64,
    due: u64,
    pub(super) purging: u64,
    tick: u32,
    /// The classes of `free`, and above them those of `dirty`, as the index above know them.
    pub(super) classes: u16,
}

/// What a change of one chunk did to the sums of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// How many slices that may have memory are free no more.
    pub(super) dirty: usize,
    /// How many wait to be purged no more.
    pub(super) waiting: usize,
}

impl States {
    /// A chunk whose slices, `whole`, are all free and clean.
    pub(super) const fn new(whole: u64) -> Self {
        Self { free: whole, dirty: 0, young: 0, old: 0, due: 0, purging: 0, tick: 0, classes: 0 }
    }

    /// Whether all of these slices are held.
    pub(super) const fn are_held(&self, slices: u64) -> bool {
        (self.free | self.purging) & slices == 0
    }

    const fn waiting(&self) -> u64 {
        self.young | self.old | self.due
    }

    /// Removes slices from all sets of free ones.
    const fn remove(&mut self, slices: u64) -> Taken {
        debug_assert!(self.free & slices == slices);
        self.free &= !slices;
        if self.dirty & slices == 0 {
            return Taken { dirty: 0, waiting: 0 };
        }
        let taken = Taken {
            dirty: (self.dirty & slices).count_ones() as usize,
            waiting: (self.waiting() & slices).count_ones() as usize,
        };
        self.dirty &= !slices;
        self.young &= !slices;
        self.old &= !slices;
        self.due &= !slices;
        taken
    }

    /// Free slices become held.
    pub(super) const fn take(&mut self, slices: u64) -> Taken {
        self.remove(slices)
    }

    /// Held slices become free, in the tick `tick`.
    pub(super) const fn put(&mut self, slices: u64, tick: u32) {
        debug_assert!((self.free | self.purging) & slices == 0);
        self.age(tick);
        self.free |= slices;
        self.dirty |= slices;
        self.young |= slices;
    }

    /// Held slices whose memory is gone become free.
    pub(super) const fn put_clean(&mut self, slices: u64) {
        debug_assert!((self.free | self.purging) & slices == 0);
        self.free |= slices;
    }

    /// Brings the ages up to date.
    const fn age(&mut self, tick: u32) {
        match tick.wrapping_sub(self.tick) {
            0 => return,
            1 => {
                self.due |= self.old;
                self.old = self.young;
            }
            _ => {
                self.due |= self.old | self.young;
                self.old = 0;
            }
        }
        self.young = 0;
        self.tick = tick;
    }

    /// The slices that are to be purged in the tick `tick`.
    pub(super) const fn candidates(&mut self, tick: u32, which: Which) -> u64 {
        self.age(tick);
        match which {
            Which::Due => self.due,
            Which::Waiting => self.waiting(),
            Which::Dirty => self.dirty,
        }
    }

    /// Dirty slices are taken out while their memory is given up.
    pub(super) const fn begin_purge(&mut self, slices: u64) -> Taken {
        debug_assert!(self.dirty & slices == slices);
        self.purging |= slices;
        self.remove(slices)
    }

    /// Slices come back: `clean` of them without memory, the others as they were.
    pub(super) const fn end_purge(&mut self, slices: u64, clean: u64) {
        debug_assert!(self.purging & slices == slices && clean & !slices == 0);
        self.purging &= !slices;
        self.free |= slices;
        self.dirty |= slices & !clean;
    }
}

/// Which slices are to be purged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// Those that waited long enough.
    Due,
    /// All that wait.
    Waiting,
    /// All that may have memory.
    Dirty,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_due_in_the_second_tick_after_they_became_free() {
        let mut states = States::new(0xff);
        states.take(0xff);
        states.put(1, 5);
        states.put(2, 6);
        assert_eq!(states.candidates(6, Which::Due), 0);
        assert_eq!(states.candidates(7, Which::Due), 1);
        states.put(4, 7);
        assert_eq!(states.candidates(8, Which::Due), 3);
        assert_eq!(states.candidates(8, Which::Waiting), 7);
        assert_eq!(states.candidates(80, Which::Due), 7);
        assert_eq!(states.take(5), Taken { dirty: 2, waiting: 2 });
        assert_eq!(states.candidates(80, Which::Dirty), 2);
    }

    #[test]
    fn what_could_not_be_purged_waits_no_more_but_is_dirty() {
        let mut states = States::new(0xff);
        states.take(0xf);
        states.put(0xf, 0);
        assert_eq!(states.begin_purge(0xf), Taken { dirty: 4, waiting: 4 });
        assert_eq!((states.free, states.purging), (0xf0, 0xf));
        states.end_purge(0xf, 0x3);
        assert_eq!((states.free, states.dirty, states.purging), (0xff, 0xc, 0));
        assert_eq!(states.candidates(9, Which::Waiting), 0);
        assert_eq!(states.candidates(9, Which::Dirty), 0xc);
        assert_eq!(states.take(0xff), Taken { dirty: 2, waiting: 0 });
    }
}
