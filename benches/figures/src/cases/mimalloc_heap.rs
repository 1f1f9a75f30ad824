//! A heap of mimalloc's for each request, made and destroyed with all its blocks.

use std::alloc::Layout;
use std::ptr::NonNull;

use allocator_api2::alloc::{AllocError, Allocator};
use libmimalloc_sys::{
    mi_free, mi_heap_destroy, mi_heap_malloc, mi_heap_malloc_aligned, mi_heap_new, mi_heap_t,
};

use super::region::{self, in_region};
use super::{Case, Role, request};

#[cfg(feature = "mimalloc-2")]
const NAME: &str = "mimalloc-2 heap";
#[cfg(not(feature = "mimalloc-2"))]
const NAME: &str = "mimalloc-3 heap";

/// What its `malloc` aligns to.
const ALIGN: usize = 16;

/// A heap that lives as long as this.
struct Heap(*mut mi_heap_t);

impl Heap {
    #[inline]
    fn new() -> Self {
        // SAFETY: It may be called at any time.
        let heap = unsafe { mi_heap_new() };
        assert!(!heap.is_null(), "memory for a heap");
        Self(heap)
    }

    #[inline(always)]
    fn block(&self, layout: Layout) -> Option<NonNull<u8>> {
        let block = match layout.align() {
            // SAFETY: The heap is not destroyed yet, and used by the thread that made it.
            ..=ALIGN => unsafe { mi_heap_malloc(self.0, layout.size()) },
            // SAFETY: As above.
            align => unsafe { mi_heap_malloc_aligned(self.0, layout.size(), align) },
        };
        NonNull::new(block.cast())
    }
}

impl Drop for Heap {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: None of its blocks is used again: they were borrowed from it, or are given up.
        unsafe { mi_heap_destroy(self.0) };
    }
}

// SAFETY: Its blocks stay where they are until they are freed, or until the heap is gone, which the
// reference outlives not.
unsafe impl Allocator for &Heap {
    #[inline(always)]
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        let block = self.block(layout).ok_or(AllocError)?;
        Ok(NonNull::slice_from_raw_parts(block, layout.size()))
    }

    #[inline(always)]
    unsafe fn deallocate(&self, block: NonNull<u8>, _layout: Layout) {
        // SAFETY: The caller gives the block up.
        unsafe { mi_free(block.as_ptr().cast()) };
    }
}

fn filled<const BLOCKS: usize>(iterations: u64) {
    for _ in 0..iterations {
        let heap = Heap::new();
        in_region::<BLOCKS>(|layout| heap.block(layout));
    }
}

/// The cases of the heaps.
pub fn cases() -> Vec<Case> {
    let case =
        |blocks, run| Case::new(region::name(blocks), NAME, Role::Other, run).of_blocks(100 + blocks as u64);
    vec![
        case(0, filled::<0>),
        case(10, filled::<10>),
        case(100, filled::<100>),
        request::region(NAME, Role::Other, |iterations| {
            for _ in 0..iterations {
                std::hint::black_box(request::answer(&Heap::new()));
            }
        }),
    ]
}
