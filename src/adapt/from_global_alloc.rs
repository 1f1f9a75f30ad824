//! A `GlobalAlloc` as one of our allocators.

use core::alloc::GlobalAlloc;
use core::ptr::NonNull;

use crate::alloc::Allocator;
use crate::error::AllocError;
use crate::layout::NonZeroLayout;
use crate::ptr;

/// Any [`GlobalAlloc`], such as `std::alloc::System`, as our [`Allocator`].
///
/// It borrows the `GlobalAlloc`, which in const context and for a static is `&System` or `&STATIC`:
/// an [`Allocator`] may be moved and cloned while its blocks are in use, and of a `GlobalAlloc`
/// nobody promises that.
///
/// # Examples
/// ```
/// use context_allocator::{Allocator, NonZeroLayout};
/// use context_allocator::adapt::GlobalAllocToAllocatorAdaptor;
/// use std::alloc::System;
///
/// let allocator = GlobalAllocToAllocatorAdaptor::new(&System);
/// let layout = NonZeroLayout::of::<u64>().unwrap();
/// let block = allocator.allocate(layout)?;
/// // SAFETY: Just allocated with this layout, and not used again.
/// unsafe { allocator.deallocate(block.cast(), layout) };
/// # Ok::<(), context_allocator::AllocError>(())
/// ```
#[derive(Debug)]
pub struct GlobalAllocToAllocatorAdaptor<'a, G> {
    global: &'a G,
}

impl<G> Clone for GlobalAllocToAllocatorAdaptor<'_, G> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<G> Copy for GlobalAllocToAllocatorAdaptor<'_, G> {}

impl<'a, G> GlobalAllocToAllocatorAdaptor<'a, G> {
    /// `global` as our `Allocator`.
    pub const fn new(global: &'a G) -> Self {
        Self { global }
    }

    /// The `GlobalAlloc` behind it.
    #[must_use]
    pub const fn inner(&self) -> &'a G {
        self.global
    }
}

fn block(start: *mut u8, layout: NonZeroLayout) -> Result<NonNull<[u8]>, AllocError> {
    NonNull::new(start).map(|start| ptr::bytes(start, layout.size())).ok_or(AllocError::Refused)
}

// SAFETY: `GlobalAlloc` promises what `Allocator` asks for, of an allocator that stays where it is,
// as one that is borrowed does; a clone borrows the same one. It has no real sizes, so a block's
// length is what was asked for, and the one layout that fits is the one of the last call, as
// `GlobalAlloc` needs.
unsafe impl<G: GlobalAlloc> Allocator for GlobalAllocToAllocatorAdaptor<'_, G> {
    #[inline(always)]
    fn allocate(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, AllocError> {
        // SAFETY: The layout has a size.
        block(unsafe { self.global.alloc(layout.layout()) }, layout)
    }

    #[inline(always)]
    fn allocate_zeroed(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, AllocError> {
        // SAFETY: The layout has a size.
        block(unsafe { self.global.alloc_zeroed(layout.layout()) }, layout)
    }

    #[inline(always)]
    unsafe fn deallocate(&self, block: NonNull<u8>, layout: NonZeroLayout) {
        // SAFETY: The block was allocated here with this layout, as the caller promises.
        unsafe { self.global.dealloc(block.as_ptr(), layout.layout()) };
    }

    #[inline]
    unsafe fn grow(
        &self,
        old_block: NonNull<u8>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        // SAFETY: The block is allocated here, and `old` fits it, as `grow` and `shrink` ask.
        unsafe { self.reallocate(old_block, old, new) }
    }

    #[inline]
    unsafe fn shrink(
        &self,
        old_block: NonNull<u8>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        // SAFETY: The block is allocated here, and `old` fits it, as `grow` and `shrink` ask.
        unsafe { self.reallocate(old_block, old, new) }
    }
}

impl<G: GlobalAlloc> GlobalAllocToAllocatorAdaptor<'_, G> {
    /// Lets `realloc` do what it can, which is everything but a change of alignment.
    ///
    /// # Safety
    /// The block was allocated here and `old` fits it.
    #[inline]
    unsafe fn reallocate(
        &self,
        old_block: NonNull<u8>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        if old.align() == new.align() {
            // SAFETY: The block was allocated here with `old`; `new.size()` is a size of a layout
            // of that alignment.
            return block(unsafe { self.global.realloc(old_block.as_ptr(), old.layout(), new.size()) }, new);
        }
        // SAFETY: The block is allocated here, and `old` fits it, as `grow` and `shrink` ask.
        unsafe { crate::alloc::relocate(self, old_block, old, new) }
    }
}
