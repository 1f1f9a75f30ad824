//! Slabs by class, empty ones, and those of the source.
//!
//! ```text
//!   class 3   list    -> blocks of the current slab   (in the thread cache, or here)
//!             current -> slab
//!             queue   -> slab <-> slab <-> slab               with blocks to give
//!   class 4   ...
//!   empty     -> slab <-> slab          of one length, and of four times that
//!   all       -> slab <-> slab <-> ...  also full ones, but none that the heap let go of
//! ```
//!
//! Always: a slab of `all` is current, full, queued or empty, as its state says; the blocks on a
//! class's list are the current slab's. An empty slab beyond those that are kept goes back to the
//! source. Once in a while when that happens, classes that have a current slab give it back too, so
//! that what nobody allocates from any more is seen to be empty.
//!
//! Where the heap is used through a thread cache, it [lets go](super::returned) of each slab that
//! is a region by itself when a few others became full after it, unless the thread has freed blocks
//! of that slab after it was let go of before.

use core::cell::Cell;
use core::marker::PhantomData;
use core::ptr::{NonNull, null_mut};

use super::header::{All, Slab, State};
use super::lengths::four_fit;
use super::lists::{AtHand, KnownSlabs};
#[cfg(feature = "std")]
use super::returned::{RecentlyFull, ReturnedSlabs};
use super::waiting::{LENGTHS, Waiting};
use crate::alloc::classes::{CLASSES, bytes_of};
use crate::error::{AllocError, SourceError};
use crate::layout::NonZeroLayout;
use crate::list::List;
use crate::ptr;
use crate::size::BlockSize;
use crate::source::MemorySource;
use crate::source::request;

/// Classes whose blocks are more than this part of a slab have longer slabs, where the source gives
/// them.
const SHORT: usize = 32;
/// How many empty slabs of each length are kept.
const KEPT: [u32; LENGTHS] = [4, 1];
/// How many slabs are released before classes give their current slabs back.
const RELEASES: u32 = 32;

/// The slabs of an allocator: see the head of this file.
pub(super) struct Heap<S: MemorySource, B: BlockSize> {
    current: [Cell<*mut Slab>; CLASSES],
    /// A sweep may reach it, and the source.
    pub(super) waiting: Waiting,
    /// A queued slab whose countdown ended while a sweep held it.
    postponed: Cell<*const Slab>,
    pub(super) all: List<Slab, All>,
    /// The first slabs of regions that hold several.
    regions: Cell<*mut Slab>,
    /// What of the region obtained last is not cut into slabs.
    uncut: Cell<*mut u8>,
    uncut_len: Cell<usize>,
    releases: Cell<u32>,
    /// Bytes of all slabs that were released one by one, modulo the range of the type.
    released: Cell<usize>,
    counted: Cell<isize>,
    /// The address of the first slab ever, by which slabs of this heap are told from those of
    /// others; 0 before.
    pub(super) identity: Cell<usize>,
    /// The slabs of each length that became full last, if they did not get blocks back since.
    #[cfg(feature = "std")]
    pub(super) recent: [RecentlyFull; LENGTHS],
    /// What the heap let go of and may take back. Any thread may reach it, and the source.
    #[cfg(feature = "std")]
    pub(super) returned: ReturnedSlabs,
    pub(super) source: S,
    length: PhantomData<fn() -> B>,
}

impl<S: MemorySource, B: BlockSize> Heap<S, B> {
    pub(super) const fn new(source: S) -> Self {
        const {
            assert!(
                B::BYTES >= 4096 && B::BYTES <= 1 << 28,
                "SlabAllocator<S, B>: slabs must be at least U4096, and at most U268435456"
            );
            assert!(
                S::MAX_REGION >= B::BYTES,
                "SlabAllocator<S, B>: the source has no regions of B bytes; name a smaller B, such as the size of the source's blocks"
            );
        }
        Self {
            current: [const { Cell::new(null_mut()) }; CLASSES],
            waiting: Waiting::new(),
            postponed: Cell::new(core::ptr::null()),
            all: List::new(),
            regions: Cell::new(null_mut()),
            uncut: Cell::new(null_mut()),
            uncut_len: Cell::new(0),
            releases: Cell::new(0),
            released: Cell::new(0),
            counted: Cell::new(0),
            identity: Cell::new(0),
            #[cfg(feature = "std")]
            recent: [RecentlyFull::new(4), RecentlyFull::new(1)],
            #[cfg(feature = "std")]
            returned: ReturnedSlabs::new(),
            source,
            length: PhantomData,
        }
    }

    pub(super) fn source(&self) -> &S {
        &self.source
    }

    /// The largest class whose blocks are in slabs of `B` bytes though there are longer ones.
    const LARGEST_SHORT: usize = {
        let (mut class, mut largest) = (0, 0);
        while class < CLASSES && bytes_of(class) <= B::BYTES / SHORT {
            largest = bytes_of(class);
            class += 1;
        }
        largest
    };

    /// The length of the slabs for blocks of `bytes` bytes, or of the class for as many.
    #[inline(always)]
    pub(super) const fn len_of(bytes: usize) -> usize {
        if bytes <= Self::LARGEST_SHORT || !four_fit(B::BYTES, S::MAX_REGION) {
            B::BYTES
        } else {
            4 * B::BYTES
        }
    }

    /// Fills the list of a class, which is empty, and takes a block from it.
    ///
    /// # Errors
    /// The source's, where a slab is needed that it does not give.
    #[cold]
    #[inline(never)]
    pub(super) fn refill(&self, at_hand: AtHand<'_, B>, class: usize) -> Result<NonNull<u8>, AllocError> {
        debug_assert!(at_hand.lists.of(class).get().is_null());
        // SAFETY: A slab that is current is one of this heap's.
        match unsafe { self.current[class].get().as_ref() } {
            Some(slab) if slab.has_free() => Ok(self.give_out(at_hand, class, slab)),
            current => self.refill_from_next(at_hand, class, current),
        }
    }

    /// The same where the class has no current slab, or one with nothing free.
    #[inline(never)]
    fn refill_from_next(
        &self,
        at_hand: AtHand<'_, B>,
        class: usize,
        current: Option<&Slab>,
    ) -> Result<NonNull<u8>, AllocError> {
        let mut next = current;
        if let Some(old) = current {
            if !old.has_some() {
                self.current[class].set(null_mut());
                self.set_aside(at_hand, old);
                next = None;
            } else if let Some(other) = self.pop_queue(class) {
                // Blocks that were in use before come before what was never touched.
                self.count(old.become_queued());
                // SAFETY: The slab was current, so it is in no queue, and stays until it is taken
                // off.
                unsafe { self.waiting.put(old, true) };
                next = Some(other);
            }
        }
        let slab = match next {
            Some(slab) => slab,
            None => self.next_slab(at_hand, class)?,
        };
        self.current[class].set(core::ptr::from_ref(slab).cast_mut());
        Ok(self.give_out(at_hand, class, slab))
    }

    /// Makes what the current slab of a class has the list of the class, and takes a block from it.
    #[inline(always)]
    fn give_out(&self, at_hand: AtHand<'_, B>, class: usize, slab: &Slab) -> NonNull<u8> {
        let list = slab.take();
        self.count(slab.become_current());
        // SAFETY: A slab that has some gives a list; the first block's link was written when it was
        // freed or carved.
        let block = unsafe { NonNull::new_unchecked(list) };
        // SAFETY: As above.
        at_hand.lists.of(class).set(unsafe { block.as_ref() }.next);
        block.cast()
    }

    /// A slab with blocks for a class, which is in no list.
    fn next_slab(&self, at_hand: AtHand<'_, B>, class: usize) -> Result<&Slab, AllocError> {
        if let Some(slab) = self.waiting_slab(class) {
            return Ok(slab);
        }
        let len = Self::len_of(bytes_of(class));
        let slab = match self.empty_slab(len) {
            Ok(slab) => slab,
            Err(error) => {
                // What other classes have at hand may be all that is left.
                self.give_back(at_hand);
                if let Some(slab) = self.waiting_slab(class) {
                    return Ok(slab);
                }
                self.pop_empty(len).ok_or(error)?
            }
        };
        slab.begin(class);
        Ok(slab)
    }

    /// A slab of a class with blocks to give: of its queue, or one that the heap let go of.
    fn waiting_slab(&self, class: usize) -> Option<&Slab> {
        let queued = self.pop_queue(class);
        #[cfg(feature = "std")]
        let queued = queued.or_else(|| self.take_returned(class));
        queued
    }

    fn pop_queue(&self, class: usize) -> Option<&Slab> {
        let slab = self.waiting.take(class)?;
        if core::ptr::eq(self.postponed.get(), slab) {
            self.postponed.set(core::ptr::null());
        }
        Some(slab)
    }

    /// An empty slab of `len` bytes, in no list.
    fn empty_slab(&self, len: usize) -> Result<&Slab, SourceError> {
        if let Some(slab) = self.pop_empty(len) {
            return Ok(slab);
        }
        if let Some(slab) = self.cut(len) {
            return Ok(slab);
        }
        let layout = NonZeroLayout::from_size_align(len, len)?;
        let region = request::obtain(&self.source, layout)?;
        // SAFETY: The region was just obtained with that length and alignment.
        Ok(unsafe { self.add_region(region, len) })
    }

    fn length_index(len: usize) -> usize {
        usize::from(len != B::BYTES)
    }

    fn pop_empty(&self, len: usize) -> Option<&Slab> {
        self.waiting.take_empty(Self::length_index(len), 0, |_| true)
    }

    fn push_empty(&self, slab: &Slab) {
        // SAFETY: The slab is in no queue, and stays until it is taken off or the heap is cleared.
        unsafe { self.waiting.put_empty(slab, Self::length_index(slab.len())) };
    }

    /// The countdown of a slab has ended.
    #[cold]
    #[inline(never)]
    pub(super) fn transition(&self, at_hand: AtHand<'_, B>, slab: &Slab) {
        self.check(slab);
        self.catch_up(at_hand);
        // SAFETY: The slab says that it is in its class's queue.
        if slab.state.get() == State::Queued && unsafe { !self.waiting.take_off(slab) } {
            // A sweep holds it, and no other slab: the one that it held before was caught up with.
            self.postponed.set(slab);
            return;
        }
        self.requeue(at_hand, slab);
    }

    /// Does what was to be done with a slab while a sweep held it.
    #[inline]
    pub(super) fn catch_up(&self, at_hand: AtHand<'_, B>) {
        // SAFETY: A slab that waits for that is the heap's, until it is taken from its queue.
        if let Some(slab) = unsafe { self.postponed.get().as_ref() }
            // SAFETY: It is in its class's queue.
            && unsafe { self.waiting.take_off(slab) }
        {
            self.postponed.set(core::ptr::null());
            self.requeue(at_hand, slab);
        }
    }

    /// Goes on with a slab whose countdown has ended, and which is in no queue.
    fn requeue(&self, at_hand: AtHand<'_, B>, slab: &Slab) {
        #[cfg(feature = "std")]
        if slab.state.get() == State::Full {
            self.recent[Self::length_index(slab.len())].remove(slab);
        }
        if slab.out() > 0 {
            self.queue(slab);
        } else {
            self.retire(at_hand, slab);
            if self.releases.get() >= RELEASES {
                self.give_back(at_hand);
            }
        }
    }

    /// Puts a slab in its place that is in none, and that a block was given back to.
    pub(super) fn place(&self, at_hand: AtHand<'_, B>, slab: &Slab) {
        if slab.out() == 0 {
            self.retire(at_hand, slab);
        } else if slab.has_enough() {
            self.queue(slab);
        } else {
            self.count(slab.become_full());
        }
    }

    /// As with threads: without them, a heap has all of its slabs.
    #[cfg(not(feature = "std"))]
    pub(super) fn reclaim(&self, slab: &Slab) -> Option<bool> {
        slab.check_header(self.identity.get());
        Some(false)
    }

    /// Ends the process unless the slab is one of this heap's, and no block of it was freed twice
    /// as far as it counts.
    pub(super) fn check(&self, slab: &Slab) {
        slab.check_header(self.identity.get());
        slab.check_counts();
    }

    fn queue(&self, slab: &Slab) {
        self.count(slab.become_queued());
        // SAFETY: The slab is in no list of empty ones, and stays until it is taken off.
        unsafe { self.waiting.put(slab, false) };
    }

    /// Keeps a slab of which no block is out, or releases it.
    fn retire(&self, at_hand: AtHand<'_, B>, slab: &Slab) {
        slab.check_all_free();
        self.count(slab.become_empty());
        let index = Self::length_index(slab.len());
        if !slab.is_region || self.waiting.kept(index) < KEPT[index] {
            self.push_empty(slab);
            return;
        }
        self.release_slab(at_hand, slab);
    }

    /// Releases an empty slab that is a region by itself and in no list.
    fn release_slab(&self, at_hand: AtHand<'_, B>, slab: &Slab) {
        if let Some(known) = at_hand.known {
            known.remove(slab);
        }
        self.releases.set(self.releases.get() + 1);
        self.released.set(self.released.get().wrapping_add(slab.len()));
        // SAFETY: The slab is one of this heap's.
        unsafe { self.all.remove(slab) };
        // SAFETY: The slab is a region by itself, in no list, and no block of it is in use.
        unsafe { self.release(slab.start(), slab.region.get(), slab.len()) };
    }

    /// # Safety
    /// The region of `len` bytes at `start` was obtained for slabs of `slab_len` bytes, and is not
    /// used any more.
    unsafe fn release(&self, start: NonNull<u8>, len: usize, slab_len: usize) {
        // SAFETY: All regions of this heap are this source's; nobody uses this one any more.
        unsafe { release(&self.source, start, len, slab_len) };
    }

    /// Gives the current slab of each class back, with the blocks on the class's list.
    #[cold]
    pub(super) fn give_back(&self, at_hand: AtHand<'_, B>) {
        self.releases.set(0);
        for class in 0..CLASSES {
            // SAFETY: A slab that is current is one of this heap's.
            let Some(slab) = (unsafe { self.current[class].replace(null_mut()).as_ref() }) else { continue };
            if let Some(first) = NonNull::new(at_hand.lists.of(class).replace(null_mut())) {
                let (last, blocks) = slab.last_of(first);
                slab.push_all(first, last, blocks);
            }
            if slab.out() == 0 {
                self.retire(at_hand, slab);
            } else if slab.has_some() {
                self.queue(slab);
            } else {
                self.set_aside(at_hand, slab);
            }
        }
    }

    /// Sets a slab aside that has nothing to give, or lets go of it.
    fn set_aside(&self, at_hand: AtHand<'_, B>, slab: &Slab) {
        self.count(slab.become_full());
        #[cfg(feature = "std")]
        if at_hand.known.is_some()
            && !slab.is_kept.get()
            && let Some(oldest) = self.recent[Self::length_index(slab.len())].push(slab)
        {
            self.let_go(at_hand, oldest);
        }
        let _ = at_hand;
    }

    /// Releases every slab that is a region by itself and of which no block is out; returns how
    /// many bytes.
    #[cold]
    pub(super) fn trim(&self, at_hand: AtHand<'_, B>) -> usize {
        let before = self.released.get();
        self.give_back(at_hand);
        self.release_empty(at_hand, 0);
        self.releases.set(0);
        self.released.get().wrapping_sub(before)
    }

    /// Releases the empty slabs that are regions by themselves, but for `kept` of the shorter ones.
    pub(super) fn release_empty(&self, at_hand: AtHand<'_, B>, kept: u32) {
        for (length, kept) in [kept, 0].into_iter().enumerate() {
            while let Some(slab) = self.waiting.take_empty(length, kept, |slab| slab.is_region) {
                self.release_slab(at_hand, slab);
            }
        }
    }

    pub(super) fn count(&self, more: isize) {
        self.counted.set(self.counted.get() + more);
    }

    /// Makes a thread forget the slabs, and counts what each has out, those too whose countdown
    /// goes on.
    pub(super) fn forget_thread(&self, known: &KnownSlabs<B>) {
        for slab in self.slabs() {
            known.remove(slab);
            self.count(slab.recount());
        }
    }

    /// How many more blocks are out than at the last call, as far as slabs were counted.
    pub(super) fn counted(&self) -> isize {
        self.counted.replace(0)
    }

    /// How many blocks are in use or on the list of a class.
    pub(super) fn blocks_out(&self) -> usize {
        self.slabs().map(|slab| slab.out() as usize).sum()
    }

    pub(super) fn owns(&self, address: usize) -> bool {
        self.slabs().any(|slab| address.wrapping_sub(slab.start().addr().get()) < slab.len())
    }

    pub(super) fn slabs(&self) -> impl Iterator<Item = &Slab> {
        self.all.iter()
    }

    /// # Safety
    /// As [`MemorySource::before_fork`].
    pub(super) unsafe fn before_fork(&self) {
        // SAFETY: The caller's promises, for the source.
        unsafe { self.source.before_fork() };
    }

    /// # Safety
    /// As [`MemorySource::after_fork`].
    pub(super) unsafe fn after_fork(&self) {
        // SAFETY: This thread, or the one that forked it, called `before_fork` for this call.
        unsafe { self.source.after_fork() };
    }
}

impl<S: MemorySource, B: BlockSize> Drop for Heap<S, B> {
    fn drop(&mut self) {
        self.release_all(|_, _, _| false);
    }
}

/// # Safety
/// The region of `len` bytes at `start` was obtained from the source for slabs of `slab_len` bytes,
/// and is not used any more.
pub(super) unsafe fn release<S: MemorySource>(source: &S, start: NonNull<u8>, len: usize, slab_len: usize) {
    if let Ok(layout) = NonZeroLayout::from_size_align(slab_len, slab_len) {
        // SAFETY: It was obtained with this layout.
        unsafe { source.release(ptr::bytes(start, len), layout) };
    }
}

#[path = "regions.rs"]
mod regions;

#[cfg(all(test, feature = "std", not(loom)))]
#[path = "heap_check.rs"]
mod check;
