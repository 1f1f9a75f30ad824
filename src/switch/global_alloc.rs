//! The switchable allocator as a `GlobalAlloc` and as an [`Allocator`].

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{NonNull, null_mut};

use super::allocator::{Declaration, SwitchableAllocator};
use crate::alloc::Allocator;
use crate::error::AllocError;
use crate::layout::NonZeroLayout;
use crate::ptr;

// SAFETY: Blocks come from the global tier or from a heap's allocator or are large objects; each of
// these keeps the contract of blocks that nothing else uses. The pointer decides which of them a
// block returns to. Nothing unwinds or panics: tiers must not by their own contracts, and this
// module's paths don't. Requests for no bytes are served as one byte.
unsafe impl<D: Declaration> GlobalAlloc for SwitchableAllocator<D> {
    #[inline(always)]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: They are those of a layout.
        unsafe { Self::allocate_entry(layout.size(), layout.align()) }
    }

    #[inline(always)]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: The caller got the block here, with this layout.
        unsafe { Self::free_entry(block, layout.size(), layout.align()) };
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        NonZeroLayout::at_least_one(layout).map_or(null_mut(), |layout| self.allocate_zeroed_block(layout))
    }

    #[inline(always)]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: The caller got the block here with this layout.
        unsafe { Self::resize_entry(block, layout.size(), layout.align(), new_size) }
    }
}

/// The block, or the reason why there is none, as far as it is known.
#[inline(always)]
fn found(block: *mut u8, layout: NonZeroLayout) -> Result<NonNull<[u8]>, AllocError> {
    NonNull::new(block).map(|block| ptr::bytes(block, layout.size())).ok_or(AllocError::Refused)
}

// SAFETY: As for `GlobalAlloc`. A block's length is what was asked for, so one size fits.
unsafe impl<D: Declaration> Allocator for SwitchableAllocator<D> {
    #[inline(always)]
    fn allocate(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, AllocError> {
        found(self.allocate_block(layout), layout)
    }

    #[inline]
    fn allocate_zeroed(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, AllocError> {
        found(self.allocate_zeroed_block(layout), layout)
    }

    #[inline(always)]
    unsafe fn deallocate(&self, block: NonNull<u8>, layout: NonZeroLayout) {
        // SAFETY: The caller got the block here, with a layout that this one fits, and gives it up.
        unsafe { self.free_block(block, layout) };
    }

    #[inline]
    unsafe fn grow(
        &self,
        block: NonNull<u8>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        // SAFETY: The caller got the block here, `old` fits it, and gives it up if this succeeds.
        found(unsafe { self.resize_block(block, old, new) }, new)
    }

    #[inline]
    unsafe fn shrink(
        &self,
        block: NonNull<u8>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        // SAFETY: As for `grow`.
        found(unsafe { self.resize_block(block, old, new) }, new)
    }
}
