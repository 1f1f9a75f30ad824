//! Other libraries' allocators over a region.

use std::alloc::Layout;
use std::ptr::NonNull;

use super::floor::Floor;
use super::walking::{LinkedList, Stalloc};
use super::{Case, Direct, Role, of_any_size, of_blocks, of_little};

/// talc's, with its default bins.
struct Talc(talc::TalcCell<talc::source::Manual>);

impl Direct for Talc {
    const NAME: &'static str = "talc";
    const ROLE: Role = Role::Peer;

    unsafe fn over(region: NonNull<[u8]>) -> Self {
        let talc = talc::TalcCell::new(talc::source::Manual);
        // SAFETY: The region is the allocator's alone, as the caller promises.
        unsafe { talc.claim(region.cast().as_ptr(), region.len()) }.expect("the region holds its tables");
        Self(talc)
    }

    #[inline(always)]
    fn allocate(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        // SAFETY: No layout here is of 0 bytes.
        unsafe { self.0.get_mut().allocate(layout) }
    }

    #[inline(always)]
    unsafe fn free(&mut self, block: NonNull<u8>, layout: Layout) {
        // SAFETY: The caller's promises.
        unsafe { self.0.get_mut().deallocate(block.as_ptr(), layout) };
    }
}

/// rlsf's, with the sizes of lists that its documentation uses for large pools.
struct Rlsf(rlsf::Tlsf<'static, u32, u32, 28, 32>);

impl Direct for Rlsf {
    const NAME: &'static str = "rlsf";
    const ROLE: Role = Role::Peer;

    unsafe fn over(region: NonNull<[u8]>) -> Self {
        let mut tlsf = rlsf::Tlsf::new();
        // SAFETY: The region is the allocator's alone, as the caller promises.
        unsafe { tlsf.insert_free_block_ptr(region) }.expect("the region is large enough");
        Self(tlsf)
    }

    #[inline(always)]
    fn allocate(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        self.0.allocate(layout)
    }

    #[inline(always)]
    unsafe fn free(&mut self, block: NonNull<u8>, layout: Layout) {
        // SAFETY: The caller's promises.
        unsafe { self.0.deallocate(block, layout.align()) };
    }
}

/// That of buddy_system_allocator. It walks its lists on each free, so that it is left out where
/// time is measured.
struct Buddy(buddy_system_allocator::Heap<34>);

impl Direct for Buddy {
    const NAME: &'static str = "buddy_system_allocator";
    const ROLE: Role = Role::Peer;

    unsafe fn over(region: NonNull<[u8]>) -> Self {
        let mut heap = buddy_system_allocator::Heap::empty();
        // SAFETY: The region is the allocator's alone, as the caller promises.
        unsafe { heap.init(region.cast::<u8>().as_ptr().expose_provenance(), region.len()) };
        Self(heap)
    }

    #[inline(always)]
    fn allocate(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        self.0.alloc(layout).ok()
    }

    #[inline(always)]
    unsafe fn free(&mut self, block: NonNull<u8>, layout: Layout) {
        // SAFETY: The caller's promises.
        unsafe { self.0.dealloc(block, layout) };
    }
}

/// The cases.
pub fn cases(cases: &mut Vec<Case>) {
    of_blocks::<Talc>(cases);
    of_any_size::<Talc>(cases);
    of_blocks::<Rlsf>(cases);
    of_any_size::<Rlsf>(cases);
    of_blocks::<Floor>(cases);
    of_any_size::<Floor>(cases);
    of_little::<Talc>(cases);
    of_little::<Rlsf>(cases);
    of_little::<Floor>(cases);
    of_little::<LinkedList>(cases);
    of_little::<Stalloc>(cases);
}

/// The share of a region that each fills.
pub fn efficiency(print: &mut impl FnMut(super::efficiency::Share)) {
    print(super::efficiency::of::<Talc>());
    print(super::efficiency::of::<Rlsf>());
    print(super::efficiency::of::<Buddy>());
}
