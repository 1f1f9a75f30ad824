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
///
/// ```text
///   slab of B bytes                        slab of 4 * B bytes
///   +------+--------+-------------+        +------+--------+- - -+- - -+- - -+- - -+
///   |      | header |   block     |        |      | header |     |     | block     |
///   +------+--------+-------------+        +------+--------+- - -+- - -+- - -+- - -+
///          |<------>| less than 4 * B             |<------------------>|
/// ```
///
/// The place of an address is the number of the `B` bytes in which it lies, modulo [`KNOWN`]; each
/// part of a slab has a place, which leads to the slab's header. An address less than `4 * B` bytes
/// behind a header lies in one of the next five such parts, which have places of their own: if its
/// place leads to that header, it lies in the slab.
pub(super) struct KnownSlabs<B> {
    /// Where headers are, and [`REACH`](Self::REACH) bytes further. An unused place is null, so
    /// that a thread begins with zeros: all addresses are further behind it.
    headers: [Cell<*mut Slab>; KNOWN],
    length: PhantomData<fn() -> B>,
}

impl<B: BlockSize> KnownSlabs<B> {
    /// No block lies as many bytes behind its slab's header.
    const REACH: usize = 4 * B::BYTES;

    pub(super) const fn new() -> Self {
        Self { headers: [const { Cell::new(null_mut()) }; KNOWN], length: PhantomData }
    }

    /// The place for the slab in which `address` lies.
    #[inline(always)]
    fn place(&self, address: usize) -> &Cell<*mut Slab> {
        &self.headers[address / B::BYTES % KNOWN]
    }

    /// The header of the slab of the block at an address, if that is known. It is one as long as
    /// its place leads there.
    #[inline(always)]
    pub(super) fn get(&self, block: usize) -> Option<*const Slab> {
        let entry = self.place(block).get();
        // From `-REACH` on up to 0, which are the highest numbers.
        let beyond = block.wrapping_sub(entry.addr());
        // Where pointers are shorter, the highest addresses may be a program's.
        let unused = size_of::<usize>() < 8 && entry.is_null();
        let known = beyond >= Self::REACH.wrapping_neg() && !unused;
        // Not a reference: to tell it from `None`, it would be compared with null.
        if known { Some(entry.wrapping_byte_sub(Self::REACH)) } else { None }
    }

    /// Inserts the part of `slab` in which `address` lies.
    #[inline(always)]
    pub(super) fn insert(&self, address: usize, slab: &Slab) {
        self.place(address).set(Self::entry(slab));
    }

    /// What leads to a slab.
    #[inline(always)]
    fn entry(slab: &Slab) -> *mut Slab {
        core::ptr::from_ref(slab).cast_mut().wrapping_byte_add(Self::REACH)
    }

    /// The places of a slab that lead to it.
    fn places(&self, slab: &Slab) -> impl Iterator<Item = &Cell<*mut Slab>> {
        let start = slab.start().addr().get();
        let entry = Self::entry(slab);
        let parts = (start..start + slab.len()).step_by(B::BYTES);
        parts.map(|address| self.place(address)).filter(move |place| core::ptr::eq(place.get(), entry))
    }

    /// Removes a slab.
    pub(super) fn remove(&self, slab: &Slab) {
        self.places(slab).for_each(|place| place.set(null_mut()));
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
        self.headers.iter().filter(|place| !place.get().is_null()).count()
    }

    /// How many entries lead to a slab.
    pub(super) fn known(&self, slab: &Slab) -> usize {
        self.places(slab).count()
    }
}

#[cfg(all(test, feature = "std", not(loom)))]
mod tests {
    use super::*;
    use crate::layout::NonZeroLayout;
    use crate::size::U65536;
    use crate::source::{MemorySource, MmapSource};

    const PART: usize = 65_536;

    #[test]
    fn a_known_slab_is_told_from_what_lies_around_it() {
        let source = MmapSource::new();
        let layout = NonZeroLayout::from_size_align(16 * PART, 4 * PART).unwrap();
        let region = source.obtain(layout).unwrap();
        let start = region.addr().get();
        let known = KnownSlabs::<U65536>::new();
        // Each of the sixteen places at which a header may lie, in a short slab and in a long one.
        for slab in 0..16 {
            for len in if slab % 4 == 0 { [PART, 4 * PART].as_slice() } else { &[PART] } {
                // SAFETY: The offset lies in the region.
                let at = unsafe { region.cast::<u8>().add(slab * PART) };
                // SAFETY: The memory is this test's, and the slab at a multiple of its length.
                let header = unsafe { Slab::init(at, *len, true, start) };
                // SAFETY: It was just written.
                let header = unsafe { header.as_ref() };
                let parts = slab..slab + len / PART;
                for inserted in parts.clone() {
                    known.insert(start + inserted * PART + 4096, header);
                    assert_eq!((known.len(), known.known(header)), (1, 1));
                    for part in 0..2 * KNOWN {
                        let begin = start.wrapping_add(part.wrapping_sub(KNOWN / 2).wrapping_mul(PART));
                        for offset in [2048, 4096, PART - 16] {
                            let found = known.get(begin.wrapping_add(offset));
                            let expected = begin == start + inserted * PART;
                            assert_eq!(found.is_some(), expected, "{slab} {len} {inserted} {part} {offset}");
                            assert!(found.is_none_or(|found| core::ptr::eq(found, header)));
                        }
                    }
                    known.remove(header);
                    assert_eq!((known.len(), known.known(header)), (0, 0));
                }
            }
        }
        assert!([16, PART, usize::MAX / 2].iter().all(|&address| known.get(address).is_none()));
        // SAFETY: Obtained with this layout, and not used again.
        unsafe { source.release(region, layout) };
    }
}
