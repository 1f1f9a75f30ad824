//! What a thread keeps of its slab allocator in its own static storage.
//!
//! ```text
//!   limit   the largest size that `pop` serves: 1 KiB, or 0 while closed
//!   lists   a list of blocks for each class
//!   own     512 slabs of the allocator, by their number modulo that: number, header
//! ```
//!
//! Always: the blocks on the list of a class are its current slab's; where `own` says that a slab
//! number has a header, that slab belongs to the allocator, and is neither released nor cut
//! otherwise while it says so. What `own` does not say is found through the page map: it is a
//! cache, as a processor's translation look-aside buffer is one of the page table.

use core::cell::Cell;
use core::marker::PhantomData;
use core::ptr::{NonNull, null_mut};

use super::super::classes::{CLASSES, FINE, LARGEST, STEP};
use super::super::thread_cache::{Pushed, ThreadCache};
use super::header::{FreeBlock, Slab};
use super::heap::Near;
use crate::BlockSize;

/// A list of free blocks for each class.
pub(super) struct Lists([Cell<*mut FreeBlock>; CLASSES]);

impl Lists {
    pub(super) const fn new() -> Self {
        Self([const { Cell::new(null_mut()) }; CLASSES])
    }

    /// The list of a class.
    #[inline(always)]
    pub(super) fn of(&self, class: usize) -> &Cell<*mut FreeBlock> {
        // SAFETY: Classes number fewer than `CLASSES`: a test asks for all sizes.
        unsafe { self.0.get_unchecked(class) }
    }

    /// Takes a block of a class; null where there is none.
    #[inline(always)]
    pub(super) fn pop(&self, class: usize) -> *mut u8 {
        let list = self.of(class);
        let block = list.get();
        if block.is_null() {
            return null_mut();
        }
        // SAFETY: What is on a list is free, ours, and begins with its link.
        list.set(unsafe { (*block).next });
        block.cast()
    }
}

/// How many slabs a thread knows to be its own: 32 MiB of them. More would be a longer thread-local
/// to clear for each thread.
const KNOWN: usize = 512;

/// See the head of this file.
pub(super) struct OwnSlabs<B> {
    /// Complements of numbers, since those are not 0: an unused place is, so that a thread begins
    /// with zeros.
    numbers: [Cell<usize>; KNOWN],
    slabs: [Cell<*mut Slab>; KNOWN],
    length: PhantomData<fn() -> B>,
}

impl<B: BlockSize> OwnSlabs<B> {
    const fn new() -> Self {
        Self {
            numbers: [const { Cell::new(0) }; KNOWN],
            slabs: [const { Cell::new(null_mut()) }; KNOWN],
            length: PhantomData,
        }
    }

    /// The complement of the number of the slab in which `address` lies.
    #[inline(always)]
    fn number(address: usize) -> usize {
        !(address / B::BYTES)
    }

    /// The place for the slab in which `address` lies, if that is known.
    #[inline(always)]
    fn find(&self, address: usize) -> Option<usize> {
        let number = Self::number(address);
        let place = number % KNOWN;
        if self.numbers[place].get() == number { Some(place) } else { None }
    }

    /// Enters the part of `slab` in which `address` lies.
    pub(super) fn enter(&self, address: usize, slab: &Slab) {
        let number = Self::number(address);
        self.numbers[number % KNOWN].set(number);
        self.slabs[number % KNOWN].set(core::ptr::from_ref(slab).cast_mut());
    }

    /// Forgets a slab.
    pub(super) fn forget(&self, slab: &Slab) {
        let start = slab.start().addr().get();
        for address in (start..start + slab.len()).step_by(B::BYTES) {
            let number = Self::number(address);
            if self.numbers[number % KNOWN].get() == number {
                self.numbers[number % KNOWN].set(0);
            }
        }
    }
}

/// What a thread keeps of a [`SlabAllocator`](super::SlabAllocator) whose slabs are `B` bytes.
pub struct SlabThreadCache<B: BlockSize> {
    limit: Cell<usize>,
    pub(super) lists: Lists,
    pub(super) own: OwnSlabs<B>,
}

// SAFETY: Blocks on the lists and slabs in `own` are put there by the allocator, and taken back by
// it before another thread uses it; a list gives each block once. A block that lies in a slab of
// `own` is one of that slab's, because slabs consist of nothing but blocks and their header.
// Closing sets the limit to 0, which every size but none is beyond, and none wraps to beyond any
// limit.
unsafe impl<B: BlockSize> ThreadCache for SlabThreadCache<B> {
    const PRESENT: bool = true;
    const EMPTY: Self = Self { limit: Cell::new(0), lists: Lists::new(), own: OwnSlabs::new() };

    #[inline(always)]
    fn open(&self, open: bool) {
        self.limit.set(if open { Self::FINE } else { 0 });
    }

    #[inline(always)]
    unsafe fn pop(&self, size: usize, align: usize) -> *mut u8 {
        let last = size.wrapping_sub(1);
        if align > STEP || last >= self.limit.get() {
            return null_mut();
        }
        self.lists.pop(last / STEP)
    }

    #[inline(always)]
    fn knows(&self, block: NonNull<u8>) -> bool {
        self.own.find(block.addr().get()).is_some()
    }

    #[inline(always)]
    unsafe fn push(&self, block: NonNull<u8>) -> Pushed {
        let Some(place) = self.own.find(block.addr().get()) else { return Pushed::Elsewhere };
        // SAFETY: The slab's number was entered with its header, which stays one while the number
        // is there.
        let slab = unsafe { &*self.own.slabs[place].get() };
        // SAFETY: The block lies in the slab, and the caller gives it up.
        if unsafe { slab.push(block) } {
            Pushed::Transition(NonNull::from_ref(slab).cast())
        } else {
            Pushed::Taken
        }
    }
}

impl<B: BlockSize> SlabThreadCache<B> {
    pub(super) fn near(&self) -> Near<'_, B> {
        Near { lists: &self.lists, own: Some(&self.own) }
    }

    /// Sizes up to this have classes of their own steps, and are served here.
    const FINE: usize = {
        let largest = super::largest_of(B::BYTES, usize::MAX);
        assert!(FINE <= LARGEST && FINE / STEP <= CLASSES);
        if largest < FINE { largest } else { FINE }
    };
}

#[cfg(all(test, feature = "std", not(loom)))]
impl<B: BlockSize> OwnSlabs<B> {
    /// How many entries there are.
    pub(super) fn len(&self) -> usize {
        self.numbers.iter().filter(|number| number.get() != 0).count()
    }

    /// How many entries lead to a slab, each from an address in it.
    pub(super) fn known(&self, slab: &Slab) -> usize {
        let start = slab.start().addr().get();
        let parts = (start..start + slab.len()).step_by(B::BYTES);
        let places = parts.filter_map(|address| self.find(address));
        places.filter(|&place| core::ptr::eq(self.slabs[place].get(), slab)).count()
    }
}
