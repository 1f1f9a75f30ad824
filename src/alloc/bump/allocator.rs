//! The allocator and its traits.

use core::cell::Cell;
use core::fmt;
use core::ptr::{NonNull, null_mut};

use super::arithmetic::{MIN_ALIGN, place, rounded};
use super::regions::{HEADER, RegionHeader, len_of, previous_of};
use crate::alloc::{
    Allocator, LocalAllocator, NoThreadCache, Owns, Reset, ResizeInPlace, Window, in_place_or_elsewhere,
    relocate_zeroed,
};
use crate::error::{AllocError, SourceError};
use crate::layout::NonZeroLayout;
use crate::ptr;
use crate::source::MemorySource;

/// An allocator that hands out its regions from bottom to top and frees them as a whole.
///
/// To allocate is to add to a pointer; to free does nothing, except that the block allocated last
/// is given back, and grows and shrinks where it is. [`reset`](Reset::reset) frees everything and
/// keeps the largest region; dropping the allocator releases all regions. A [`scope`](Self::scope)
/// that ends, and a [`rewind`](Self::rewind), keep one of the regions that were obtained since, of
/// at most 4 MiB, for the next that is needed. Every block takes its size rounded up to 8 bytes and
/// nothing else; a region takes 16 bytes for itself.
///
/// Regions come from `S` when they are needed: the first is 64 KiB, each later one twice the last
/// up to 4 MiB, or as large as a block that would not fit; smaller if the source has no more, as
/// large as its blocks if it has blocks. A source that gives only one region, such as
/// [`RegionSource`](crate::source::RegionSource), makes an allocator of fixed size.
///
/// # Held memory
/// Twice what was allocated since the last reset, freed or not, and one region of 64 KiB to 4 MiB,
/// or as long as the largest block: a block that does not fit a region leaves less than its own
/// length unused there. A block counts with its alignment, if that is more than its size.
///
/// It is for one thread at a time: it can be sent, not shared.
///
/// ```compile_fail,E0277
/// fn shared<T: Sync>() {}
/// shared::<context_allocator::BumpAllocator<context_allocator::MmapSource>>();
/// ```
///
/// # Examples
/// ```
/// use context_allocator::{Allocator, BumpAllocator, MmapSource, NonZeroLayout};
/// use context_allocator::alloc::Reset;
///
/// let mut bump = BumpAllocator::new(MmapSource::new());
/// let layout = NonZeroLayout::of::<[u64; 4]>().unwrap();
/// let first = bump.allocate(layout)?;
/// let second = bump.allocate(layout)?;
/// assert_eq!(second.addr().get() - first.addr().get(), 32);
/// bump.reset();
/// assert_eq!(bump.allocate(layout)?.addr(), first.addr());
/// # Ok::<(), context_allocator::AllocError>(())
/// ```
pub struct BumpAllocator<S: MemorySource> {
    pub(super) cursor: Cell<*mut u8>,
    pub(super) limit: Cell<*mut u8>,
    pub(super) newest: Cell<*mut RegionHeader>,
    pub(super) source: S,
}

// SAFETY: The pointers lead to regions that this allocator alone uses, wherever it is; the source
// says for itself whether it can be sent.
unsafe impl<S: MemorySource + Send> Send for BumpAllocator<S> {}

/// A point in the life of a [`BumpAllocator`] to which it can go back.
#[derive(Clone, Copy, Debug)]
pub struct Checkpoint {
    pub(super) newest: *mut RegionHeader,
    pub(super) cursor: *mut u8,
}

impl<S: MemorySource> BumpAllocator<S> {
    /// An allocator over `source` that holds nothing yet.
    pub const fn new(source: S) -> Self {
        Self {
            cursor: Cell::new(ptr::dangling(MIN_ALIGN)),
            limit: Cell::new(ptr::dangling(MIN_ALIGN)),
            newest: Cell::new(null_mut()),
            source,
        }
    }

    /// The source of the regions.
    pub const fn source(&self) -> &S {
        &self.source
    }

    /// Bytes of the regions that it holds, the one that it keeps for the next scope included.
    pub fn region_bytes(&self) -> usize {
        let spare = self.spare().map_or(0, len_of);
        self.regions().map(|(_, len)| len).sum::<usize>() + spare
    }

    /// This moment, to go back to with [`rewind`](Self::rewind).
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint { newest: self.newest.get(), cursor: self.cursor.get() }
    }

    /// Goes back to `checkpoint`: frees what was allocated since, and releases the regions obtained
    /// since, but for one of at most 4 MiB that it keeps for the next that is needed.
    ///
    /// # Safety
    /// - `checkpoint` was made by this allocator, and since then there was no `reset`, no `rewind`
    ///   to an earlier checkpoint, and no `deallocate`, `grow` or `shrink` of a block that was
    ///   allocated before it.
    /// - No [`scope`](Self::scope) that began since is still running: it will go back to a later
    ///   moment. No scope that ran when it was made has ended.
    /// - No block that was allocated since is used any more.
    pub unsafe fn rewind(&self, checkpoint: Checkpoint) {
        if self.newest.get() == checkpoint.newest {
            self.cursor.set(checkpoint.cursor);
        } else {
            // SAFETY: `checkpoint` is this allocator's and still valid, and no younger block is
            // used.
            unsafe { self.rewind_to_older(checkpoint) };
        }
    }

    /// Whether the block at `block` ends where the next one would begin.
    #[inline(always)]
    fn is_last(&self, block: NonNull<u8>, size: usize) -> bool {
        // Not as a sum: the compiler would take it for the cursor, and compute more than it needs.
        self.cursor.get().addr().wrapping_sub(size) == block.addr().get()
    }
}

// SAFETY: `allocate_at_hand` cuts blocks off between cursor and limit, which lie in a region that
// the allocator holds, and moves the cursor behind them; the cursor moves down only over the last
// block, when it is given back or shrunk. So no two allocated blocks overlap. Regions don't move
// with the allocator.
unsafe impl<S: MemorySource> Allocator for BumpAllocator<S> {
    #[inline]
    fn allocate(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, AllocError> {
        if let Some(block) = self.allocate_in_region(layout) {
            return Ok(ptr::bytes(block, rounded(layout.size())));
        }
        Ok(self.allocate_elsewhere(layout)?.0)
    }

    /// Writes only what is not known to be zero.
    fn allocate_zeroed(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, AllocError> {
        let (block, zero_from) = match self.allocate_in_region(layout) {
            Some(block) => (ptr::bytes(block, rounded(layout.size())), usize::MAX),
            None => self.allocate_elsewhere(layout)?,
        };
        // SAFETY: The whole block was just allocated.
        unsafe { zero_up_to(block, 0, zero_from) };
        Ok(block)
    }

    unsafe fn grow_zeroed(
        &self,
        block: NonNull<u8>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        let limit = self.limit.get().addr();
        // Only the last block grows, and what is behind the limit then was behind it before.
        let zero_from = if self.is_last(block, rounded(old.size())) { limit } else { usize::MAX };
        // SAFETY: The block is allocated here, `old` fits it, and `new` is not smaller: `grow`'s
        // contract.
        let Ok(grown) = (unsafe { self.grow_in_place(block, old, new) }) else {
            // SAFETY: The caller's promises; the failed call changed nothing.
            return unsafe { relocate_zeroed(self, block, old, new) };
        };
        // SAFETY: The whole block is allocated; nobody knows of what is behind its old size yet.
        unsafe { zero_up_to(grown, old.size(), zero_from) };
        Ok(grown)
    }

    #[inline(always)]
    unsafe fn deallocate(&self, block: NonNull<u8>, layout: NonZeroLayout) {
        if self.is_last(block, rounded(layout.size())) {
            self.cursor.set(ptr::at(self.cursor.get(), block.addr().get()));
        }
    }

    in_place_or_elsewhere!(source, relocate_apart);
}

impl<S: MemorySource> BumpAllocator<S> {
    #[inline(always)]
    fn allocate_in_region(&self, layout: NonZeroLayout) -> Option<NonNull<u8>> {
        let cursor = self.cursor.get();
        // SAFETY: The cursor starts at a multiple of MIN_ALIGN, behind a header or dangling, and
        // moves by multiples of it: sizes are rounded, and padding to a smaller alignment is 0.
        unsafe { core::hint::assert_unchecked(cursor.addr().is_multiple_of(MIN_ALIGN)) };
        let size = rounded(layout.size());
        let (start, end) = place(cursor.addr(), self.limit.get().addr(), size, layout.align())?;
        self.cursor.set(ptr::at(cursor, end));
        // SAFETY: The start is not null: it is at least the cursor, which lies in a region or is
        // dangling, and at most the limit.
        Some(unsafe { NonNull::new_unchecked(ptr::at(cursor, start)) })
    }

    /// Allocates beyond the limit, or in a new region; says from which address on the block is
    /// known to be zero.
    #[cold]
    #[inline(never)]
    fn allocate_elsewhere(&self, layout: NonZeroLayout) -> Result<(NonNull<[u8]>, usize), AllocError> {
        if let Some(block) = self.allocate_beyond_limit(layout) {
            return Ok(block);
        }
        self.obtain(layout)?;
        self.allocate_beyond_limit(layout).ok_or(AllocError::Source(SourceError::TooLarge))
    }

    /// Allocates in the newest region, for which the limit moves up.
    fn allocate_beyond_limit(&self, layout: NonZeroLayout) -> Option<(NonNull<[u8]>, usize)> {
        let (cursor, limit) = (self.cursor.get().addr(), self.limit.get().addr());
        let size = rounded(layout.size());
        let (_, end) = place(cursor, self.end().addr(), size, layout.align())?;
        self.raise_limit(end);
        Some((ptr::bytes(self.allocate_in_region(layout)?, size), limit))
    }

    /// Frees all blocks if there is one region, or none, as there nearly always is; says whether.
    #[inline(always)]
    fn restart_single_region(&mut self) -> bool {
        let newest = self.newest.get();
        if let Some(header) = NonNull::new(newest) {
            if !previous_of(header).is_null() {
                return false;
            }
            self.cursor.set(ptr::up(newest.cast(), HEADER));
        }
        true
    }

    /// Makes the last block `more` bytes longer, which is beyond the limit, in the newest region.
    #[cold]
    #[inline(never)]
    fn grow_beyond_limit(&self, more: usize) -> Result<(), AllocError> {
        let cursor = self.cursor.get();
        let room = self.end().addr() - cursor.addr();
        if more > room || !self.raise_limit(cursor.addr() + more) {
            return Err(AllocError::NotInPlace);
        }
        self.cursor.set(ptr::up(cursor, more));
        Ok(())
    }
}

/// Whether a block, which `old` fits, is at a multiple of the alignment of `new`.
#[inline(always)]
fn stays_aligned(block: NonNull<u8>, old: NonZeroLayout, new: NonZeroLayout) -> bool {
    // Nearly always both are the same number, which the compiler knows.
    new.align() <= old.align() || ptr::padding(block.addr().get(), new.align()) == 0
}

/// Makes a block zero from `from` bytes on, up to the address `to`.
///
/// # Safety
/// Those bytes of the block are writable, and nobody else accesses them.
unsafe fn zero_up_to(block: NonNull<[u8]>, from: usize, to: usize) {
    let (start, len) = (block.cast::<u8>(), block.len());
    // A block that lies behind the address begins with zeros.
    let dirty = to.saturating_sub(start.addr().get()).min(len);
    if dirty > from {
        let first = ptr::up(start.as_ptr(), from);
        // SAFETY: The bytes from `from` to `dirty` are the block's, and the caller's.
        unsafe { first.write_bytes(0, dirty - from) };
    }
}

// SAFETY: A block that is the last one ends at the cursor, so moving the cursor changes its length
// and no other block's; a block that is large enough already keeps its length.
unsafe impl<S: MemorySource> ResizeInPlace for BumpAllocator<S> {
    #[inline]
    unsafe fn grow_in_place(
        &self,
        block: NonNull<u8>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        let (old_size, new_size) = (rounded(old.size()), rounded(new.size()));
        if !stays_aligned(block, old, new) {
            return Err(AllocError::NotInPlace);
        }
        if self.is_last(block, old_size) {
            // Placed once more where it is, which is aligned already.
            match place(block.addr().get(), self.limit.get().addr(), new_size, 1) {
                Some((_, end)) => self.cursor.set(ptr::at(self.cursor.get(), end)),
                None => self.grow_beyond_limit(new_size - old_size)?,
            }
        } else if new_size > old_size {
            return Err(AllocError::NotInPlace);
        }
        Ok(ptr::bytes(block, new_size))
    }

    #[inline]
    unsafe fn shrink_in_place(
        &self,
        block: NonNull<u8>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        let (old_size, new_size) = (rounded(old.size()), rounded(new.size()));
        if !stays_aligned(block, old, new) {
            return Err(AllocError::NotInPlace);
        }
        if !self.is_last(block, old_size) {
            return Ok(ptr::bytes(block, old_size));
        }
        self.cursor.set(ptr::down(self.cursor.get(), old_size - new_size));
        Ok(ptr::bytes(block, new_size))
    }
}

// SAFETY: Every block lies in a region on the list, and a region belongs to this allocator alone.
unsafe impl<S: MemorySource> Owns for BumpAllocator<S> {
    /// Looks through all regions: takes time in proportion to their number.
    fn owns(&self, address: NonNull<u8>) -> bool {
        self.regions().any(|(start, len)| address.addr().get().wrapping_sub(start.addr()) < len)
    }
}

impl<S: MemorySource> Reset for BumpAllocator<S> {
    #[inline]
    fn reset(&mut self) {
        if !self.restart_single_region() {
            // SAFETY: The allocator is borrowed mutably, so nothing that borrows it is left to use
            // a block.
            unsafe { self.free_all_but_largest() };
        }
    }
}

// SAFETY: `new` obtains nothing, dropping releases all regions on the list, `recycle` leaves one at
// most; a block lies in the region whose cursor made it. `REUSES_BLOCKS` is false.
unsafe impl<S: MemorySource + Send> LocalAllocator for BumpAllocator<S> {
    type Source = S;
    type WithSource<S2: MemorySource + Send> = BumpAllocator<S2>;
    type Cache = NoThreadCache;
    const REUSES_BLOCKS: bool = false;
    const LARGEST: usize = isize::MAX as usize;

    #[inline]
    fn new_in(source: S) -> Self {
        Self::new(source)
    }

    #[inline(always)]
    fn source(&self) -> &S {
        &self.source
    }

    #[inline(always)]
    fn allocate_at_hand(&self, layout: NonZeroLayout) -> Option<NonNull<u8>> {
        self.allocate_in_region(layout)
    }

    #[inline(always)]
    fn owns_at_hand(&self, address: NonNull<u8>) -> bool {
        // The newest region, up to the cursor. Before there is one its start is null and the cursor
        // next to it.
        let start = self.newest.get().addr();
        address.addr().get().wrapping_sub(start) < self.cursor.get().addr() - start
    }

    const BUMPS: bool = true;

    #[inline(always)]
    fn window(&self) -> Window {
        Window { cursor: self.cursor.get(), end: self.limit.get(), start: self.newest.get().cast() }
    }

    #[inline(always)]
    unsafe fn set_cursor(&self, cursor: *mut u8) {
        self.cursor.set(cursor);
    }

    unsafe fn restart_window(&self) {
        if !self.newest.get().is_null() {
            self.cursor.set(ptr::up(self.newest.get().cast(), HEADER));
        }
    }

    unsafe fn release_region(&self, start: NonNull<u8>) {
        // SAFETY: The caller promises that the region is held, and that no block in it is used.
        unsafe { self.release_one(start.cast()) };
    }

    fn recycle(&mut self) {
        self.reset();
    }

    #[inline(always)]
    fn recycle_at_hand(&mut self) -> bool {
        self.restart_single_region()
    }
}

impl<S: MemorySource> Drop for BumpAllocator<S> {
    fn drop(&mut self) {
        // SAFETY: The allocator is going, and its blocks with it.
        unsafe { self.release_all() };
    }
}

impl<S: MemorySource> fmt::Debug for BumpAllocator<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BumpAllocator")
            .field("regions", &self.regions().count())
            .field("region_bytes", &self.region_bytes())
            .finish_non_exhaustive()
    }
}
