//! What a slab allocator, or the thread that uses it, has at hand: a list of free blocks for each
//! class, and in a thread cache a table of the allocator's slabs.
//!
//! Always: the blocks on the list of a class are its current slab's; if the table has a slab, that
//! slab belongs to the allocator, and is neither released nor cut otherwise while it is there. The
//! page map finds the slabs that the table has not: it is a cache, as a processor's translation
//! look-aside buffer is one of the page table.

use core::cell::Cell;
use core::marker::PhantomData;
use core::ptr::null_mut;

use super::header::{FreeBlock, Slab};
use crate::alloc::classes::CLASSES;
use crate::size::BlockSize;

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

/// How many slabs a thread knows to be its own heap's: 32 MiB of them. More would be a longer
/// thread-local to clear for each thread.
const KNOWN: usize = 512;

/// See the head of this file.
pub(super) struct KnownSlabs<B> {
    /// Complements of the slabs' addresses (of the parts of `B` bytes that a long slab consists
    /// of). An unused place is 0, which is the complement of none, so that a thread begins with
    /// zeros.
    starts: [Cell<usize>; KNOWN],
    slabs: [Cell<*mut Slab>; KNOWN],
    length: PhantomData<fn() -> B>,
}

impl<B: BlockSize> KnownSlabs<B> {
    pub(super) const fn new() -> Self {
        Self {
            starts: [const { Cell::new(0) }; KNOWN],
            slabs: [const { Cell::new(null_mut()) }; KNOWN],
            length: PhantomData,
        }
    }

    /// The place for the slab in which `address` lies.
    #[inline(always)]
    fn place(address: usize) -> usize {
        address / B::BYTES % KNOWN
    }

    /// The place for the slab in which `address` lies, if that is known.
    #[inline(always)]
    pub(super) fn get(&self, address: usize) -> Option<usize> {
        let place = Self::place(address);
        // The complement of the address's offset in the slab, if it lies in it: the highest `B`
        // numbers are those. An unused place leaves the address, which is none of them.
        let complement = self.starts[place].get() ^ address;
        if complement >= !(B::BYTES - 1) { Some(place) } else { None }
    }

    /// The slab at a place that [`get`](Self::get) gave just now.
    #[inline(always)]
    pub(super) fn at(&self, place: usize) -> &Slab {
        // SAFETY: The slab's start was inserted with its header, which stays one while the start is
        // there.
        unsafe { &*self.slabs[place].get() }
    }

    /// Inserts the part of `slab` in which `address` lies.
    pub(super) fn insert(&self, address: usize, slab: &Slab) {
        let place = Self::place(address);
        self.starts[place].set(!(address & !(B::BYTES - 1)));
        self.slabs[place].set(core::ptr::from_ref(slab).cast_mut());
    }

    /// Removes a slab.
    pub(super) fn remove(&self, slab: &Slab) {
        let start = slab.start().addr().get();
        for address in (start..start + slab.len()).step_by(B::BYTES) {
            if let Some(place) = self.get(address) {
                self.starts[place].set(0);
            }
        }
    }
}

/// The lists that are in use, and the table if there is one.
pub(super) struct AtHand<'a, B> {
    pub(super) lists: &'a Lists,
    pub(super) known: Option<&'a KnownSlabs<B>>,
}

impl<B> Clone for AtHand<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B> Copy for AtHand<'_, B> {}

#[cfg(all(test, feature = "std", not(loom)))]
impl<B: BlockSize> KnownSlabs<B> {
    /// How many entries there are.
    pub(super) fn len(&self) -> usize {
        self.starts.iter().filter(|start| start.get() != 0).count()
    }

    /// How many entries lead to a slab, each from an address in it.
    pub(super) fn known(&self, slab: &Slab) -> usize {
        let start = slab.start().addr().get();
        let parts = (start..start + slab.len()).step_by(B::BYTES);
        let places = parts.filter_map(|address| self.get(address));
        places.filter(|&place| core::ptr::eq(self.slabs[place].get(), slab)).count()
    }
}
