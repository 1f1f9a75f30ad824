//! The two roots of page maps, and the maps over them.
//!
//! The map of the tiers has a root that is a static of its own, all zero, and so lies in `.bss`.
//! The map of the shards is part of an allocator's value, which may be moved and dropped, so its
//! root is mapped when the first slice is inserted, and goes with the map:
//!
//! ```text
//!   root  -> | leaf | leaf | - | - ...   4 MiB of addresses, touched where they are used
//!               |
//!               v
//!            | 0 | 3 | 3 | 1 | ...       64 KiB for each 512 MiB
//! ```

use core::ptr::{NonNull, null_mut, without_provenance_mut};

use super::entry::Entry;
use super::map::{Leaf, Map, Root, SLICE_BITS, SpareLeaf, table_at};
use crate::error::SourceError;
use crate::sync::atomic::Ordering::{self, Acquire, Relaxed};
use crate::sync::atomic::{AtomicPtr, AtomicUsize};
use crate::sync::{LEAF_BITS, PointerTable, ROOT_BITS, const_fn};

/// Addresses of user space on x86-64 (47 bits) and aarch64 (48 bits), unless a program asks for
/// more.
const ADDRESS_BITS: u32 = 48;

/// The leaves for all addresses.
pub const ROOT: usize = 1 << (ADDRESS_BITS - SLICE_BITS - LEAF_BITS);

/// A root that is part of a static.
#[derive(Debug)]
struct StaticRoot<const ROOTS: usize> {
    leaves: PointerTable<Leaf, ROOTS>,
}

impl<const ROOTS: usize> Root for StaticRoot<ROOTS> {
    /// A look-up may ask about an address that has nothing to do with this map, while another
    /// thread publishes its leaf.
    const LOOK: Ordering = Acquire;

    #[inline(always)]
    fn look(&self, index: usize) -> Option<&AtomicPtr<Leaf>> {
        self.leaves.get(index)
    }

    fn place(&self, index: usize) -> Result<&AtomicPtr<Leaf>, SourceError> {
        self.leaves.get(index).ok_or(SourceError::AddressOutOfRange)
    }
}

/// The map from addresses to heaps. The macro declares one for each switchable allocator, so that
/// one of them can stand behind another. A slice that was never inserted, or lies beyond the map,
/// belongs to the global tier.
#[doc(hidden)]
#[derive(Debug)]
pub struct PageMap<const ROOTS: usize = ROOT> {
    map: Map<StaticRoot<ROOTS>>,
}

impl<const ROOTS: usize> PageMap<ROOTS> {
    const_fn! {
        /// A map in which nothing is inserted.
        #[allow(clippy::new_without_default, reason = "only the macro makes one, in const context")]
        pub fn new() -> Self {
            Self { map: Map { root: StaticRoot { leaves: PointerTable::new() } } }
        }
    }

    /// The entry of the slice that `address` lies in; null for one that was not inserted.
    #[inline(always)]
    pub(crate) fn get(&self, address: usize) -> Entry {
        Entry(self.map.get(address))
    }

    /// Inserts the slice that starts at `slice`.
    ///
    /// # Errors
    /// If the map does not reach the address, or there is no memory for a leaf.
    pub(crate) fn insert(&self, slice: usize, entry: Entry) -> Result<(), SourceError> {
        self.map.insert(slice, entry.0, &mut None)
    }

    /// Inserts the slice that starts at `slice`, with a leaf that was made before if it has none.
    ///
    /// # Errors
    /// If the map does not reach the address, and without a spare leaf as [`insert`](Self::insert).
    pub(crate) fn insert_with(
        &self,
        slice: usize,
        entry: Entry,
        spare: &mut Option<SpareLeaf>,
    ) -> Result<(), SourceError> {
        self.map.insert(slice, entry.0, spare)
    }

    /// Removes the slice that starts at `slice`, if it was inserted.
    pub(crate) fn remove(&self, slice: usize) {
        self.map.remove(slice);
    }

    /// Inserts the `len` bytes at `start`, whole slices, for one owner; on an error none of them.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    pub(crate) fn insert_range(&self, start: usize, len: usize, entry: Entry) -> Result<(), SourceError> {
        self.map.insert_range(start, len, entry.0)
    }

    /// Removes the `len` bytes at `start`, whole slices.
    pub(crate) fn remove_range(&self, start: usize, len: usize) {
        self.map.remove_range(start, len);
    }
}

type Leaves = PointerTable<Leaf, { 1 << ROOT_BITS }>;

/// A root that is mapped when it is needed.
#[derive(Debug)]
struct MappedRoot {
    leaves: AtomicPtr<Leaves>,
    /// The indices below and above which there is no leaf, so that dropping the root need not look
    /// at all of it.
    lowest: AtomicUsize,
    highest: AtomicUsize,
}

/// Whether an index is one of an address beyond the root.
#[inline(always)]
fn is_beyond(index: usize) -> bool {
    index >> (ADDRESS_BITS - SLICE_BITS - LEAF_BITS) != 0
}

impl Root for MappedRoot {
    /// A look-up asks about blocks that are allocated: all that led to the word happened before.
    const LOOK: Ordering = Relaxed;

    #[inline(always)]
    fn look(&self, index: usize) -> Option<&AtomicPtr<Leaf>> {
        if is_beyond(index) {
            return None;
        }
        let leaves = NonNull::new(self.leaves.load(Relaxed))?;
        // SAFETY: A root that was published stays until this is dropped, which is borrowed here.
        Some(unsafe { leaves.as_ref() }.wrapping_get(index))
    }

    fn place(&self, index: usize) -> Result<&AtomicPtr<Leaf>, SourceError> {
        if is_beyond(index) {
            return Err(SourceError::AddressOutOfRange);
        }
        let leaves = table_at(&self.leaves, || Leaves::new_mapped().map_err(SourceError::System))?;
        Ok(leaves.wrapping_get(index))
    }

    fn leaf_made(&self, index: usize) {
        self.lowest.fetch_min(index, Relaxed);
        self.highest.fetch_max(index, Relaxed);
    }
}

impl Drop for MappedRoot {
    fn drop(&mut self) {
        // Relaxed: whoever drops a value is ordered after all who used it.
        let Some(leaves) = NonNull::new(self.leaves.load(Relaxed)) else { return };
        for index in self.lowest.load(Relaxed)..=self.highest.load(Relaxed) {
            // SAFETY: The root is unmapped below only.
            let leaf = unsafe { leaves.as_ref() }.wrapping_get(index).swap(null_mut(), Relaxed);
            if let Some(leaf) = NonNull::new(leaf) {
                // SAFETY: `table_at` published it, and nobody has a reference to a part of what is
                // dropped.
                unsafe { PointerTable::unmap(leaf) };
            }
        }
        // SAFETY: As above.
        unsafe { PointerTable::unmap(leaves) };
    }
}

/// The map from addresses to shards. A word is a shard's number and 1, never a pointer, because the
/// shards move with their allocator.
///
/// Always: each slice of each region that a shard holds names that shard, and every other slice
/// names none.
#[derive(Debug)]
pub(crate) struct ShardMap {
    map: Map<MappedRoot>,
}

impl ShardMap {
    const_fn! {
        /// A map in which nothing is inserted: three words.
        pub(crate) fn new() -> Self {
            let leaves = AtomicPtr::new(null_mut());
            let (lowest, highest) = (AtomicUsize::new(usize::MAX), AtomicUsize::new(0));
            Self { map: Map { root: MappedRoot { leaves, lowest, highest } } }
        }
    }

    /// The shard of the block at `address`, which is allocated; of any other address the answer
    /// means nothing.
    #[inline(always)]
    pub(crate) fn get(&self, address: usize) -> Option<usize> {
        self.map.get(address).addr().checked_sub(1)
    }

    /// Inserts the `len` bytes at `start`, whole slices, for `shard`; on an error none of them.
    ///
    /// # Errors
    /// If the map does not reach an address, or there is no memory for it.
    pub(crate) fn insert_range(&self, start: usize, len: usize, shard: usize) -> Result<(), SourceError> {
        self.map.insert_range(start, len, without_provenance_mut(shard + 1))
    }

    /// Removes the `len` bytes at `start`, whole slices that were inserted.
    pub(crate) fn remove_range(&self, start: usize, len: usize) {
        self.map.remove_range(start, len);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::size::SLICE;

    #[test]
    fn addresses_beyond_the_map_are_global_and_refused() {
        let map = PageMap::<2>::new();
        let beyond = 2 << (SLICE_BITS + LEAF_BITS);
        assert_eq!(map.get(beyond), Entry::GLOBAL);
        assert_eq!(map.get(usize::MAX), Entry::GLOBAL);
        assert_eq!(map.insert(beyond, Entry::GLOBAL), Err(SourceError::AddressOutOfRange));
        let entry = Entry::large(NonNull::<u64>::dangling());
        assert_eq!(map.insert(3 * SLICE, entry), Ok(()));
        assert_eq!(map.get(3 * SLICE + 5), entry);
        assert_eq!(map.get(4 * SLICE), Entry::GLOBAL);
        map.remove(3 * SLICE);
        assert_eq!(map.get(3 * SLICE), Entry::GLOBAL);
    }

    #[test]
    fn slices_name_their_shard_and_no_other_address_does() {
        let shards = ShardMap::new();
        assert_eq!(shards.get(5 * SLICE), None);
        shards.insert_range(5 * SLICE, 3 * SLICE, 63).unwrap();
        // The last slice of one leaf, the first of the next.
        let border = 7 << (SLICE_BITS + LEAF_BITS);
        shards.insert_range(border - SLICE, 2 * SLICE, 0).unwrap();
        for (address, shard) in [
            (5 * SLICE - 1, None),
            (5 * SLICE, Some(63)),
            (8 * SLICE - 1, Some(63)),
            (8 * SLICE, None),
            (border - SLICE, Some(0)),
            (border + SLICE - 1, Some(0)),
            (border + SLICE, None),
        ] {
            assert_eq!(shards.get(address), shard, "{address:#x}");
        }
        shards.remove_range(5 * SLICE, SLICE);
        assert_eq!((shards.get(5 * SLICE), shards.get(6 * SLICE)), (None, Some(63)));
    }

    #[test]
    fn addresses_beyond_the_map_are_no_shards_and_refused() {
        let shards = ShardMap::new();
        let end = 1 << ADDRESS_BITS;
        assert_eq!(shards.insert_range(end - SLICE, 2 * SLICE, 1), Err(SourceError::AddressOutOfRange));
        assert_eq!(shards.get(end - SLICE), None, "what was inserted before the error is removed");
        assert_eq!(shards.insert_range(end - SLICE, SLICE, 1), Ok(()));
        assert_eq!((shards.get(end - 1), shards.get(end), shards.get(usize::MAX)), (Some(1), None, None));
    }
}
