//! Whose a slice is, as one word: a pointer with a tag in its low bits.
//!
//! ```text
//!   MASKED   start of the slice, or of the block if that is larger | block size (log2) | 1
//!            the region's header lies where the block begins in which the address lies
//!   DIRECT   control block of the heap | 2
//!   LARGE    record of a large object  | 3      the only object that starts in this slice
//! ```

use core::ptr::NonNull;

use crate::ptr;

/// Whose a slice is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry(pub(super) *mut u8);

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
    /// No heap's: the global tier's.
    #[cfg(test)]
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
    use crate::size::SLICE;

    #[test]
    fn entries_give_back_what_they_were_made_from() {
        let base = NonNull::new(core::ptr::without_provenance_mut::<u8>(5 * SLICE)).unwrap();
        let masked = Entry::masked(base, 12);
        assert_eq!(masked.tag(), tag::MASKED);
        assert_eq!(masked.block_start(5 * SLICE + 2 * 4096 + 17).addr(), 5 * SLICE + 2 * 4096);
        assert_eq!(Entry::direct(base).tag(), tag::DIRECT);
        assert_eq!(Entry::large(base).pointer::<u8>(), base.as_ptr());
    }
}
