//! From an address to whose it is.
//!
//! A table of two levels over slices of 64 KiB. Its root is a static of its own, all zero, and so
//! lies in `.bss`; a leaf is mapped when the first slice of its 512 MiB is entered, and stays. An
//! address that was never entered, or lies beyond the table, belongs to the global tier.
//!
//! ```text
//!   address   47            29 28          16 15             0
//!            +----------------+--------------+----------------+
//!            |  root index    |  leaf index  | within a slice |
//!            +----------------+--------------+----------------+
//! ```
//!
//! An [`Entry`] is a pointer with a tag in its low bits:
//!
//! ```text
//!   MASKED   start of the slice, or of the block if that is larger | block size (log2) | 1
//!            the region's header lies where the block begins in which the address lies
//!   DIRECT   control block of the heap | 2
//!   LARGE    record of a large object  | 3      the only object that starts in this slice
//! ```
//!
//! Ordering: a slice is entered before a block in it is handed out, and left after its last block
//! was given back. Who asks about a block got it from someone who allocated it, so the entry's
//! store happens before the load, and Relaxed does for both. Where two blocks share a slice, the
//! second one's user may only have seen that the entry is there; then who gets that block cannot
//! see an older one. The Release and Acquire here are for the leaf: who sees a leaf's address must
//! see it zeroed, though it may be asking about an address that has nothing to do with this map.

use core::ptr::NonNull;

use crate::source::SLICE;
use crate::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use crate::sync::{LEAF_BITS, PointerTable};
use crate::{SourceError, ptr};

const SLICE_BITS: u32 = SLICE.ilog2();
const LEAF: usize = 1 << LEAF_BITS;

/// Addresses of user space on x86-64 (47 bits) and aarch64 (48 bits), unless a program asks for
/// more.
pub const ROOT: usize = 1 << (48 - SLICE_BITS - LEAF_BITS);

type Leaf = PointerTable<u8, LEAF>;

/// The table from addresses to owners. The macro declares one for each switchable allocator, so
/// that one of them can stand behind another.
#[doc(hidden)]
#[derive(Debug)]
pub struct PageMap<const ROOTS: usize = ROOT> {
    roots: PointerTable<Leaf, ROOTS>,
}

impl<const ROOTS: usize> PageMap<ROOTS> {
    crate::sync::const_fn! {
        /// A table in which nothing is entered.
        #[allow(clippy::new_without_default, reason = "only the macro makes one, in const context")]
        pub fn new() -> Self {
            Self { roots: PointerTable::new() }
        }
    }

    /// The entry of the slice that `address` lies in; null for one that nobody entered.
    #[inline(always)]
    pub(crate) fn find(&self, address: usize) -> Entry {
        let Some(root) = self.roots.get(address >> (SLICE_BITS + LEAF_BITS)) else {
            return Entry::GLOBAL;
        };
        let Some(leaf) = NonNull::new(root.load(Acquire)) else {
            return Entry::GLOBAL;
        };
        // SAFETY: A leaf that was published is never unmapped.
        let leaf = unsafe { leaf.as_ref() };
        Entry(leaf.wrapping_get(address >> SLICE_BITS).load(Relaxed))
    }

    /// Enters the slice that starts at `slice`.
    ///
    /// # Errors
    /// Where the table does not reach the address, or there is no memory for a leaf.
    pub(crate) fn enter(&self, slice: usize, entry: Entry) -> Result<(), SourceError> {
        let leaf = self.leaf(slice)?;
        leaf.wrapping_get(slice >> SLICE_BITS).store(entry.0, Relaxed);
        Ok(())
    }

    /// Enters the slice that starts at `slice`, with a leaf that was made before if there is none.
    ///
    /// # Errors
    /// Where the table does not reach the address, and without a spare leaf as
    /// [`enter`](Self::enter).
    pub(crate) fn enter_surely(
        &self,
        slice: usize,
        entry: Entry,
        spare: &mut Option<SpareLeaf>,
    ) -> Result<(), SourceError> {
        let leaf = self.leaf_or(slice, || match spare.take() {
            Some(spare) => Ok(spare.into_leaf()),
            None => Leaf::new_mapped().map_err(SourceError::System),
        })?;
        leaf.wrapping_get(slice >> SLICE_BITS).store(entry.0, Relaxed);
        Ok(())
    }

    /// Leaves the slice that starts at `slice`.
    pub(crate) fn leave(&self, slice: usize) {
        if let Ok(leaf) = self.leaf(slice) {
            leaf.wrapping_get(slice >> SLICE_BITS).store(core::ptr::null_mut(), Relaxed);
        }
    }

    /// Enters the `len` bytes at `start`, whole slices, for one owner; on an error none of them.
    ///
    /// # Errors
    /// As [`enter`](Self::enter).
    pub(crate) fn enter_range(&self, start: usize, len: usize, entry: Entry) -> Result<(), SourceError> {
        for slice in (start..start + len).step_by(SLICE) {
            if let Err(error) = self.enter(slice, entry) {
                self.leave_range(start, slice - start);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Leaves the `len` bytes at `start`, whole slices.
    pub(crate) fn leave_range(&self, start: usize, len: usize) {
        (start..start + len).step_by(SLICE).for_each(|slice| self.leave(slice));
    }

    /// The leaf for `address`, mapped if there is none yet.
    fn leaf(&self, address: usize) -> Result<&Leaf, SourceError> {
        self.leaf_or(address, || Leaf::new_mapped().map_err(SourceError::System))
    }

    /// The leaf for `address`; one that `make` maps if there is none yet.
    fn leaf_or(
        &self,
        address: usize,
        make: impl FnOnce() -> Result<NonNull<Leaf>, SourceError>,
    ) -> Result<&Leaf, SourceError> {
        let root =
            self.roots.get(address >> (SLICE_BITS + LEAF_BITS)).ok_or(SourceError::AddressOutOfRange)?;
        let leaf = match NonNull::new(root.load(Acquire)) {
            Some(leaf) => leaf,
            None => {
                let new = make()?;
                match root.compare_exchange(core::ptr::null_mut(), new.as_ptr(), Release, Acquire) {
                    Ok(_) => new,
                    Err(other) => {
                        // SAFETY: The exchange failed, so nobody else has seen the new leaf.
                        unsafe { Leaf::unmap(new) };
                        // SAFETY: Another thread's leaf was found there, which is not null.
                        unsafe { NonNull::new_unchecked(other) }
                    }
                }
            }
        };
        // SAFETY: A leaf that was published is never unmapped; its entries are atomics.
        Ok(unsafe { leaf.as_ref() })
    }
}

/// A leaf of no table, for an entry that must be made when there may be no memory.
#[derive(Debug)]
pub(crate) struct SpareLeaf(NonNull<Leaf>);

// SAFETY: Nobody else has seen the leaf.
unsafe impl Send for SpareLeaf {}

impl SpareLeaf {
    /// A new one.
    ///
    /// # Errors
    /// Where there is no memory for it.
    pub(crate) fn new() -> Result<Self, SourceError> {
        Leaf::new_mapped().map(Self).map_err(SourceError::System)
    }

    fn into_leaf(self) -> NonNull<Leaf> {
        let leaf = self.0;
        core::mem::forget(self);
        leaf
    }
}

impl Drop for SpareLeaf {
    fn drop(&mut self) {
        // SAFETY: `new` made the leaf, and nobody else has seen it.
        unsafe { Leaf::unmap(self.0) };
    }
}

/// Whose a slice is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry(*mut u8);

/// What the low bits of an [`Entry`] say.
pub(crate) mod tag {
    pub(crate) const BITS: usize = 3;
    pub(crate) const GLOBAL: usize = 0;
    pub(crate) const MASKED: usize = 1;
    pub(crate) const DIRECT: usize = 2;
    pub(crate) const LARGE: usize = 3;
}

const SHIFT_AT: u32 = 2;
const SHIFT_BITS: usize = 63;

impl Entry {
    /// Nobody's of ours.
    pub(crate) const GLOBAL: Self = Self(core::ptr::null_mut());

    /// A slice of blocks of `1 << shift` bytes; `base` is the start of the slice, or of the one
    /// block that covers it, and may access all of that.
    pub(crate) fn masked(base: NonNull<u8>, shift: u32) -> Self {
        Self(ptr::tagged(base.as_ptr(), (shift as usize) << SHIFT_AT | tag::MASKED))
    }

    /// A slice of the heap with that control block.
    pub(crate) fn direct<T>(control: NonNull<T>) -> Self {
        Self(ptr::tagged(control.as_ptr().cast(), tag::DIRECT))
    }

    /// A slice in which the large object of that record starts.
    pub(crate) fn large<T>(record: NonNull<T>) -> Self {
        Self(ptr::tagged(record.as_ptr().cast(), tag::LARGE))
    }

    /// One of the constants of [`tag`].
    #[inline(always)]
    pub(crate) fn tag(self) -> usize {
        self.0.addr() & tag::BITS
    }

    /// For a masked entry: the start of the block in which `address` lies.
    #[inline(always)]
    pub(crate) fn block_start(self, address: usize) -> *mut u8 {
        debug_assert!(self.tag() == tag::MASKED);
        let shift = (self.0.addr() >> SHIFT_AT) & SHIFT_BITS;
        ptr::at(self.0, (address >> shift) << shift)
    }

    /// What may access the region in which `block` lies: for a masked entry the start of the
    /// region, or else the block itself.
    pub(crate) fn region_of(self, block: NonNull<u8>) -> NonNull<u8> {
        match self.tag() {
            tag::MASKED => NonNull::new(self.block_start(block.addr().get())).unwrap_or(block),
            _ => block,
        }
    }

    /// For a direct or large entry: the pointer it was made from.
    #[inline(always)]
    pub(crate) fn pointer<T>(self) -> *mut T {
        ptr::untagged(self.0, tag::BITS).cast()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn entries_give_back_what_they_were_made_from() {
        let base = NonNull::new(core::ptr::without_provenance_mut::<u8>(5 * SLICE)).unwrap();
        let masked = Entry::masked(base, 12);
        assert_eq!(masked.tag(), tag::MASKED);
        assert_eq!(masked.block_start(5 * SLICE + 2 * 4096 + 17).addr(), 5 * SLICE + 2 * 4096);
        assert_eq!(Entry::direct(base).tag(), tag::DIRECT);
        assert_eq!(Entry::large(base).pointer::<u8>(), base.as_ptr());
    }

    #[test]
    fn addresses_beyond_the_table_are_global_and_refused() {
        let map = PageMap::<2>::new();
        let beyond = 2 << (SLICE_BITS + LEAF_BITS);
        assert_eq!(map.find(beyond), Entry::GLOBAL);
        assert_eq!(map.find(usize::MAX), Entry::GLOBAL);
        assert_eq!(map.enter(beyond, Entry::GLOBAL), Err(SourceError::AddressOutOfRange));
        let entry = Entry::large(NonNull::<u64>::dangling());
        assert_eq!(map.enter(3 * SLICE, entry), Ok(()));
        assert_eq!(map.find(3 * SLICE + 5), entry);
        assert_eq!(map.find(4 * SLICE), Entry::GLOBAL);
        map.leave(3 * SLICE);
        assert_eq!(map.find(3 * SLICE), Entry::GLOBAL);
    }
}
