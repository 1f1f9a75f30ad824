//! From an address to the shard whose region it lies in.
//!
//! A table of two levels over slices of 64 KiB, as the page map of the switchable allocator is;
//! but its root is mapped when the first region is obtained, so that the table is a word until
//! then, can be moved, and goes when the allocator does.
//!
//! ```text
//!   root  -> | leaf | leaf | - | - ...   4 MiB of addresses, touched where they are used
//!               |
//!               v
//!            | 0 | 3 | 3 | 1 | ...       64 KiB for each 512 MiB: the shard's number and 1, or 0 for a slice of nobody's
//! ```
//!
//! Always: each slice of each region that a shard holds names that shard, and every other slice of
//! the table names none.
//!
//! Ordering: a slice is entered before a block in it is handed out, and left after the shard gave
//! the region up. Who asks about a block got it from who allocated it, so all that led to the entry
//! happens before the question, and Relaxed does for it. Release and Acquire are for those who
//! enter: who finds a table that another thread mapped must find it zeroed.

use core::ptr::{NonNull, null_mut, without_provenance_mut};

use crate::SourceError;
use crate::source::SLICE;
use crate::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use crate::sync::atomic::{AtomicPtr, AtomicUsize};
use crate::sync::{LEAF_BITS, PointerTable, ROOT_BITS, const_fn};

const SLICE_BITS: u32 = SLICE.ilog2();
/// Addresses of user space on x86-64 (47 bits) and aarch64 (48 bits), unless a program asks for
/// more.
const ADDRESS_BITS: u32 = 48;

/// An entry is a number, never a pointer to anything.
type Leaf = PointerTable<u8, { 1 << LEAF_BITS }>;
type Root = PointerTable<Leaf, { 1 << ROOT_BITS }>;

/// The shards' numbers by address.
#[derive(Debug)]
pub(super) struct Owners {
    root: AtomicPtr<Root>,
    /// The places in the root below and above which there is no leaf, so that dropping the table
    /// need not look at all of it.
    lowest: AtomicUsize,
    highest: AtomicUsize,
}

impl Owners {
    const_fn! {
        /// A table in which nothing is entered.
        pub(super) fn new() -> Self {
            Self {
                root: AtomicPtr::new(null_mut()),
                lowest: AtomicUsize::new(usize::MAX),
                highest: AtomicUsize::new(0),
            }
        }
    }

    /// The shard of the block at `address`, which is allocated; of any other address the answer
    /// means nothing.
    #[inline(always)]
    pub(super) fn find(&self, address: usize) -> Option<usize> {
        if address >> ADDRESS_BITS != 0 {
            return None;
        }
        let root = NonNull::new(self.root.load(Relaxed))?;
        // SAFETY: A table that was published stays until this is dropped, which is borrowed here.
        let leaf = unsafe { root.as_ref() }.wrapping_get(address >> (SLICE_BITS + LEAF_BITS));
        let leaf = NonNull::new(leaf.load(Relaxed))?;
        // SAFETY: As above.
        let entry = unsafe { leaf.as_ref() }.wrapping_get(address >> SLICE_BITS).load(Relaxed);
        entry.addr().checked_sub(1)
    }

    /// Enters the `len` bytes at `start`, whole slices, for `shard`; on an error none of them.
    ///
    /// # Errors
    /// Where the table does not reach an address, or there is no memory for it.
    pub(super) fn enter(&self, start: usize, len: usize, shard: usize) -> Result<(), SourceError> {
        for slice in (start..start + len).step_by(SLICE) {
            match self.leaf(slice) {
                Ok(leaf) => {
                    leaf.wrapping_get(slice >> SLICE_BITS).store(without_provenance_mut(shard + 1), Relaxed)
                }
                Err(error) => {
                    self.leave(start, slice - start);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Leaves the `len` bytes at `start`, whole slices that were entered.
    pub(super) fn leave(&self, start: usize, len: usize) {
        for slice in (start..start + len).step_by(SLICE) {
            if let Ok(leaf) = self.leaf(slice) {
                leaf.wrapping_get(slice >> SLICE_BITS).store(null_mut(), Relaxed);
            }
        }
    }

    /// The leaf for `address`, mapped if there is none yet.
    fn leaf(&self, address: usize) -> Result<&Leaf, SourceError> {
        if address >> ADDRESS_BITS != 0 {
            return Err(SourceError::AddressOutOfRange);
        }
        let place = address >> (SLICE_BITS + LEAF_BITS);
        let root = table_at(&self.root, || ())?;
        table_at(root.wrapping_get(place), || {
            self.lowest.fetch_min(place, Relaxed);
            self.highest.fetch_max(place, Relaxed);
        })
    }
}

/// The table at `place`, mapped if there is none yet; `first` is called before others can see a new
/// one.
fn table_at<T, const N: usize>(
    place: &AtomicPtr<PointerTable<T, N>>,
    first: impl FnOnce(),
) -> Result<&PointerTable<T, N>, SourceError> {
    let table = match NonNull::new(place.load(Acquire)) {
        Some(table) => table,
        None => {
            let new = PointerTable::new_mapped().map_err(SourceError::System)?;
            first();
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
    // SAFETY: A table that was published stays until its owners are dropped, from which `place` is
    // borrowed.
    Ok(unsafe { table.as_ref() })
}

impl Drop for Owners {
    fn drop(&mut self) {
        // Relaxed: who drops a value is ordered after all who used it.
        let Some(root) = NonNull::new(self.root.load(Relaxed)) else { return };
        for place in self.lowest.load(Relaxed)..=self.highest.load(Relaxed) {
            // SAFETY: The root is unmapped below only.
            let leaf = unsafe { root.as_ref() }.wrapping_get(place).swap(null_mut(), Relaxed);
            if let Some(leaf) = NonNull::new(leaf) {
                // SAFETY: `table_at` mapped it, and nobody has a reference to a part of what is
                // dropped.
                unsafe { PointerTable::unmap(leaf) };
            }
        }
        // SAFETY: As above.
        unsafe { PointerTable::unmap(root) };
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn slices_name_their_shard_and_no_other_address_does() {
        let owners = Owners::new();
        assert_eq!(owners.find(5 * SLICE), None);
        owners.enter(5 * SLICE, 3 * SLICE, 63).unwrap();
        // The last slice of one leaf, the first of the next.
        let border = 7 << (SLICE_BITS + LEAF_BITS);
        owners.enter(border - SLICE, 2 * SLICE, 0).unwrap();
        for (address, shard) in [
            (5 * SLICE - 1, None),
            (5 * SLICE, Some(63)),
            (8 * SLICE - 1, Some(63)),
            (8 * SLICE, None),
            (border - SLICE, Some(0)),
            (border + SLICE - 1, Some(0)),
            (border + SLICE, None),
        ] {
            assert_eq!(owners.find(address), shard, "{address:#x}");
        }
        owners.leave(5 * SLICE, SLICE);
        assert_eq!((owners.find(5 * SLICE), owners.find(6 * SLICE)), (None, Some(63)));
    }

    #[test]
    fn addresses_beyond_the_table_are_nobodys_and_refused() {
        let owners = Owners::new();
        let end = 1 << ADDRESS_BITS;
        assert_eq!(owners.enter(end - SLICE, 2 * SLICE, 1), Err(SourceError::AddressOutOfRange));
        assert_eq!(owners.find(end - SLICE), None, "what was entered before the error is left");
        assert_eq!(owners.enter(end - SLICE, SLICE, 1), Ok(()));
        assert_eq!((owners.find(end - 1), owners.find(end), owners.find(usize::MAX)), (Some(1), None, None));
    }
}
