//! Growing and shrinking, written once.

use core::ptr::NonNull;

use super::{Allocator, ResizeInPlace};
use crate::error::AllocError;
use crate::layout::NonZeroLayout;

/// Allocates for `new`, copies what both have, frees `block`.
///
/// # Safety
/// `block` is currently allocated by `allocator` and `old` fits it.
#[inline]
pub(crate) unsafe fn relocate<A: Allocator + ?Sized>(
    allocator: &A,
    block: NonNull<u8>,
    old: NonZeroLayout,
    new: NonZeroLayout,
) -> Result<NonNull<[u8]>, AllocError> {
    // SAFETY: The block was just allocated; the caller promises the rest.
    Ok(unsafe { move_to(allocator, block, old, new, allocator.allocate(new)?) })
}

/// As [`relocate`], with every byte from `old.size()` on zero.
///
/// # Safety
/// As [`relocate`].
#[inline]
pub(crate) unsafe fn relocate_zeroed<A: Allocator + ?Sized>(
    allocator: &A,
    block: NonNull<u8>,
    old: NonZeroLayout,
    new: NonZeroLayout,
) -> Result<NonNull<[u8]>, AllocError> {
    // SAFETY: The block was just allocated; the caller promises the rest.
    Ok(unsafe { move_to(allocator, block, old, new, allocator.allocate_zeroed(new)?) })
}

/// Copies what both layouts have to `moved`, and frees `block`.
///
/// # Safety
/// As [`relocate`]; `moved` was just allocated for `new`.
#[inline]
unsafe fn move_to<A: Allocator + ?Sized>(
    allocator: &A,
    block: NonNull<u8>,
    old: NonZeroLayout,
    new: NonZeroLayout,
    moved: NonNull<[u8]>,
) -> NonNull<[u8]> {
    let len = old.size().min(new.size());
    // SAFETY: Both blocks are allocated, so they do not overlap, and each has at least `len` bytes:
    // `block` because `old` fits it, as the caller promises, `moved` because `allocate` returned it
    // for `new`.
    unsafe { moved.cast::<u8>().copy_from_nonoverlapping(block, len) };
    // SAFETY: The caller promises it, and `block` is not used again.
    unsafe { allocator.deallocate(block, old) };
    moved
}

/// The `grow` of an allocator that tries in place first, and moves the block by `relocate` if that
/// fails.
///
/// # Safety
/// As [`Allocator::grow`]; `relocate` is [`relocate`] or [`relocate_apart`].
#[inline]
pub(crate) unsafe fn grow_or_move<A: ResizeInPlace + ?Sized>(
    allocator: &A,
    block: NonNull<u8>,
    old: NonZeroLayout,
    new: NonZeroLayout,
    relocate: Relocate<A>,
) -> Result<NonNull<[u8]>, AllocError> {
    // SAFETY: The block is allocated here, `old` fits it, and `new` is not smaller: `grow`'s
    // contract.
    if let Ok(grown) = unsafe { allocator.grow_in_place(block, old, new) } {
        return Ok(grown);
    }
    // SAFETY: The same; the failed call changed nothing.
    unsafe { relocate(allocator, block, old, new) }
}

/// A function that moves a block, as [`relocate`].
type Relocate<A> =
    unsafe fn(&A, NonNull<u8>, NonZeroLayout, NonZeroLayout) -> Result<NonNull<[u8]>, AllocError>;

/// [`relocate`] as a call, for an allocator whose blocks are mostly grown in place, so that growing
/// in place has the registers to itself.
///
/// # Safety
/// As there.
#[inline(never)]
pub(crate) unsafe fn relocate_apart<A: Allocator + ?Sized>(
    allocator: &A,
    block: NonNull<u8>,
    old: NonZeroLayout,
    new: NonZeroLayout,
) -> Result<NonNull<[u8]>, AllocError> {
    // SAFETY: This function's contract is that of `relocate`.
    unsafe { relocate(allocator, block, old, new) }
}

/// The `shrink` of an allocator that tries in place first.
///
/// # Safety
/// As [`Allocator::shrink`].
#[inline]
pub(crate) unsafe fn shrink_or_move<A: ResizeInPlace + ?Sized>(
    allocator: &A,
    block: NonNull<u8>,
    old: NonZeroLayout,
    new: NonZeroLayout,
) -> Result<NonNull<[u8]>, AllocError> {
    // SAFETY: The block is allocated here, `old` fits it, and `new` is not larger: `shrink`'s
    // contract.
    if let Ok(shrunk) = unsafe { allocator.shrink_in_place(block, old, new) } {
        return Ok(shrunk);
    }
    // SAFETY: The caller's promises; the failed call changed nothing.
    unsafe { relocate(allocator, block, old, new) }
}

/// The methods of an [`Allocator`] that resizes in place where it can, and moves the block where
/// not; and the fork methods, which are those of what it has in the field. A block that grows is
/// moved by [`relocate`], unless another function is named.
macro_rules! in_place_or_elsewhere {
    ($field:ident) => {
        $crate::alloc::in_place_or_elsewhere!($field, relocate);
    };
    ($field:ident, $relocate:ident) => {
        #[inline]
        unsafe fn grow(
            &self,
            block: core::ptr::NonNull<u8>,
            old: $crate::NonZeroLayout,
            new: $crate::NonZeroLayout,
        ) -> Result<core::ptr::NonNull<[u8]>, $crate::AllocError> {
            // SAFETY: The block is allocated here, `old` fits it, and `new` is not smaller:
            // `grow`'s contract.
            unsafe { $crate::alloc::grow_or_move(self, block, old, new, $crate::alloc::$relocate) }
        }

        #[inline]
        unsafe fn shrink(
            &self,
            block: core::ptr::NonNull<u8>,
            old: $crate::NonZeroLayout,
            new: $crate::NonZeroLayout,
        ) -> Result<core::ptr::NonNull<[u8]>, $crate::AllocError> {
            // SAFETY: The block is allocated here, `old` fits it, and `new` is not larger:
            // `shrink`'s contract.
            unsafe { $crate::alloc::shrink_or_move(self, block, old, new) }
        }

        unsafe fn before_fork(&self) {
            // SAFETY: The caller's promises, for the field.
            unsafe { self.$field.before_fork() };
        }

        unsafe fn after_fork(&self) {
            // SAFETY: `before_fork` called that of the field, and the caller promises that this
            // call follows it.
            unsafe { self.$field.after_fork() };
        }
    };
}
pub(crate) use in_place_or_elsewhere;
