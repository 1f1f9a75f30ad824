//! Other libraries' allocators that walk a list of free ranges: measured only where little is live,
//! since more would take minutes.

use std::alloc::Layout;
use std::ptr::NonNull;

use super::{Direct, Role};

/// That of linked_list_allocator.
pub struct LinkedList(linked_list_allocator::Heap);

impl Direct for LinkedList {
    const NAME: &'static str = "linked_list_allocator";
    const ROLE: Role = Role::Peer;

    unsafe fn over(region: NonNull<[u8]>) -> Self {
        let mut heap = linked_list_allocator::Heap::empty();
        // SAFETY: The region is the allocator's alone, as the caller promises.
        unsafe { heap.init(region.cast().as_ptr(), region.len()) };
        Self(heap)
    }

    #[inline(always)]
    fn allocate(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        self.0.allocate_first_fit(layout).ok()
    }

    #[inline(always)]
    unsafe fn free(&mut self, block: NonNull<u8>, layout: Layout) {
        // SAFETY: The caller's promises.
        unsafe { self.0.deallocate(block, layout) };
    }
}

/// Bytes of a block of stalloc's.
const BLOCK: usize = 16;
/// As many as it can have.
const BLOCKS: usize = 0xffff;

/// stalloc's, which has its memory inside: 1 MiB.
pub struct Stalloc(NonNull<stalloc::Stalloc<BLOCKS, BLOCK>>);

impl Direct for Stalloc {
    const NAME: &'static str = "stalloc";
    const ROLE: Role = Role::Peer;

    unsafe fn over(region: NonNull<[u8]>) -> Self {
        assert!(size_of::<stalloc::Stalloc<BLOCKS, BLOCK>>() <= region.len(), "the region is too small");
        let place = region.cast();
        // SAFETY: The region is the allocator's alone, large enough, and aligned to its length.
        unsafe { place.write(stalloc::Stalloc::new()) };
        Self(place)
    }

    #[inline(always)]
    fn allocate(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        // SAFETY: It was written into the region, which lives as long as this.
        let stalloc = unsafe { self.0.as_ref() };
        let (blocks, align) = (layout.size().div_ceil(BLOCK), layout.align().div_ceil(BLOCK));
        // SAFETY: At least one block is asked for, and the alignment is a power of two.
        unsafe { stalloc.allocate_blocks(blocks, align) }.ok()
    }

    #[inline(always)]
    unsafe fn free(&mut self, block: NonNull<u8>, layout: Layout) {
        // SAFETY: As in `allocate`.
        let stalloc = unsafe { self.0.as_ref() };
        // SAFETY: The caller's promises; as many blocks were asked for.
        unsafe { stalloc.deallocate_blocks(block, layout.size().div_ceil(BLOCK)) };
    }
}
