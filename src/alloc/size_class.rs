//! Segregated fit: one free list for each class of sizes.
//!
//! The layout at free is the layout at allocation, so the class is computed, never looked up, and a
//! block has no header.
//!
//! ```text
//!   class      0   1   2  ..  63 | 64 ..  83      classes.rs
//!   aligned   32  64  128 .. 32768                alignment beyond 16
//! ```
//!
//! A class whose list is empty takes a new block from the region obtained last, upward as a bump
//! allocator does. Always: a block on the list of class `c` is `bytes(c)` long, at a multiple of 16
//! (of its own size, in an aligned class), free, and in a region of this allocator.

use core::cell::Cell;
use core::fmt;
use core::ptr::{NonNull, null_mut};

use super::classes::{CLASSES, LARGEST, STEP, bytes_of, class_of};
use super::{
    Allocator, BumpAllocator, LocalAllocator, NoThreadCache, Owns, Reset, ResizeInPlace,
    in_place_or_elsewhere,
};
use crate::error::{AllocError, SourceError};
use crate::layout::NonZeroLayout;
use crate::ptr;
use crate::source::MemorySource;

/// Aligned classes are the powers of two from 32 bytes to [`LARGEST`].
const ALIGNED_CLASSES: usize = (LARGEST / STEP).ilog2() as usize;

/// The size and alignment in bytes of the aligned class for a layout.
#[inline(always)]
const fn aligned_bytes(layout: NonZeroLayout) -> usize {
    let larger = if layout.size() > layout.align() { layout.size() } else { layout.align() };
    // `larger` is more than 1 and at most 2^(BITS - 1), so this is the next power of two and does
    // not overflow.
    1 << (usize::BITS - (larger - 1).leading_zeros())
}

/// Where a layout belongs: the number of its list, and the size and alignment in bytes of the
/// blocks there.
#[inline(always)]
const fn list_of(layout: NonZeroLayout) -> Option<(usize, usize, usize)> {
    if layout.align() <= STEP {
        if layout.size() > LARGEST {
            return None;
        }
        let class = class_of(layout.size());
        Some((class, bytes_of(class), STEP))
    } else {
        let bytes = aligned_bytes(layout);
        if bytes > LARGEST {
            return None;
        }
        Some((CLASSES + bytes.ilog2() as usize - STEP.ilog2() as usize - 1, bytes, bytes))
    }
}

/// What a free block begins with.
struct FreeBlock {
    next: *mut FreeBlock,
}

/// An allocator with a free list for each of 84 sizes from 16 bytes to 32 KiB, for one thread at a
/// time.
///
/// Allocating and freeing take a few instructions each. Blocks are at least 16 bytes and waste at
/// most 15 bytes up to 1 KiB and a fifth of their size beyond; alignments beyond 16 round the size
/// up to a power of two. A freed block is used again for its own class only; regions are released
/// when the allocator is dropped or [reset](Reset). Larger requests are refused: the switchable
/// allocator gives those memory maps of their own.
///
/// # Held memory
/// For each class the most of its blocks that were ever live at a time, all classes together, and
/// one region of at most 4 MiB, until the allocator is dropped or reset: a program that changes
/// from one size to another holds both.
///
/// # Examples
/// ```
/// use context_allocator::{Allocator, MmapSource, NonZeroLayout};
/// use context_allocator::alloc::SizeClassAllocator;
///
/// let allocator = SizeClassAllocator::new(MmapSource::new());
/// let layout = NonZeroLayout::from_size_align(100, 8)?;
/// let block = allocator.allocate(layout)?;
/// assert_eq!(block.len(), 112);
/// // SAFETY: Just allocated with this layout, and not used again.
/// unsafe { allocator.deallocate(block.cast(), layout) };
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SizeClassAllocator<S: MemorySource> {
    lists: [Cell<*mut FreeBlock>; CLASSES + ALIGNED_CLASSES],
    fresh: BumpAllocator<S>,
}

// SAFETY: The lists lead to blocks of regions that this allocator alone uses, wherever it is.
unsafe impl<S: MemorySource + Send> Send for SizeClassAllocator<S> {}

impl<S: MemorySource> SizeClassAllocator<S> {
    /// An allocator over `source` that holds nothing yet.
    pub const fn new(source: S) -> Self {
        Self {
            lists: [const { Cell::new(null_mut()) }; CLASSES + ALIGNED_CLASSES],
            fresh: BumpAllocator::new(source),
        }
    }

    #[inline(always)]
    fn list(&self, number: usize) -> &Cell<*mut FreeBlock> {
        // SAFETY: `number` comes from `list_of`, whose classes number fewer than the lists; a test
        // asks it for all sizes and alignments.
        unsafe { self.lists.get_unchecked(number) }
    }

    #[inline(always)]
    fn pop(&self, number: usize) -> Option<NonNull<u8>> {
        let list = self.list(number);
        let block = NonNull::new(list.get())?;
        // SAFETY: What is on a list is free, ours, and begins with its link, which `deallocate`
        // wrote.
        list.set(unsafe { block.as_ref() }.next);
        Some(block.cast())
    }

    /// Takes a block of `bytes` bytes at a multiple of `align` from the regions, obtaining one if
    /// need be.
    #[cold]
    #[inline(never)]
    fn cut(&self, bytes: usize, align: usize) -> Result<NonNull<u8>, AllocError> {
        let layout = NonZeroLayout::from_size_align(bytes, align)?;
        Ok(self.fresh.allocate(layout)?.cast())
    }
}

// SAFETY: A block comes from a list or is cut from a region by the bump allocator, which gives each
// byte out once; it is as long as its class and at a multiple of the class's alignment, which
// `list_of` makes sufficient for the layout. It returns to the list of the same class, since every
// layout that fits it has that class: the length returned is the class's, and sizes between the one
// asked for and that are of the same class.
unsafe impl<S: MemorySource> Allocator for SizeClassAllocator<S> {
    #[inline]
    fn allocate(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, AllocError> {
        let (number, bytes, align) = list_of(layout).ok_or(AllocError::Source(SourceError::TooLarge))?;
        let block = match self.pop(number) {
            Some(block) => block,
            None => self.cut(bytes, align)?,
        };
        Ok(ptr::bytes(block, bytes))
    }

    #[inline(always)]
    unsafe fn deallocate(&self, block: NonNull<u8>, layout: NonZeroLayout) {
        // SAFETY: The block was allocated here and the layout fits it, so there is a list for it.
        let (number, _, _) = unsafe { list_of(layout).unwrap_unchecked() };
        let list = self.list(number);
        let block = block.cast::<FreeBlock>();
        // SAFETY: The block is given back, so it is ours; it has at least 16 bytes, at a multiple
        // of 16.
        unsafe { block.write(FreeBlock { next: list.get() }) };
        list.set(block.as_ptr());
    }

    in_place_or_elsewhere!(fresh);
}

/// The block where it is, if `old` and `new` have the same class.
#[inline]
fn same_class(
    block: NonNull<u8>,
    old: NonZeroLayout,
    new: NonZeroLayout,
) -> Result<NonNull<[u8]>, AllocError> {
    match (list_of(old), list_of(new)) {
        (Some((from, ..)), Some((to, bytes, _))) if from == to => Ok(ptr::bytes(block, bytes)),
        _ => Err(AllocError::NotInPlace),
    }
}

// SAFETY: A block of the same class has the length and the alignment of the new layout already.
unsafe impl<S: MemorySource> ResizeInPlace for SizeClassAllocator<S> {
    #[inline]
    unsafe fn grow_in_place(
        &self,
        block: NonNull<u8>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        same_class(block, old, new)
    }

    #[inline]
    unsafe fn shrink_in_place(
        &self,
        block: NonNull<u8>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        same_class(block, old, new)
    }
}

// SAFETY: Every block lies in a region of the bump allocator, which belongs to this allocator
// alone.
unsafe impl<S: MemorySource> Owns for SizeClassAllocator<S> {
    /// Looks through all regions: takes time in proportion to their number.
    fn owns(&self, address: NonNull<u8>) -> bool {
        self.fresh.owns(address)
    }
}

impl<S: MemorySource> Reset for SizeClassAllocator<S> {
    fn reset(&mut self) {
        self.lists.iter().for_each(|list| list.set(null_mut()));
        self.fresh.reset();
    }
}

// SAFETY: As the bump allocator, which holds the regions; every class is at least 16 bytes at a
// multiple of 16.
unsafe impl<S: MemorySource + Send> LocalAllocator for SizeClassAllocator<S> {
    type Source = S;
    type WithSource<S2: MemorySource + Send> = SizeClassAllocator<S2>;
    type Cache = NoThreadCache;
    const REUSES_BLOCKS: bool = true;
    const LARGEST: usize = LARGEST;

    fn new_in(source: S) -> Self {
        Self::new(source)
    }

    fn source(&self) -> &S {
        self.fresh.source()
    }

    #[inline(always)]
    fn allocate_at_hand(&self, layout: NonZeroLayout) -> Option<NonNull<u8>> {
        let (number, ..) = list_of(layout)?;
        self.pop(number)
    }

    fn recycle(&mut self) {
        self.reset();
    }
}

impl<S: MemorySource> fmt::Debug for SizeClassAllocator<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SizeClassAllocator").field("fresh", &self.fresh).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fitting_size_is_of_the_same_class() {
        for align in (0..=15).map(|power| 1 << power) {
            for size in 1..=LARGEST {
                let layout = NonZeroLayout::from_size_align(size, align).unwrap();
                let (number, bytes, block_align) = list_of(layout).unwrap();
                assert!(number < CLASSES + ALIGNED_CLASSES);
                assert!(bytes >= size && block_align >= align && bytes % block_align == 0);
                assert_eq!(list_of(layout.with_size(bytes).unwrap()), Some((number, bytes, block_align)));
            }
        }
    }
}
