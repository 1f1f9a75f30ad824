//! Blocks that are used: written at both ends, and read back before they are freed.

use std::alloc::Layout;
use std::hint::black_box;
use std::ops::RangeInclusive;
use std::ptr::NonNull;

const FIRST: u8 = 0x5a;
const LAST: u8 = 0xa5;

/// Writes both ends of a block, and hides from the compiler where it is.
///
/// # Safety
/// The block may be written, and has `size` bytes.
#[inline(always)]
pub unsafe fn mark(block: NonNull<u8>, size: usize) -> NonNull<u8> {
    // SAFETY: The block has a byte, which may be written.
    unsafe { block.write(FIRST) };
    // SAFETY: The block has `size` bytes, and that is not 0.
    let last = unsafe { block.add(size - 1) };
    // SAFETY: As above.
    unsafe { last.write(LAST) };
    black_box(block)
}

/// Reads both ends back.
///
/// # Safety
/// [`mark`] wrote the block, with the same size.
#[inline(always)]
pub unsafe fn check(block: NonNull<u8>, size: usize) {
    // SAFETY: The block was written.
    let first = unsafe { block.read() };
    // SAFETY: The block has `size` bytes, and that is not 0.
    let last = unsafe { block.add(size - 1) };
    // SAFETY: As above.
    let last = unsafe { last.read() };
    if first != FIRST || last != LAST {
        damaged();
    }
}

#[cold]
#[inline(never)]
fn damaged() -> ! {
    eprintln!("a block does not hold what was written to it");
    std::process::abort()
}

/// Allocates a block from the global allocator and marks it.
#[inline(always)]
pub fn take(layout: Layout) -> NonNull<u8> {
    // SAFETY: No layout here is of 0 bytes.
    let block = unsafe { std::alloc::alloc(layout) };
    let Some(block) = NonNull::new(block) else { std::alloc::handle_alloc_error(layout) };
    // SAFETY: It was just allocated.
    unsafe { mark(block, layout.size()) }
}

/// Checks a block and frees it.
///
/// # Safety
/// [`take`] gave it, with the same layout, and it is not used again.
#[inline(always)]
pub unsafe fn give(block: NonNull<u8>, layout: Layout) {
    // SAFETY: `take` marked it.
    unsafe { check(block, layout.size()) };
    // SAFETY: `take` allocated it, and the caller gives it up.
    unsafe { std::alloc::dealloc(block.as_ptr(), layout) };
}

/// The layout of `SIZE` bytes as most values have it.
pub const fn layout<const SIZE: usize>() -> Layout {
    match Layout::from_size_align(SIZE, 8) {
        Ok(layout) => layout,
        Err(_) => panic!("not a layout"),
    }
}

/// The layout of so many bytes at a multiple of `align`.
pub fn layout_of(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).expect("a layout")
}

/// Layouts of sizes drawn at random.
pub fn random_layouts<const COUNT: usize>(
    random: &mut fastrand::Rng,
    sizes: RangeInclusive<usize>,
) -> [Layout; COUNT] {
    std::array::from_fn(|_| layout_of(random.usize(sizes.clone()), 8))
}

/// A block of the global allocator with its layout, in 16 bytes.
#[derive(Clone, Copy)]
pub struct Live {
    block: NonNull<u8>,
    size: u32,
}

// SAFETY: Whoever holds it may free the block, on any thread.
unsafe impl Send for Live {}

impl Live {
    /// Allocates a block and marks it. The layout is aligned to 8.
    #[inline(always)]
    pub fn take(layout: Layout) -> Self {
        Self { block: take(layout), size: layout.size() as u32 }
    }

    /// Where the block is.
    pub fn address(&self) -> usize {
        self.block.addr().get()
    }

    /// Checks the block and frees it.
    ///
    /// # Safety
    /// It is not used again, nor any copy of it.
    #[inline(always)]
    pub unsafe fn give(&self) {
        // SAFETY: A block was allocated with this layout.
        let layout = unsafe { Layout::from_size_align_unchecked(self.size as usize, 8) };
        // SAFETY: `take` gave it with this layout, and the caller gives it up.
        unsafe { give(self.block, layout) };
    }
}
