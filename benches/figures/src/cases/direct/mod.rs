//! Allocators that are used directly, each over one region of its own.

mod batch;
mod blocks;
mod churn;
pub mod efficiency;
mod floor;
mod little;
mod ours;
mod peers;
mod walking;
mod worst;

use std::alloc::Layout;
use std::ptr::NonNull;

use context_allocator::{MemorySource, MmapSource, NonZeroLayout};

use super::{Case, Role};
use crate::block::{check, mark};

/// An allocator over one region.
pub trait Direct: Sized {
    /// What it is called.
    const NAME: &'static str;
    /// What it is in a comparison.
    const ROLE: Role;

    /// One over this region.
    ///
    /// # Safety
    /// For as long as the allocator is used, the region is readable and writable and nobody else
    /// uses it.
    unsafe fn over(region: NonNull<[u8]>) -> Self;

    /// A block.
    fn allocate(&mut self, layout: Layout) -> Option<NonNull<u8>>;

    /// Gives a block back.
    ///
    /// # Safety
    /// `allocate` gave it, with this layout, and it is not used again.
    unsafe fn free(&mut self, block: NonNull<u8>, layout: Layout);
}

/// Runs `f` with an allocator over a region of so many bytes, which starts at a multiple of its
/// length.
fn over_region<D: Direct, R>(bytes: usize, f: impl FnOnce(&mut D) -> R) -> R {
    let layout = NonZeroLayout::from_size_align(bytes, bytes).expect("a power of two");
    let source = MmapSource::new();
    let region = source.obtain(layout).expect("address space");
    // SAFETY: The region was just obtained, and is released after the allocator is gone.
    let mut allocator = unsafe { D::over(region) };
    let result = f(&mut allocator);
    drop(allocator);
    // SAFETY: Obtained above with this layout; the allocator that used it is gone.
    unsafe { source.release(region, layout) };
    result
}

/// A block that is live, with its layout.
type Live = (NonNull<u8>, Layout);

/// Allocates a block and writes both its ends.
#[inline(always)]
fn take<D: Direct>(allocator: &mut D, layout: Layout) -> Option<Live> {
    let block = allocator.allocate(layout)?;
    // SAFETY: It was just allocated.
    Some((unsafe { mark(block, layout.size()) }, layout))
}

/// Checks both ends of a block and frees it.
///
/// # Safety
/// [`take`] gave it from this allocator, and it is not used again.
#[inline(always)]
unsafe fn give<D: Direct>(allocator: &mut D, (block, layout): Live) {
    // SAFETY: `take` marked it.
    unsafe { check(block, layout.size()) };
    // SAFETY: `take` allocated it, and the caller gives it up.
    unsafe { allocator.free(block, layout) };
}

/// Allocates until there is no room for what `next` asks for.
fn fill<D: Direct>(allocator: &mut D, mut next: impl FnMut() -> Layout) -> Vec<Live> {
    let mut live = Vec::new();
    while let Some(block) = take(allocator, next()) {
        live.push(block);
    }
    live
}

/// Frees blocks at random until so many are left.
fn thin<D: Direct>(allocator: &mut D, live: &mut Vec<Live>, left: usize, random: &mut fastrand::Rng) {
    while live.len() > left {
        let block = live.swap_remove(random.usize(..live.len()));
        // SAFETY: It comes from this allocator, and was just taken out of the list.
        unsafe { give(allocator, block) };
    }
}

/// The cases of all allocators.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    ours::cases(&mut cases);
    peers::cases(&mut cases);
    cases
}

/// The cases of one that serves blocks of one size.
fn of_blocks<D: Direct>(cases: &mut Vec<Case>) {
    cases.extend(blocks::cases::<D>());
    cases.extend(batch::cases::<D>());
    cases.push(worst::case::<D>());
}

/// The cases of one that serves any size.
fn of_any_size<D: Direct>(cases: &mut Vec<Case>) {
    cases.extend(churn::cases::<D>());
}

/// The cases in which little is live.
fn of_little<D: Direct>(cases: &mut Vec<Case>) {
    cases.extend(little::cases::<D>());
}
