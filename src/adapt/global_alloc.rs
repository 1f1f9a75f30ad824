//! Our allocators as `GlobalAlloc`.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{NonNull, null_mut};

use super::AllocatorAdaptor;
use crate::alloc::Allocator;
use crate::error::AllocError;
use crate::layout::NonZeroLayout;

/// The start of the block, or null.
#[inline(always)]
fn start(block: Result<NonNull<[u8]>, AllocError>) -> *mut u8 {
    block.map_or(null_mut(), |block| block.cast().as_ptr())
}

// SAFETY: `Allocator` promises what `GlobalAlloc` asks for: blocks as large and aligned as asked
// that nothing else uses, no unwinding. Requests for no bytes, which `GlobalAlloc` leaves
// undefined, are served as one byte, at allocation and at free alike.
unsafe impl<A: Allocator> GlobalAlloc for AllocatorAdaptor<A> {
    #[inline(always)]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match NonZeroLayout::at_least_one(layout) {
            Ok(layout) => start(self.allocator.allocate(layout)),
            Err(_) => null_mut(),
        }
    }

    #[inline(always)]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        match NonZeroLayout::at_least_one(layout) {
            Ok(layout) => start(self.allocator.allocate_zeroed(layout)),
            Err(_) => null_mut(),
        }
    }

    #[inline(always)]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: The caller got the block here, so it is not null.
        let block = unsafe { NonNull::new_unchecked(block) };
        if let Ok(layout) = NonZeroLayout::at_least_one(layout) {
            // SAFETY: The caller got the block here with this layout, which therefore fits it.
            unsafe { self.allocator.deallocate(block, layout) };
        }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let (Some(block), Ok(old)) = (NonNull::new(block), NonZeroLayout::at_least_one(layout)) else {
            return null_mut();
        };
        let Ok(new) = old.with_size(new_size.max(1)) else { return null_mut() };
        if new.size() >= old.size() {
            // SAFETY: The caller got the block here with this layout; the new one is not smaller.
            start(unsafe { self.allocator.grow(block, old, new) })
        } else {
            // SAFETY: The caller got the block here with this layout; the new one is smaller.
            start(unsafe { self.allocator.shrink(block, old, new) })
        }
    }
}
