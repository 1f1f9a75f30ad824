//! The slabs of a heap that wait until its thread needs them: those with blocks to give, by class,
//! and the empty ones.
//!
//! ```text
//!   queue of class 3 -> slab <-> slab (held) <-> slab      the thread takes from the front
//!   empty            -> slab <-> slab                      and passes over the held one
//! ```
//!
//! The heap's thread puts slabs here and takes them. A [sweep](super::sweep), on another thread,
//! gives the memory of their free blocks up. It holds one slab at a time, which stays in its list,
//! so that the sweep goes on from there. A lock guards the lists and the notes of the slabs in
//! them; it is kept for a few steps, and nothing is called under it.
//!
//! Always: a held slab is in a list. The heap's thread neither takes it nor touches its free blocks
//! but by pushing more.

use core::cell::Cell;
use core::ptr::NonNull;
#[cfg(feature = "std")]
use core::sync::atomic::AtomicBool;
#[cfg(feature = "std")]
use core::sync::atomic::Ordering::Relaxed;

use super::header::Slab;
#[cfg(feature = "std")]
use super::seen::{Look, Round, Seen};
use crate::alloc::classes::CLASSES;
use crate::list::List;
#[cfg(all(feature = "std", not(all(test, loom))))]
use crate::sync::{Guarded, Held};

/// The two lengths of slabs: of `B`, and of four times that.
pub(super) const LENGTHS: usize = 2;

/// The lists that a sweep goes over, by number: the queues, and the lists of empty slabs.
#[cfg(feature = "std")]
pub(super) const LISTS: usize = CLASSES + LENGTHS;

/// See the head of this file.
pub(super) struct Waiting {
    queues: [List<Slab>; CLASSES],
    empty: [List<Slab>; LENGTHS],
    kept: [Cell<u32>; LENGTHS],
    lock: Lock,
    /// Whether there may be something for a sweep to do.
    #[cfg(feature = "std")]
    pub(super) is_unswept: AtomicBool,
}

impl Waiting {
    pub(super) const fn new() -> Self {
        Self {
            queues: [const { List::new() }; CLASSES],
            empty: [const { List::new() }; LENGTHS],
            kept: [const { Cell::new(0) }; LENGTHS],
            lock: Lock::new(),
            #[cfg(feature = "std")]
            is_unswept: AtomicBool::new(false),
        }
    }

    /// Puts a slab at the front of its class's queue, or behind the first.
    ///
    /// # Safety
    /// The slab is queued, in no list, and stays until it is taken off.
    #[inline]
    pub(super) unsafe fn put(&self, slab: &Slab, second: bool) {
        let queue = &self.queues[slab.class()];
        let _lock = self.begin_to_wait(slab);
        if second {
            // SAFETY: The slab is in no list, and stays: this function's own `# Safety`.
            unsafe { queue.push_second(NonNull::from(slab)) };
        } else {
            // SAFETY: As above.
            unsafe { queue.push(NonNull::from(slab)) };
        }
    }

    /// Takes a slab of a class.
    #[inline]
    pub(super) fn take(&self, class: usize) -> Option<&Slab> {
        let queue = &self.queues[class];
        // The caller's thread alone puts slabs in.
        let first = queue.first()?;
        let _lock = self.lock.take();
        let slab = if is_free(&first) { first } else { queue.iter().find(is_free)? };
        // SAFETY: The slab is in this queue.
        unsafe { queue.remove(slab) };
        Some(slab)
    }

    /// Takes a queued slab off its queue, if no sweep holds it; whether it did.
    ///
    /// # Safety
    /// The slab is in its class's queue.
    pub(super) unsafe fn take_off(&self, slab: &Slab) -> bool {
        let _lock = self.lock.take();
        if !is_free(&slab) {
            return false;
        }
        // SAFETY: The slab is in that queue.
        unsafe { self.queues[slab.class()].remove(slab) };
        true
    }

    /// How many slabs of a length are empty.
    pub(super) fn kept(&self, length: usize) -> u32 {
        self.kept[length].get()
    }

    /// Puts an empty slab in its list.
    ///
    /// # Safety
    /// As [`put`](Self::put), of an empty slab.
    pub(super) unsafe fn put_empty(&self, slab: &Slab, length: usize) {
        self.kept[length].set(self.kept[length].get() + 1);
        let _lock = self.begin_to_wait(slab);
        // SAFETY: The slab is in no list, and stays: this function's own `# Safety`.
        unsafe { self.empty[length].push(NonNull::from(slab)) };
    }

    /// Takes an empty slab of that length, the first behind `kept` of them that is `wanted`.
    pub(super) fn take_empty(
        &self,
        length: usize,
        kept: u32,
        wanted: impl Fn(&Slab) -> bool,
    ) -> Option<&Slab> {
        let list = &self.empty[length];
        // The caller's thread alone puts slabs in.
        list.first()?;
        let _lock = self.lock.take();
        let slab = list.iter().skip(kept as usize).find(|slab| is_free(slab) && wanted(slab))?;
        // SAFETY: The slab is in this list.
        unsafe { list.remove(slab) };
        self.kept[length].set(self.kept[length].get() - 1);
        Some(slab)
    }

    /// Forgets all slabs.
    pub(super) fn clear(&mut self) {
        self.queues.iter().chain(&self.empty).for_each(List::clear);
        self.kept.iter().for_each(|kept| kept.set(0));
    }

    /// Takes the lock, and notes that no sweep has seen the slab.
    #[inline(always)]
    fn begin_to_wait(&self, slab: &Slab) -> impl Sized {
        let lock = self.lock.take();
        #[cfg(feature = "std")]
        {
            slab.seen.set(Seen::NOT_YET);
            self.is_unswept.store(true, Relaxed);
        }
        #[cfg(not(feature = "std"))]
        let _ = slab;
        lock
    }

    /// The queued slabs of a class, for tests.
    #[cfg(all(test, feature = "std", not(loom)))]
    pub(super) fn queued(&self, class: usize) -> impl Iterator<Item = &Slab> {
        self.queues[class].checked()
    }

    /// The empty slabs of a length, for tests.
    #[cfg(all(test, feature = "std", not(loom)))]
    pub(super) fn empty(&self, length: usize) -> impl Iterator<Item = &Slab> {
        self.empty[length].checked()
    }
}

/// For a sweep.
#[cfg(feature = "std")]
impl Waiting {
    /// Lets go of `held`, if it is one, and holds another slab of that list behind it: what is to
    /// be done with it, if there is one. Now and then nothing is, and the sweep goes on from there;
    /// `later` is set if a slab is to be swept another time. `None` if there is no other, or
    /// another thread keeps the lock, or `round` says that this is the end.
    ///
    /// # Safety
    /// The caller is the only sweep, and holds no slab of this heap but `held`, which is in that
    /// list.
    pub(super) unsafe fn hold_next<'a>(
        &'a self,
        list: usize,
        held: Option<&'a Slab>,
        round: Option<Round>,
        later: &mut bool,
    ) -> Option<(&'a Slab, Look)> {
        /// So many slabs are looked at while the lock is kept.
        const AT_ONCE: usize = 64;
        let all = if list < CLASSES { &self.queues[list] } else { &self.empty[list - CLASSES] };
        let _lock = match held {
            Some(_) => self.lock.take(),
            None => {
                let Some(lock) = self.lock.try_take() else {
                    // Its thread is putting a slab in, perhaps: a last look finds that.
                    self.is_unswept.store(true, Relaxed);
                    return None;
                };
                lock
            }
        };
        if let Some(held) = held {
            held.seen.set(held.seen.get().held(false));
        }
        let round = round?;
        for (number, slab) in all.iter_behind(held).enumerate() {
            let (seen, look) = slab.seen.get().look(slab.place_of_free(), round);
            *later |= look != Look::Done;
            let is_next = look == Look::Sweep || number >= AT_ONCE;
            slab.seen.set(seen.held(is_next));
            if is_next {
                return Some((slab, look));
            }
        }
        None
    }
}

/// Whether no sweep holds the slab, which is in a list whose lock is held.
fn is_free(slab: &&Slab) -> bool {
    #[cfg(feature = "std")]
    return !slab.seen.get().is_held();
    #[cfg(not(feature = "std"))]
    {
        let _ = slab;
        true
    }
}

/// The lock of the lists; nothing if there is no other thread. (Loom's locks cannot be made in
/// const context; its models have locks of their own.)
struct Lock {
    #[cfg(all(feature = "std", not(all(test, loom))))]
    lock: Guarded<()>,
}

#[cfg(all(feature = "std", not(all(test, loom))))]
type Taken<'a> = Held<'a, ()>;
#[cfg(not(all(feature = "std", not(all(test, loom)))))]
type Taken<'a> = core::marker::PhantomData<&'a ()>;

impl Lock {
    const fn new() -> Self {
        Self {
            #[cfg(all(feature = "std", not(all(test, loom))))]
            lock: Guarded::new(()),
        }
    }

    #[inline(always)]
    fn take(&self) -> Taken<'_> {
        #[cfg(all(feature = "std", not(all(test, loom))))]
        return self.lock.lock();
        #[cfg(not(all(feature = "std", not(all(test, loom)))))]
        core::marker::PhantomData
    }

    #[cfg(feature = "std")]
    fn try_take(&self) -> Option<Taken<'_>> {
        #[cfg(not(all(test, loom)))]
        return self.lock.try_lock();
        #[cfg(all(test, loom))]
        Some(self.take())
    }
}
