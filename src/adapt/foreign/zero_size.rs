//! Requests for no bytes, answered once for every trait that allows them.

use core::alloc::Layout;
use core::ptr::NonNull;

use crate::alloc::Allocator;
use crate::error::AllocError;
use crate::layout::NonZeroLayout;
use crate::ptr;

/// The block of no bytes at a multiple of `align`.
#[inline(always)]
fn nothing(align: usize) -> NonNull<[u8]> {
    // SAFETY: An alignment is not zero.
    ptr::bytes(unsafe { NonNull::new_unchecked(ptr::dangling(align)) }, 0)
}

/// Allocates a block of any size, none included.
#[inline(always)]
pub(crate) fn allocate<A: Allocator>(
    allocator: &A,
    layout: Layout,
    zeroed: bool,
) -> Result<NonNull<[u8]>, AllocError> {
    match NonZeroLayout::new(layout) {
        None => Ok(nothing(layout.align())),
        Some(layout) if zeroed => allocator.allocate_zeroed(layout),
        Some(layout) => allocator.allocate(layout),
    }
}

/// Frees a block of any size, none included.
///
/// # Safety
/// As [`Allocator::deallocate`], for a block that [`allocate`] or [`resize`] returned.
#[inline(always)]
pub(crate) unsafe fn deallocate<A: Allocator>(allocator: &A, block: NonNull<u8>, layout: Layout) {
    if let Some(layout) = NonZeroLayout::new(layout) {
        // SAFETY: The layout has a size and fits, so the block is the allocator's.
        unsafe { allocator.deallocate(block, layout) };
    }
}

/// Which way [`resize`] goes.
#[derive(Clone, Copy)]
pub(crate) enum Resize {
    Grow,
    GrowZeroed,
    Shrink,
}

/// Grows or shrinks a block, from and to any size, none included.
///
/// # Safety
/// As [`Allocator::grow`] or [`Allocator::shrink`], for a block that [`allocate`] or [`resize`]
/// returned.
#[inline(always)]
pub(crate) unsafe fn resize<A: Allocator>(
    allocator: &A,
    block: NonNull<u8>,
    old: Layout,
    new: Layout,
    way: Resize,
) -> Result<NonNull<[u8]>, AllocError> {
    match (NonZeroLayout::new(old), NonZeroLayout::new(new)) {
        (None, _) => allocate(allocator, new, matches!(way, Resize::GrowZeroed)),
        (Some(old), None) => {
            // SAFETY: The caller's promises; the block is not used again.
            unsafe { allocator.deallocate(block, old) };
            Ok(nothing(new.align()))
        }
        (Some(old), Some(new)) => match way {
            // SAFETY: The block is allocated here, `old` fits it, and `new` is not smaller:
            // `grow`'s contract.
            Resize::Grow => unsafe { allocator.grow(block, old, new) },
            // SAFETY: The block is allocated here, `old` fits it, and `new` is not smaller:
            // `grow`'s contract.
            Resize::GrowZeroed => unsafe { allocator.grow_zeroed(block, old, new) },
            // SAFETY: The block is allocated here, `old` fits it, and `new` is not larger:
            // `shrink`'s contract.
            Resize::Shrink => unsafe { allocator.shrink(block, old, new) },
        },
    }
}
