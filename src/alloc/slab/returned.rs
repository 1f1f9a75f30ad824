//! Slabs that a heap let go of and that have blocks to give.
//!
//! ```text
//!   heap --let go: full--> nobody's --enough returned--> in the list of its class --> heap
//!                            |                             |
//!                            `------all returned-----------`--> the source
//! ```
//!
//! A slab that its heap let go of leads to its heap and is on none of the lists that the heap uses
//! without a lock. The thread that returns the last block gives the slab to the source, while the
//! heap's thread does something else or nothing. One lock for the process guards the lists here: a
//! thread takes it when enough blocks of a slab are back, and once more when the heap takes the
//! slab or its last block comes back.

use core::cell::Cell;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicBool, AtomicUsize};

use super::header::{Slab, State};
use super::seen::{Look, Round, Seen};
use crate::alloc::classes::CLASSES;
use crate::list::List;
use crate::sync::{Guarded, LetGo, Returned, TakenBack};

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
    // SAFETY: `hold_for_fork` took the lock before the fork, for this call.
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
    /// Whether there may be something for a sweep to do.
    pub(super) is_unswept: AtomicBool,
}

impl ReturnedSlabs {
    pub(super) const fn new() -> Self {
        Self {
            by_class: [const { List::new() }; CLASSES],
            count: AtomicUsize::new(0),
            times: AtomicUsize::new(0),
            is_unswept: AtomicBool::new(false),
        }
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
        if self.count.load(Relaxed) == 0 {
            return None;
        }
        let _lock = LISTS.lock();
        // SAFETY: The caller is the heap's user; the slab is in this list, whose lock is held.
        self.by_class[class].iter().find(|slab| unsafe { self.of(slab).take_listed() })
    }

    /// Holds a slab behind another that the calling thread holds, or from the first on: what is to
    /// be done with it, if there is one. Now and then nothing is, and the sweep goes on from there;
    /// `later` is set if a slab is to be swept another time.
    pub(super) fn hold_next<'a>(
        &'a self,
        behind: Option<&'a Slab>,
        round: Round,
        later: &mut bool,
    ) -> Option<(&'a Slab, Look)> {
        /// So many slabs are looked at while the lock is kept.
        const AT_ONCE: usize = 64;
        if self.count.load(Relaxed) == 0 {
            return None;
        }
        let lock = LISTS.lock();
        let from = behind.map_or(0, Slab::class);
        let slabs = self.by_class[from].iter_behind(behind);
        let slabs = slabs.chain(self.by_class[from + 1..].iter().flat_map(List::iter));
        for (number, slab) in slabs.enumerate() {
            // What was returned last or, if a sweep or the heap collected that, what is free.
            let place = match slab.returned().place() {
                0 => slab.place_of_free(),
                place => place,
            };
            let (seen, look) = slab.seen.get().look(place, round);
            *later |= look == Look::Wait;
            let is_next = look == Look::Sweep || number >= AT_ONCE;
            let listed = self.of(slab);
            // SAFETY: The slab is in a list whose lock is held.
            let hold = || unsafe { listed.hold() };
            let taken = is_next.then(hold).flatten();
            if taken.is_some() || look == Look::Wait {
                slab.seen.set(seen);
            }
            if let Some(taken) = taken {
                *later |= look == Look::Sweep;
                drop(lock);
                slab.become_held(taken);
                return Some((slab, look));
            }
        }
        None
    }

    /// Lets go of a slab that has blocks to give, of which some are out; gives how many more are
    /// than when it was last counted.
    ///
    /// # Safety
    /// The caller is the heap's user, and the slab is in no list of the heap's.
    pub(super) unsafe fn put(&self, slab: &Slab) -> isize {
        let (until, more) = slab.prepare(State::Returned);
        let listed = self.of(slab);
        let _lock = listed.lock();
        // SAFETY: The lock was just taken; the heap has the slab, which is in no list.
        unsafe { listed.enlist() };
        self.is_unswept.store(true, Relaxed);
        self.let_go(slab, until);
        more
    }

    /// A slab of the heap, with these lists.
    pub(super) fn of<'a>(&'a self, slab: &'a Slab) -> Listed<'a> {
        Listed { lists: self, slab }
    }
}

/// A slab and the lists of its heap.
pub(super) struct Listed<'a> {
    lists: &'a ReturnedSlabs,
    slab: &'a Slab,
}

impl LetGo for Listed<'_> {
    fn word(&self) -> (&Returned, NonNull<u8>) {
        (self.slab.returned(), self.slab.start())
    }

    fn lock(&self) -> impl Sized {
        LISTS.lock()
    }

    fn is_listed(&self) -> bool {
        self.slab.state.get() == State::Returned
    }

    unsafe fn enlist(&self) {
        let Self { lists, slab } = self;
        slab.state.set(State::Returned);
        slab.seen.set(Seen::NOT_YET);
        // SAFETY: The slab is in no list. It stays until it is taken back or no block of it is out,
        // and is taken off before either.
        unsafe { lists.by_class[slab.class()].push(NonNull::from(*slab)) };
        lists.count.store(lists.count.load(Relaxed) + 1, Relaxed);
    }

    unsafe fn strike(&self) {
        let Self { lists, slab } = self;
        // SAFETY: The slab is in the list of its class, and the lock is held.
        unsafe { lists.by_class[slab.class()].remove(slab) };
        lists.count.store(lists.count.load(Relaxed) - 1, Relaxed);
    }

    fn left_beyond(&self, beyond: usize) -> usize {
        self.slab.left_beyond(beyond)
    }

    fn less(&self, left: usize, blocks: usize) -> usize {
        self.slab.less(left, blocks)
    }

    fn prepare_next(&self, left: usize) -> usize {
        self.slab.prepare_next(left)
    }

    fn come_back(&self, taken: TakenBack) {
        self.slab.come_back(taken);
    }
}
