//! The thread tier's allocator without the switch: behind two functions that are called as the
//! global allocator's are, and inlined where it is used.

use std::ptr::NonNull;

use context_allocator::alloc::SizeClassAllocator;
use context_allocator::{Allocator, ArenaSource, MmapSource, NonZeroLayout, size};

use super::{Case, Role};
use crate::block::{check, layout, mark};

type Classes = SizeClassAllocator<ArenaSource<MmapSource, size::U262144, size::U4194304>>;

#[inline(never)]
fn allocate(allocator: &Classes, layout: NonZeroLayout) -> Option<NonNull<u8>> {
    allocator.allocate(layout).ok().map(NonNull::cast)
}

/// # Safety
/// As [`Allocator::deallocate`].
#[inline(never)]
unsafe fn free(allocator: &Classes, block: NonNull<u8>, layout: NonZeroLayout) {
    // SAFETY: The caller's promises.
    unsafe { allocator.deallocate(block, layout) };
}

fn pairs<const SIZE: usize>(iterations: u64) {
    // SAFETY: `free` asks for what `deallocate` does.
    pairs_by::<SIZE>(iterations, allocate, |allocator, block, layout| unsafe {
        free(allocator, block, layout)
    });
}

fn inlined<const SIZE: usize>(iterations: u64) {
    pairs_by::<SIZE>(
        iterations,
        |allocator, layout| allocator.allocate(layout).ok().map(NonNull::cast),
        // SAFETY: The caller's promises are those that are asked for.
        |allocator, block, layout| unsafe { allocator.deallocate(block, layout) },
    );
}

/// Allocates and frees; `free` is called with each block once, and with its layout.
#[inline(always)]
fn pairs_by<const SIZE: usize>(
    iterations: u64,
    allocate: impl Fn(&Classes, NonZeroLayout) -> Option<NonNull<u8>>,
    free: impl Fn(&Classes, NonNull<u8>, NonZeroLayout),
) {
    let allocator = Classes::new(ArenaSource::new_in(MmapSource::new()));
    let layout = NonZeroLayout::new(layout::<SIZE>()).expect("a size");
    for _ in 0..iterations {
        let block = allocate(&allocator, layout).expect("memory");
        // SAFETY: It was just allocated.
        let block = unsafe { mark(block, SIZE) };
        // SAFETY: It was just marked.
        unsafe { check(block, SIZE) };
        free(&allocator, block, layout);
    }
}

/// Its name in the tables, behind functions.
pub const NAME: &str = "SizeClassAllocator, no switch";
/// Its name where it is inlined.
pub const INLINED: &str = "SizeClassAllocator, inlined";

/// The cases.
pub fn cases() -> Vec<Case> {
    let case = |size: usize, run| Case::new(format!("pair, {size} B"), NAME, Role::Other, run);
    vec![
        case(16, pairs::<16>),
        case(64, pairs::<64>),
        case(256, pairs::<256>),
        case(1024, pairs::<1024>),
        Case::new("pair, 64 B", INLINED, Role::Other, inlined::<64>),
    ]
}
