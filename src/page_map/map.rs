//! The table: a leaf for each 512 MiB in which a slice was inserted, mapped then, with a word for
//! each slice. No page of a leaf is touched before a word in it is written.
//!
//! Ordering: a slice is inserted before a block in it is handed out, and removed after its last
//! block was given back. Whoever asks about a block got it from someone who allocated it, so the
//! word's store happens before the load, and Relaxed does for both. If two blocks share a slice,
//! the second one's user may only have seen that the word is there; then who gets that block cannot
//! see an older one. Release and Acquire are for the leaf: whoever sees a leaf's address must see
//! it zeroed. [`Root::LOOK`] says whether look-ups need that.

use core::ptr::{NonNull, null_mut};

use crate::error::SourceError;
use crate::size::SLICE;
use crate::sync::atomic::AtomicPtr;
use crate::sync::atomic::Ordering::{self, Acquire, Relaxed, Release};
use crate::sync::{LEAF_BITS, PointerTable};

pub(super) const SLICE_BITS: u32 = SLICE.ilog2();

/// A word for each slice of 512 MiB; never followed as a pointer here.
pub(super) type Leaf = PointerTable<u8, { 1 << LEAF_BITS }>;

/// The upper level of a map: a pointer to a leaf for each 512 MiB of addresses.
pub(super) trait Root {
    /// How a look-up loads the pointer to a leaf.
    const LOOK: Ordering;

    /// The pointer to the leaf of that index, if the root has a place for it.
    fn look(&self, index: usize) -> Option<&AtomicPtr<Leaf>>;

    /// As [`look`](Self::look), for a slice that is to be inserted or removed.
    ///
    /// # Errors
    /// If the root does not reach the index, or there is no memory for it.
    fn place(&self, index: usize) -> Result<&AtomicPtr<Leaf>, SourceError>;

    /// Called before other threads can see a new leaf of that index.
    fn leaf_made(&self, index: usize) {
        let _ = index;
    }
}

/// A map from slices to words, null for a slice that was never inserted.
#[derive(Debug)]
pub(super) struct Map<R> {
    pub(super) root: R,
}

/// The index of the leaf of an address.
#[inline(always)]
fn root_index(address: usize) -> usize {
    address >> (SLICE_BITS + LEAF_BITS)
}

impl<R: Root> Map<R> {
    /// The word of the slice that `address` lies in.
    #[inline(always)]
    pub(super) fn get(&self, address: usize) -> *mut u8 {
        let Some(place) = self.root.look(root_index(address)) else { return null_mut() };
        let Some(leaf) = NonNull::new(place.load(R::LOOK)) else { return null_mut() };
        // SAFETY: A leaf that was published is unmapped with the map only, which is borrowed here.
        let leaf = unsafe { leaf.as_ref() };
        leaf.wrapping_get(address >> SLICE_BITS).load(Relaxed)
    }

    /// Inserts the slice that starts at `slice`, with a leaf that was made before if it has none
    /// and there is one.
    ///
    /// # Errors
    /// If the root does not reach the address, or there is no memory for a leaf.
    #[inline(always)]
    pub(super) fn insert(
        &self,
        slice: usize,
        word: *mut u8,
        spare: &mut Option<SpareLeaf>,
    ) -> Result<(), SourceError> {
        let leaf = self.leaf(slice, || match spare.take() {
            Some(spare) => Ok(spare.into_leaf()),
            None => Leaf::new_mapped().map_err(SourceError::System),
        })?;
        leaf.wrapping_get(slice >> SLICE_BITS).store(word, Relaxed);
        Ok(())
    }

    /// Removes the slice that starts at `slice`, which was inserted.
    #[inline]
    pub(super) fn remove(&self, slice: usize) {
        if let Ok(leaf) = self.leaf(slice, || Err(SourceError::Exhausted)) {
            leaf.wrapping_get(slice >> SLICE_BITS).store(null_mut(), Relaxed);
        }
    }

    /// Inserts the `len` bytes at `start`, whole slices, with one word; on an error none of them.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    pub(super) fn insert_range(&self, start: usize, len: usize, word: *mut u8) -> Result<(), SourceError> {
        for slice in (start..start + len).step_by(SLICE) {
            if let Err(error) = self.insert(slice, word, &mut None) {
                self.remove_range(start, slice - start);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Removes the `len` bytes at `start`, whole slices that were inserted.
    pub(super) fn remove_range(&self, start: usize, len: usize) {
        (start..start + len).step_by(SLICE).for_each(|slice| self.remove(slice));
    }

    /// The leaf for `address`; one that `make` maps if there is none yet.
    #[inline(always)]
    fn leaf(
        &self,
        address: usize,
        make: impl FnOnce() -> Result<NonNull<Leaf>, SourceError>,
    ) -> Result<&Leaf, SourceError> {
        let index = root_index(address);
        table_at(self.root.place(index)?, || {
            let leaf = make()?;
            self.root.leaf_made(index);
            Ok(leaf)
        })
    }
}

/// The table that `place` points to; one that `make` maps if there is none yet.
///
/// It is unmapped with the owner of `place` only.
#[inline(always)]
pub(super) fn table_at<T, const N: usize>(
    place: &AtomicPtr<PointerTable<T, N>>,
    make: impl FnOnce() -> Result<NonNull<PointerTable<T, N>>, SourceError>,
) -> Result<&PointerTable<T, N>, SourceError> {
    let table = match NonNull::new(place.load(Acquire)) {
        Some(table) => table,
        None => {
            let new = make()?;
            match place.compare_exchange(null_mut(), new.as_ptr(), Release, Acquire) {
                Ok(_) => new,
                Err(other) => {
                    // SAFETY: The exchange failed, so nobody else has seen the new table.
                    unsafe { PointerTable::unmap(new) };
                    // SAFETY: Another thread's table was found there, which is not null.
                    unsafe { NonNull::new_unchecked(other) }
                }
            }
        }
    };
    // SAFETY: A table that was published stays until the owner of `place`, which is borrowed here,
    // is dropped.
    Ok(unsafe { table.as_ref() })
}

/// A leaf of no map, for a slice that must be inserted when there may be no memory.
#[derive(Debug)]
pub(crate) struct SpareLeaf(NonNull<Leaf>);

// SAFETY: Nobody else has seen the leaf.
unsafe impl Send for SpareLeaf {}

impl SpareLeaf {
    /// A new one.
    ///
    /// # Errors
    /// The operating system's, if it has no memory for a leaf.
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
