//! A heap of the coroutine tier as an allocator, for collections that take one.

use core::ptr::NonNull;

use super::allocator::{Declaration, SwitchableAllocator};
use super::heap::{EnterError, Heap};
#[cfg(any(
    feature = "allocator-api2-02",
    feature = "allocator-api2-03",
    feature = "allocator-api2-04",
    feature = "nightly"
))]
use crate::adapt::foreign_references;
use crate::alloc::Allocator;
use crate::error::AllocError;
use crate::layout::NonZeroLayout;

// SAFETY: Blocks are those of the switchable allocator, which keeps the contract; they stay when
// the handle goes.
unsafe impl<D: Declaration> Allocator for Heap<D> {
    /// Allocates from the heap, whatever is current. Refused if the heap is entered, but not last:
    /// then it is another scope's.
    fn allocate(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, AllocError> {
        self.inside(|allocator| allocator.allocate(layout))?
    }

    fn allocate_zeroed(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, AllocError> {
        self.inside(|allocator| allocator.allocate_zeroed(layout))?
    }

    unsafe fn deallocate(&self, block: NonNull<u8>, layout: NonZeroLayout) {
        // SAFETY: The block is the switchable allocator's, and the caller gives it up, once: the
        // second call is made only if the first was not.
        let free = |allocator: &SwitchableAllocator<D>| unsafe { allocator.deallocate(block, layout) };
        if self.inside(free).is_err() {
            free(D::allocator());
        }
    }

    unsafe fn grow(
        &self,
        block: NonNull<u8>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        // SAFETY: The block is the switchable allocator's; the caller promises the rest.
        self.inside(|allocator| unsafe { allocator.grow(block, old, new) })?
    }

    unsafe fn grow_zeroed(
        &self,
        block: NonNull<u8>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        // SAFETY: As for `grow`.
        self.inside(|allocator| unsafe { allocator.grow_zeroed(block, old, new) })?
    }

    unsafe fn shrink(
        &self,
        block: NonNull<u8>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        // SAFETY: As for `grow`.
        self.inside(|allocator| unsafe { allocator.shrink(block, old, new) })?
    }
}

impl<D: Declaration> Heap<D> {
    /// Runs `f` in the heap with the switchable allocator.
    fn inside<R>(&self, f: impl FnOnce(&SwitchableAllocator<D>) -> R) -> Result<R, AllocError> {
        self.try_enter(|| f(D::allocator())).map_err(|EnterError| AllocError::Entered)
    }
}

#[cfg(any(
    feature = "allocator-api2-02",
    feature = "allocator-api2-03",
    feature = "allocator-api2-04",
    feature = "nightly"
))]
mod references {
    use super::{Declaration, Heap, SwitchableAllocator, foreign_references};

    foreign_references!([D: Declaration] SwitchableAllocator<D>);
    foreign_references!([D: Declaration] Heap<D>);
}
