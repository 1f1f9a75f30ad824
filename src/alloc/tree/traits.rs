//! The traits of the allocator, each method a line or two onto what `heap` has.

use core::fmt;
use core::ptr::NonNull;

use super::block::{DIRTY, zero_up_to};
use super::count::BINNED;
use super::heap::rounded;
use super::merge::Merging;
use super::{KeepApart, MultipleBinarySearchTreeAllocator, TreeCount};
use crate::alloc::{
    Allocator, LocalAllocator, NoThreadCache, Owns, Reset, ResizeInPlace, in_place_or_elsewhere,
    relocate_zeroed,
};
use crate::error::AllocError;
use crate::layout::NonZeroLayout;
use crate::ptr;
use crate::source::MemorySource;

// SAFETY: A block is cut from a free one, which leaves the free set before, and its edges in the
// bitmap are cleared, so that it is part of no other until it is given back. Free blocks lie in the
// ranges of blocks of spans that the allocator holds; only wholly free spans are released. Sizes
// are rounded to granules the same way whenever a block is given, so each layout that fits it says
// where it ends. Spans do not move with the allocator.
unsafe impl<S, T, M> Allocator for MultipleBinarySearchTreeAllocator<S, T, M>
where
    S: MemorySource,
    T: TreeCount,
    M: Merging<S>,
{
    #[inline(always)]
    fn allocate(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, AllocError> {
        let size = rounded(layout.size());
        let block = match self.take_at_hand(size, layout.align()) {
            Some(block) => block,
            None => self.take_elsewhere(size, layout.align())?,
        };
        Ok(ptr::bytes(block, size))
    }

    /// Writes only what is not known to be zero, of blocks beyond 4 KiB.
    fn allocate_zeroed(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, AllocError> {
        let size = rounded(layout.size());
        if size > BINNED {
            return Ok(ptr::bytes(self.take_zeroed(size, layout.align())?, size));
        }
        let block = self.allocate(layout)?;
        // SAFETY: The whole block was just allocated, so it is writable.
        unsafe { block.cast::<u8>().write_bytes(0, block.len()) };
        Ok(block)
    }

    unsafe fn grow_zeroed(
        &self,
        block: NonNull<u8>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        // SAFETY: The block is allocated here, `old` fits it, and `new` is not smaller: `grow`'s
        // contract.
        let Ok((grown, clean)) = (unsafe { self.grow_telling(block, old, new) }) else {
            // SAFETY: The caller's promises; the failed call changed nothing.
            return unsafe { relocate_zeroed(self, block, old, new) };
        };
        let start = block.addr().get();
        // SAFETY: The bytes from the old size on lie in the block, and nobody knows of them yet.
        unsafe { zero_up_to(grown, old.size(), clean.clamp(start + old.size(), start + grown.len())) };
        Ok(grown)
    }

    #[inline(always)]
    unsafe fn deallocate(&self, block: NonNull<u8>, layout: NonZeroLayout) {
        // SAFETY: The block is live, and its user gives it up; its length is the rounded size of
        // every layout that fits it.
        unsafe { self.free_block(block.addr().get(), rounded(layout.size())) };
    }

    in_place_or_elsewhere!(source);
}

// SAFETY: A block grows by what is cut from the free block right behind it, and shrinks by giving
// back its end; nothing else of it changes. A failure is seen before anything is changed.
unsafe impl<S, T, M> ResizeInPlace for MultipleBinarySearchTreeAllocator<S, T, M>
where
    S: MemorySource,
    T: TreeCount,
    M: Merging<S>,
{
    /// Succeeds where a free block of sufficient size lies behind the block, or rounding left room;
    /// what waits is only looked at for a block beyond 4 KiB.
    unsafe fn grow_in_place(
        &self,
        block: NonNull<u8>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        // SAFETY: The block is allocated here, `old` fits it, and `new` is not smaller: `grow`'s
        // contract.
        Ok(unsafe { self.grow_telling(block, old, new) }?.0)
    }

    /// Succeeds wherever the block has the new alignment.
    unsafe fn shrink_in_place(
        &self,
        block: NonNull<u8>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        let (old_size, new_size) = (rounded(old.size()), rounded(new.size()));
        let start = block.addr().get();
        if ptr::padding(start, new.align()) != 0 {
            return Err(AllocError::NotInPlace);
        }
        // SAFETY: The block is one of this allocator, as the caller promises.
        let span = unsafe { self.span_of(start) };
        if new_size < old_size {
            // SAFETY: The end of a live block, which its user gives up. (What is left keeps the
            // span from being wholly free.)
            unsafe { self.give_back(span, start + new_size, start + old_size) };
            span.sub_used(old_size - new_size);
        }
        Ok(ptr::bytes(span.block(start), new_size))
    }
}

impl<S, T, M> MultipleBinarySearchTreeAllocator<S, T, M>
where
    S: MemorySource,
    T: TreeCount,
    M: Merging<S>,
{
    /// Grows in place, and says from which address on what is new is zero, but for its last
    /// granule.
    ///
    /// # Safety
    /// As [`Allocator::grow`].
    #[inline(always)]
    unsafe fn grow_telling(
        &self,
        block: NonNull<u8>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<(NonNull<[u8]>, usize), AllocError> {
        let (old_size, new_size) = (rounded(old.size()), rounded(new.size()));
        let start = block.addr().get();
        if ptr::padding(start, new.align()) != 0 {
            return Err(AllocError::NotInPlace);
        }
        // SAFETY: The block is one of this allocator, as the caller promises.
        let span = unsafe { self.span_of(start) };
        let mut clean = DIRTY;
        if new_size > old_size {
            let more = new_size - old_size;
            let behind = || {
                // SAFETY: The span is the block's, and the block, which ends there, is live.
                unsafe { self.free_behind(span, start + old_size) }.filter(|&(_, found)| found >= more)
            };
            // A block that has a bin is moved in less time than what waits is merged.
            let merged = || if old_size > BINNED && self.flush_quick() { behind() } else { None };
            let (free, found) = behind().or_else(merged).ok_or(AllocError::NotInPlace)?;
            clean = self.cut(free, found, 0, more).1;
        }
        Ok((ptr::bytes(span.block(start), new_size), clean))
    }
}

// SAFETY: Every block lies in a span, whose memory belongs to this allocator alone.
unsafe impl<S, T, M> Owns for MultipleBinarySearchTreeAllocator<S, T, M>
where
    S: MemorySource,
    T: TreeCount,
    M: Merging<S>,
{
    /// Takes time in proportion to the logarithm of the number of regions.
    fn owns(&self, address: NonNull<u8>) -> bool {
        self.spans.find(address.addr().get()).is_some()
    }
}

impl<S, T, M> Reset for MultipleBinarySearchTreeAllocator<S, T, M>
where
    S: MemorySource,
    T: TreeCount,
    M: Merging<S>,
{
    /// Keeps the largest region (or regions that were merged into one); takes time in proportion to
    /// the number of regions and the size of that one's bitmap.
    fn reset(&mut self) {
        // SAFETY: The allocator is borrowed mutably, so nothing that borrows it is left to use a
        // block.
        unsafe { self.free_all_but_largest() };
    }
}

// SAFETY: `new` obtains nothing, dropping releases all spans, `recycle` leaves one at most, and
// without merging a span is one region; blocks are whole granules of 16 bytes at multiples of 16.
// The entries at hand are spans that are held.
unsafe impl<S, T> LocalAllocator for MultipleBinarySearchTreeAllocator<S, T, KeepApart>
where
    S: MemorySource + Send,
    T: TreeCount,
{
    type Source = S;
    type WithSource<S2: MemorySource + Send> = MultipleBinarySearchTreeAllocator<S2, T, KeepApart>;
    type Cache = NoThreadCache;
    const REUSES_BLOCKS: bool = true;
    const LARGEST: usize = isize::MAX as usize;

    fn new_in(source: S) -> Self {
        Self::new_in(source)
    }

    #[inline(always)]
    fn source(&self) -> &S {
        &self.source
    }

    #[inline(always)]
    fn allocate_at_hand(&self, layout: NonZeroLayout) -> Option<NonNull<u8>> {
        self.take_at_hand(rounded(layout.size()), layout.align())
    }

    #[inline(always)]
    fn owns_at_hand(&self, address: NonNull<u8>) -> bool {
        self.spans.at_hand(address.addr().get()).is_some()
    }

    fn recycle(&mut self) {
        self.reset();
    }
}

impl<S, T, M> Drop for MultipleBinarySearchTreeAllocator<S, T, M>
where
    S: MemorySource,
    T: TreeCount,
    M: Merging<S>,
{
    fn drop(&mut self) {
        self.release_all();
    }
}

impl<S, T, M> fmt::Debug for MultipleBinarySearchTreeAllocator<S, T, M>
where
    S: MemorySource,
    T: TreeCount,
    M: Merging<S>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MultipleBinarySearchTreeAllocator")
            .field("trees", &T::TREES)
            .field("regions", &self.spans.iter().map(|span| span.pieces()).sum::<usize>())
            .field("bytes_held", &self.bytes_held())
            .field("free_bytes", &self.free_bytes())
            .finish_non_exhaustive()
    }
}
