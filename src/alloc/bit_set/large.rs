//! Blocks that no region of usual size holds: each has a region of its own.
//!
//! ```text
//!   +------------------+---------+----------------------------+
//!   | padding to align | Large   | block                      |
//!   +------------------+---------+----------------------------+
//! ```
//!
//! Whether a block is one of these follows from its layout alone, so its header is where the layout
//! says: right before it.

use core::cell::Cell;
use core::ptr::{NonNull, null_mut};

use super::blocks::Taken;
use super::region::FOREIGN;
use crate::error::AllocError;
use crate::layout::NonZeroLayout;
use crate::layout::round_up;
use crate::misuse;
use crate::ptr;
use crate::source::MemorySource;
use crate::source::{Obtained, request};

/// What stands before a block.
pub(super) struct Large {
    before: Cell<*mut Large>,
    behind: Cell<*mut Large>,
    obtained: NonNull<[u8]>,
    align: usize,
    /// The block's length in bytes.
    len: usize,
}

const HEADER: usize = 64;
const _: () = assert!(size_of::<Large>() <= HEADER && HEADER.is_multiple_of(align_of::<Large>()));

/// The large blocks of one allocator.
pub(super) struct LargeBlocks {
    head: Cell<*mut Large>,
}

impl LargeBlocks {
    pub(super) const fn new() -> Self {
        Self { head: Cell::new(null_mut()) }
    }

    /// The regions from the newest on, while nobody releases one.
    pub(super) fn iter(&self) -> impl Iterator<Item = NonNull<[u8]>> + '_ {
        let mut next = self.head.get();
        core::iter::from_fn(move || {
            // SAFETY: What is on the list is held, and `allocate` wrote its header.
            let large = unsafe { NonNull::new(next)?.as_ref() };
            next = large.behind.get();
            Some(large.obtained)
        })
    }

    /// Allocates a block from a region of its own, and says its length.
    #[cold]
    #[inline(never)]
    pub(super) fn allocate<S: MemorySource>(
        &self,
        source: &S,
        layout: NonZeroLayout,
    ) -> Result<(Taken, usize), AllocError> {
        let align = layout.align().max(HEADER);
        let size = layout.size().checked_add(align).ok_or(AllocError::TooLarge)?;
        let size = round_up(size, HEADER).ok_or(AllocError::TooLarge)?;
        let asked = NonZeroLayout::from_size_align(size, align)?;
        let Obtained { region: obtained, zeroed: is_zero } = request::obtain_between(source, asked, size)?;
        let len = (obtained.len() - align) & !(HEADER - 1);
        // SAFETY: The region is at least `align` bytes and the block's size long.
        let block = unsafe { obtained.cast::<u8>().add(align) };
        let header = Self::header(block);
        let behind = self.head.get();
        let new = Large { before: Cell::new(null_mut()), behind: Cell::new(behind), obtained, align, len };
        // SAFETY: The header lies in the region, between its start and the block, at a multiple of
        // `HEADER`.
        unsafe { header.write(new) };
        if let Some(behind) = NonNull::new(behind) {
            // SAFETY: What is on the list is held.
            unsafe { behind.as_ref() }.before.set(header);
        }
        self.head.set(header);
        Ok((if is_zero { Taken { block, dirty: 0 } } else { Taken::dirty(block) }, len))
    }

    fn header(block: NonNull<u8>) -> *mut Large {
        ptr::down(block.as_ptr(), HEADER).cast()
    }

    /// The length in bytes of a block.
    ///
    /// # Safety
    /// [`allocate`](Self::allocate) made it, and it was not given back.
    pub(super) unsafe fn len(block: NonNull<u8>) -> usize {
        // SAFETY: `allocate` wrote the header there.
        unsafe { &*Self::header(block) }.len
    }

    /// Releases a block's region.
    ///
    /// # Safety
    /// [`allocate`](Self::allocate) made the block on this list and over this source, and nobody
    /// uses it any more.
    #[cold]
    #[inline(never)]
    pub(super) unsafe fn deallocate<S: MemorySource>(&self, source: &S, block: NonNull<u8>) {
        let header = Self::header(block);
        // SAFETY: `allocate` wrote the header there.
        let Large { before, behind, obtained, align, .. } = unsafe { header.read() };
        // SAFETY: A neighbour on the list is held.
        let before_this = match unsafe { before.get().as_ref() } {
            Some(before) => &before.behind,
            None => &self.head,
        };
        // A block of another allocator, or one that was freed before, is not there.
        misuse::check(before_this.get() == header, FOREIGN, block.addr().get());
        before_this.set(behind.get());
        // SAFETY: A neighbour on the list is held.
        if let Some(behind) = unsafe { behind.get().as_ref() } {
            behind.before.set(before.get());
        }
        // SAFETY: The source gave this region at this alignment, and it is off the list.
        unsafe { release(source, obtained, align) };
    }

    /// Releases all regions.
    ///
    /// # Safety
    /// The list's blocks are from this source, and nobody uses one any more.
    pub(super) unsafe fn release_all<S: MemorySource>(&self, source: &S) {
        while let Some(header) = NonNull::new(self.head.get()) {
            // SAFETY: What is on the list is held, and `allocate` wrote its header.
            let Large { behind, obtained, align, .. } = unsafe { header.read() };
            self.head.set(behind.get());
            // SAFETY: The source gave this region at this alignment, and it is off the list.
            unsafe { release(source, obtained, align) };
        }
    }
}

/// Gives a region back.
///
/// # Safety
/// `source` gave `obtained` for a layout aligned at `align`, and nobody uses it any more.
pub(super) unsafe fn release<S: MemorySource>(source: &S, obtained: NonNull<[u8]>, align: usize) {
    if let Ok(layout) = NonZeroLayout::of_region(obtained.len(), align) {
        // SAFETY: The region is the caller's to give back; region and layout fit it.
        unsafe { source.release(obtained, layout) };
    }
}
