//! Slabs that a heap let go of and that have blocks to give.
//!
//! ```text
//!   heap --let go: full--> nobody's --enough returned--> in the list of its class --> heap
//!                            |                             |
//!                            `------all returned-----------`--> the source, by whoever returned
//!                                                                the last block
//! ```
//!
//! A slab that its heap let go of leads to its heap and is on none of that heap's lists, so that
//! whoever returns its last block gives it to the source, while the heap's thread does something
//! else or nothing. The lists here are reached under one lock for the process: once for as many
//! blocks as are enough to take a slab back for, and once when a slab becomes empty.

use core::cell::Cell;
use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::Relaxed;

use super::header::{Slab, State};
use crate::alloc::classes::CLASSES;
use crate::list::List;
use crate::sync::Guarded;

/// Guards the lists of all heaps. Nothing is called under it.
#[cfg(not(all(test, loom)))]
static LISTS: Guarded<()> = Guarded::new(());
#[cfg(all(test, loom))]
loom::lazy_static! { static ref LISTS: Guarded<()> = Guarded::new(()); }

/// Takes the lock of the lists, and keeps it for the time of a fork.
pub(crate) fn hold_for_fork() {
    LISTS.hold_for_fork();
}

/// Gives back what [`hold_for_fork`] took.
///
/// # Safety
/// This thread, or the thread that forked this process, called `hold_for_fork` more often than
/// this.
pub(crate) unsafe fn release_after_fork() {
    // SAFETY: As the caller promises.
    unsafe { LISTS.release_after_fork() };
}

/// How many full slabs a heap keeps at most, of one length.
const RECENT: usize = 4;

/// Full slabs that a heap keeps for a while, in the order in which they became full: a thread whose
/// few blocks go to another and come back uses the same slabs again and again.
pub(super) struct RecentlyFull {
    slabs: [Cell<*const Slab>; RECENT],
    /// How many are kept.
    most: usize,
    /// The place of the oldest.
    oldest: Cell<usize>,
}

impl RecentlyFull {
    /// Keeps at most so many.
    pub(super) const fn new(most: usize) -> Self {
        assert!(most > 0 && most <= RECENT);
        Self { slabs: [const { Cell::new(core::ptr::null()) }; RECENT], most, oldest: Cell::new(0) }
    }

    /// Keeps a slab, instead of the one that it gives.
    pub(super) fn push(&self, slab: &Slab) -> Option<&Slab> {
        let oldest = self.oldest.get();
        self.oldest.set((oldest + 1) % self.most);
        // SAFETY: A slab that is kept is the heap's: it is removed before it is anything but full.
        unsafe { self.slabs[oldest].replace(slab).as_ref() }
    }

    /// Keeps a slab no longer, if it was kept.
    pub(super) fn remove(&self, slab: &Slab) {
        for place in &self.slabs {
            if core::ptr::eq(place.get(), slab) {
                place.set(core::ptr::null());
            }
        }
    }

    /// Keeps none.
    pub(super) fn clear(&self) {
        self.slabs.iter().for_each(|place| place.set(core::ptr::null()));
    }
}

/// See the head of this file.
pub(super) struct ReturnedSlabs {
    by_class: [List<Slab>; CLASSES],
    /// How many there are; changed under the lock.
    count: AtomicUsize,
    /// How often the heap let go of a slab.
    times: AtomicUsize,
}

impl ReturnedSlabs {
    pub(super) const fn new() -> Self {
        Self {
            by_class: [const { List::new() }; CLASSES],
            count: AtomicUsize::new(0),
            times: AtomicUsize::new(0),
        }
    }

    /// Whether there were none when this looked.
    #[inline(always)]
    pub(super) fn is_empty(&self) -> bool {
        self.count.load(Relaxed) == 0
    }

    /// How often the heap let go of a slab.
    pub(super) fn times(&self) -> usize {
        self.times.load(Relaxed)
    }

    /// Lets go of a slab that was prepared, with that countdown.
    ///
    /// The caller is the heap's user.
    pub(super) fn let_go(&self, slab: &Slab, until: usize) {
        self.times.store(self.times.load(Relaxed).wrapping_add(1), Relaxed);
        slab.returned().let_go(until);
    }

    /// Takes a slab of a class back for the heap; `None` if there is none, or other threads hold
    /// those that there are.
    ///
    /// The caller is the heap's user.
    pub(super) fn take(&self, class: usize) -> Option<&Slab> {
        if self.is_empty() {
            return None;
        }
        let _lock = LISTS.lock();
        let list = &self.by_class[class];
        list.iter().find_map(|slab| {
            let taken = slab.returned().take_back(slab.start())?;
            // SAFETY: The slab was just found in this list.
            unsafe { self.remove(list, slab) };
            slab.come_back(taken);
            Some(slab)
        })
    }

    /// Takes a certain slab back for the heap, which let go of it; whether no other thread holds
    /// it.
    ///
    /// The caller is the heap's user.
    pub(super) fn take_back(&self, slab: &Slab) -> bool {
        let Some(taken) = slab.returned().take_back(slab.start()) else { return false };
        if slab.state.get() == State::Returned {
            let _lock = LISTS.lock();
            // SAFETY: The slab says so.
            unsafe { self.remove(&self.by_class[slab.class()], slab) };
        }
        slab.come_back(taken);
        true
    }

    /// Lets go of a slab that has blocks to give, of which some are out; gives how many more are
    /// than when it was last counted.
    ///
    /// # Safety
    /// The caller is the heap's user, and the slab is in no list of the heap's.
    pub(super) unsafe fn put(&self, slab: &Slab) -> isize {
        let (until, more) = slab.prepare(State::Returned);
        let _lock = LISTS.lock();
        // SAFETY: The slab is in no list, and stays until it is taken back or empty, and so taken
        // off.
        unsafe { self.add(slab) };
        self.let_go(slab, until);
        more
    }

    /// Goes on with a slab whose countdown ended with so many blocks more: `true` if none is out
    /// any more, so that the caller releases it.
    ///
    /// # Safety
    /// The calling thread holds the slab, and does not touch it again if the answer is `false`.
    pub(super) unsafe fn settle(&self, slab: &Slab, beyond: usize) -> bool {
        let left = slab.left_beyond(beyond);
        if left == 0 && slab.state.get() != State::Returned {
            return true;
        }
        let _lock = LISTS.lock();
        if slab.state.get() != State::Returned {
            slab.state.set(State::Returned);
            // SAFETY: The heap let go of the slab, which is in no list, and stays until it is taken
            // back or empty, and so taken off.
            unsafe { self.add(slab) };
        }
        let all =
            slab.returned().settle(left, |left| slab.prepare_last(left), |left, more| slab.less(left, more));
        if all {
            // SAFETY: It is in that list, and this thread still holds it.
            unsafe { self.remove(&self.by_class[slab.class()], slab) };
        }
        all
    }

    /// # Safety
    /// The lock is held; the slab is in no list, and until it is taken off it is alive.
    unsafe fn add(&self, slab: &Slab) {
        // SAFETY: As the caller promises.
        unsafe { self.by_class[slab.class()].push(slab.into()) };
        self.count.store(self.count.load(Relaxed) + 1, Relaxed);
    }

    /// # Safety
    /// The lock is held, and the slab is in the list.
    unsafe fn remove(&self, list: &List<Slab>, slab: &Slab) {
        // SAFETY: As the caller promises.
        unsafe { list.remove(slab) };
        self.count.store(self.count.load(Relaxed) - 1, Relaxed);
    }
}
