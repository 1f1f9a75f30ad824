//! What could be reached by doing less.

use std::alloc::Layout;
use std::marker::PhantomData;
use std::ptr::NonNull;

use super::{Direct, Role};

/// The best that could be: a list of free blocks for each 16 bytes of size, which never coalesces
/// and never gives back.
pub struct Floor {
    lists: Vec<Option<NonNull<Option<NonNull<u8>>>>>,
    rest: NonNull<u8>,
    left: usize,
    region: PhantomData<*mut u8>,
}

impl Direct for Floor {
    const NAME: &'static str = "(free lists that never coalesce)";
    const ROLE: Role = Role::Other;

    unsafe fn over(region: NonNull<[u8]>) -> Self {
        Self { lists: vec![None; 257], rest: region.cast(), left: region.len(), region: PhantomData }
    }

    #[inline(always)]
    fn allocate(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        let class = layout.size().div_ceil(16);
        let list = self.lists.get_mut(class)?;
        if let Some(first) = *list {
            // SAFETY: A block in the list holds a link to the next.
            let next = unsafe { first.read() };
            *list = next.map(NonNull::cast);
            return Some(first.cast());
        }
        let bytes = class * 16;
        self.left = self.left.checked_sub(bytes)?;
        let block = self.rest;
        // SAFETY: That many bytes were left.
        self.rest = unsafe { block.add(bytes) };
        Some(block)
    }

    #[inline(always)]
    unsafe fn free(&mut self, block: NonNull<u8>, layout: Layout) {
        let class = layout.size().div_ceil(16);
        let block = block.cast::<Option<NonNull<u8>>>();
        // SAFETY: The block is free, and has room for a link.
        unsafe { block.write(self.lists[class].map(NonNull::cast)) };
        self.lists[class] = Some(block);
    }
}
