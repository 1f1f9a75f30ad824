//! Each block a region of its own.
//!
//! ```text
//!   block = region
//!   +----------------------+----------+
//!   | what was asked for   | the rest |   whole pages, from a source of memory maps
//!   +----------------------+----------+
//! ```
//!
//! There is no state beside the source: a block's length is not written down anywhere, because
//! `MemorySource::release` takes any size between the one asked for and the one returned, and that
//! is what the layout at free is. So blocks may be freed and resized by any thread, as far as the
//! source allows.

use core::ptr::NonNull;

use super::{Allocator, relocate, relocate_zeroed};
use crate::error::AllocError;
use crate::layout::NonZeroLayout;
use crate::ptr;
use crate::source::request;
use crate::source::{MemorySource, MmapSource};
use crate::source::{Obtained, Remapped};

/// An allocator that obtains a region for each block, and releases it with the block.
///
/// For large blocks: with [`MmapSource`] each one takes whole pages and a system call or two, grows
/// and shrinks by `mremap`, which moves pages and copies nothing, and leaves nothing behind when it
/// is freed. All options of the source hold for each block: its NUMA policy, its kinds of pages,
/// its guards. Over a source that cannot [`remap`](MemorySource::remap) its regions (and over huge
/// pages of the pool), what is resized is copied.
///
/// It keeps no list of its blocks, so it is [`Sync`] where its source is, `Copy` likewise, and lets
/// go of nothing when it is dropped. For the same reason it is no
/// [`LocalAllocator`](crate::alloc::LocalAllocator), which must give back every region however many
/// blocks are alive: in the switchable allocator it can be the global tier
/// (`.global_tier_allocator(MmapAllocator::new())`), and large blocks of the other tiers have maps
/// of their own already.
///
/// # Held memory
/// What is live, each block rounded up to what the source gives: whole pages of memory maps.
///
/// # Examples
/// ```
/// use context_allocator::{Allocator, MmapAllocator, NonZeroLayout};
///
/// static LARGE: MmapAllocator = MmapAllocator::new();
///
/// let layout = NonZeroLayout::from_size_align(1 << 20, 8)?;
/// let block = LARGE.allocate(layout)?;
/// let larger = layout.with_size(1 << 24)?;
/// // SAFETY: The block was just allocated here with this layout.
/// let block = unsafe { LARGE.grow(block.cast(), layout, larger) }?;
/// assert_eq!(block.len(), 1 << 24);
/// // SAFETY: The block was just returned for `larger`, and is not used again.
/// unsafe { LARGE.deallocate(block.cast(), larger) };
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Placed on the node of the thread, as the memory of any collection that takes an allocator (here
/// by `GlobalAlloc`):
/// ```
/// use std::alloc::{GlobalAlloc, Layout};
/// use context_allocator::{Allocator, MmapAllocator, MmapSource};
/// use context_allocator::source::{NodeSet, NumaPolicy};
///
/// let near = NodeSet::current().map_or(NumaPolicy::LOCAL, NumaPolicy::bind);
/// let source = MmapSource::builder().numa(near.or_default()).build();
/// let table = MmapAllocator::new_in(source).adapt();
/// let layout = Layout::new::<[u64; 100_000]>();
/// // SAFETY: The layout has a size.
/// let block = unsafe { table.alloc_zeroed(layout) };
/// assert!(!block.is_null());
/// // SAFETY: The block was just allocated there with this layout.
/// unsafe { table.dealloc(block, layout) };
/// ```
#[doc(alias = "MemoryMapAllocator")]
#[derive(Clone, Copy, Debug, Default)]
pub struct MmapAllocator<S = MmapSource> {
    source: S,
}

impl MmapAllocator {
    /// An allocator of plain maps.
    #[must_use]
    pub const fn new() -> Self {
        Self::new_in(MmapSource::new())
    }
}

impl<S: MemorySource> MmapAllocator<S> {
    /// An allocator of regions of `source`.
    pub const fn new_in(source: S) -> Self {
        Self { source }
    }

    /// The source.
    pub const fn source(&self) -> &S {
        &self.source
    }

    /// Has the source resize the region without copying.
    ///
    /// # Safety
    /// As [`Allocator::grow`] or [`Allocator::shrink`].
    unsafe fn remap(&self, block: NonNull<u8>, old: NonZeroLayout, new: NonZeroLayout) -> Option<Remapped> {
        let region = ptr::bytes(block, old.size());
        // SAFETY: The block is a region that the source holds, and `old` fits both alike, as the
        // caller promises.
        unsafe { self.source.remap(region, old, new) }.ok()
    }

    /// Resizes without copying where the source can, by copying where not.
    ///
    /// # Safety
    /// As [`Allocator::grow`] or [`Allocator::shrink`].
    unsafe fn resize(
        &self,
        block: NonNull<u8>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        // SAFETY: The block is allocated here, and `old` fits it, as `grow` and `shrink` ask.
        match unsafe { self.remap(block, old, new) } {
            Some(remapped) => Ok(remapped.region),
            // SAFETY: The caller's promises; the failed call changed nothing.
            None => unsafe { relocate(self, block, old, new) },
        }
    }
}

// SAFETY: A block is a region that the source gave for that layout, and vouches for; it is held
// until it is released or remapped. A clone has a clone of the source, which is the same source.
// Errors are the source's, which change nothing.
unsafe impl<S: MemorySource> Allocator for MmapAllocator<S> {
    fn allocate(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, AllocError> {
        Ok(request::obtain(&self.source, layout)?)
    }

    unsafe fn deallocate(&self, block: NonNull<u8>, layout: NonZeroLayout) {
        // SAFETY: The block is a region that the source holds, nobody uses it any more, and the
        // layout fits, so that its size lies between what was asked for and what was returned.
        unsafe { self.source.release(ptr::bytes(block, layout.size()), layout) };
    }

    fn allocate_zeroed(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, AllocError> {
        let Obtained { region, zeroed } = request::obtain_between(&self.source, layout, layout.size())?;
        if !zeroed {
            // SAFETY: The whole region was just obtained, so it is writable.
            unsafe { region.cast::<u8>().write_bytes(0, region.len()) };
        }
        Ok(region)
    }

    unsafe fn grow(
        &self,
        block: NonNull<u8>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        // SAFETY: The block is allocated here, and `old` fits it, as `grow` and `shrink` ask.
        unsafe { self.resize(block, old, new) }
    }

    unsafe fn grow_zeroed(
        &self,
        block: NonNull<u8>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        // SAFETY: The block is allocated here, and `old` fits it, as `grow` and `shrink` ask.
        let Some(Remapped { region: grown, kept, zeroed }) = (unsafe { self.remap(block, old, new) }) else {
            // SAFETY: The caller's promises; the failed call changed nothing.
            return unsafe { relocate_zeroed(self, block, old, new) };
        };
        // Pages that nobody wrote to are not touched.
        let dirty = if zeroed { kept } else { grown.len() };
        // SAFETY: The block is at least `new.size()` bytes, which is at least `old.size()`.
        let tail = unsafe { grown.cast::<u8>().add(old.size()) };
        // SAFETY: What is kept of a region is at least what was asked for and at most its length
        // now.
        unsafe { tail.write_bytes(0, dirty - old.size()) };
        Ok(grown)
    }

    unsafe fn shrink(
        &self,
        block: NonNull<u8>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        // SAFETY: The block is allocated here, and `old` fits it, as `grow` and `shrink` ask.
        unsafe { self.resize(block, old, new) }
    }

    unsafe fn before_fork(&self) {
        // SAFETY: The caller's promises, for the source.
        unsafe { self.source.before_fork() };
    }

    unsafe fn after_fork(&self) {
        // SAFETY: The call that the caller promises went to the source.
        unsafe { self.source.after_fork() };
    }
}
