//! A block that grows to 16 MiB, twice as large each time as a vector's does: how much a large
//! block costs to resize.

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;

use context_allocator::adapt::AllocatorAdaptor;
use context_allocator::source::{MmapOptions, PageKind, PageLadder};
use context_allocator::{MmapAllocator, MmapSource};

use super::{Case, Role, Tier};
use crate::block::layout_of;

const FIRST: usize = 64;
const LAST: usize = 16 << 20;
const PAGE: usize = 4096;

/// Grows a block by doubling, as `Vec` does, and writes what is new: a byte on each page, or only
/// the last byte.
#[inline(always)]
fn grow<G: GlobalAlloc>(allocator: &G, every_page: bool) {
    let of = |size| layout_of(size, 8);
    // SAFETY: The size is not zero.
    let mut block = black_box(unsafe { allocator.alloc(of(FIRST)) });
    let mut size = FIRST;
    while size < LAST {
        // SAFETY: The block was returned for this layout, and the new size is not zero.
        block = black_box(unsafe { allocator.realloc(block, of(size), 2 * size) });
        assert!(!block.is_null(), "memory for 16 MiB");
        let first = if every_page { size } else { 2 * size - 1 };
        for offset in (first..2 * size).step_by(PAGE) {
            // SAFETY: The offset is less than the size of the block.
            let byte = unsafe { block.add(offset) };
            // SAFETY: The byte lies in the block.
            unsafe { byte.write_volatile(1) };
        }
        size *= 2;
    }
    // SAFETY: The block was returned for this layout, and is not used again.
    unsafe { allocator.dealloc(block, of(size)) };
}

static OURS: AllocatorAdaptor<MmapAllocator> = AllocatorAdaptor::new(MmapAllocator::new());

static HUGE: AllocatorAdaptor<MmapAllocator<MmapSource<MmapOptions>>> = {
    let pages = PageLadder::only(PageKind::Transparent).or(PageKind::Base);
    AllocatorAdaptor::new(MmapAllocator::new_in(MmapSource::builder().pages(pages).build()))
};

// The thread tier's large objects: slices of the library's pool, and beyond 4 MiB maps that move.
context_allocator::switchable_allocator!(static SWITCH);

unsafe extern "C" {
    /// Of the GNU C library.
    safe fn mallopt(parameter: i32, value: i32) -> i32;
}

/// Has the system's allocator map every block from 128 KiB on, as it does at first. Left alone it
/// raises that border to the largest block freed so far, and then neither asks the kernel for such
/// memory nor gives it back. Each case is a process of its own.
fn keep_mapping() {
    const M_MMAP_THRESHOLD: i32 = -3;
    assert_eq!(mallopt(M_MMAP_THRESHOLD, 128 << 10), 1, "the C library takes the option");
}

/// The global allocator of the program, whichever that is.
struct Installed;

// SAFETY: The functions of `std::alloc` promise and demand what the trait does.
unsafe impl GlobalAlloc for Installed {
    #[inline(always)]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: The caller's promises.
        unsafe { std::alloc::alloc(layout) }
    }

    #[inline(always)]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: The caller's promises.
        unsafe { std::alloc::dealloc(block, layout) };
    }

    #[inline(always)]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: The caller's promises.
        unsafe { std::alloc::realloc(block, layout, size) }
    }
}

/// As much work as so many blocks.
const WEIGHT: u64 = 20_000;

/// The case on the global allocator.
pub fn cases<T: Tier>() -> Vec<Case> {
    let case = Case::new("vector grown to 16 MiB", T::NAME, T::ROLE, |times| {
        (0..times).for_each(|_| T::within(|| grow(&Installed, true)));
    });
    vec![case.of_blocks(WEIGHT).only_timed()]
}

/// The cases of memory maps, used directly.
pub fn mapped() -> Vec<Case> {
    // The pages are the same work for all of them; without them, what is left is the resizing.
    const TOUCHED: &str = "map grown to 16 MiB";
    const UNTOUCHED: &str = "map grown to 16 MiB, its pages not touched";
    const MAPPED: &str = "glibc, mapping each time";
    let case =
        |name, allocator, role, run| Case::new(name, allocator, role, run).of_blocks(WEIGHT).only_timed();
    vec![
        case(TOUCHED, "MmapAllocator", Role::Ours, |times| (0..times).for_each(|_| grow(&OURS, true))),
        case(TOUCHED, "MmapAllocator, huge pages", Role::Ours, |times| {
            (0..times).for_each(|_| grow(&HUGE, true));
        }),
        case(TOUCHED, "switchable", Role::Ours, |times| (0..times).for_each(|_| grow(&SWITCH, true))),
        case(TOUCHED, MAPPED, Role::Peer, |times| {
            keep_mapping();
            (0..times).for_each(|_| grow(&System, true));
        }),
        case(UNTOUCHED, "MmapAllocator", Role::Ours, |times| (0..times).for_each(|_| grow(&OURS, false))),
        case(UNTOUCHED, "switchable", Role::Ours, |times| (0..times).for_each(|_| grow(&SWITCH, false))),
        case(UNTOUCHED, MAPPED, Role::Peer, |times| {
            keep_mapping();
            (0..times).for_each(|_| grow(&System, false));
        }),
    ]
}
