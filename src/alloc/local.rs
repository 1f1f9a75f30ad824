//! What an allocator must have to sit in a tier.

use core::ptr::{NonNull, null_mut};

use super::{ResizeInPlace, ThreadCacheFor};
use crate::layout::NonZeroLayout;
use crate::source::MemorySource;

/// What an allocator that bumps needs for nearly every allocation and every free: the region that
/// it takes blocks from.
///
/// ```text
///   start              cursor                 end
///   +------------------+----------------------+- - - - -
///   | blocks           | free                 |
///   +------------------+----------------------+- - - - -
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Where the next block begins: a multiple of 8.
    pub cursor: *mut u8,
    /// No block that is taken here ends at this or behind it.
    pub end: *mut u8,
    /// Start of the region: from here to the cursor everything is the allocator's.
    pub start: *mut u8,
}

impl Window {
    /// Of an allocator without a region: nothing fits, and nothing lies in it.
    pub const EMPTY: Self = Self { cursor: null_mut(), end: null_mut(), start: null_mut() };
}

/// An allocator that can serve a tier of the switchable allocator: used by one thread at a time,
/// lazy, and buildable over any source.
///
/// A tier builds it over a source of its own, which records where the memory belongs and passes
/// requests on to the source that the user named.
///
/// # Safety
/// For the implementor, beyond [`Allocator`](super::Allocator) and [`ResizeInPlace`] (whose methods
/// may refuse always):
/// - [`new_in`](Self::new_in) obtains nothing; the first allocation does.
/// - Dropping the allocator releases every region it holds, whether or not blocks are still
///   allocated.
/// - Each region is released with the length that `obtain` returned for it.
/// - None of the methods unwinds, nor does dropping the allocator.
/// - After [`recycle`](Self::recycle) no block is allocated, and the allocator holds at most one
///   region.
/// - All memory of all blocks comes from the source, and each block lies in one region.
/// - With [`REUSES_BLOCKS`](Self::REUSES_BLOCKS), every block is at least 16 bytes at a multiple of
///   8, whatever was asked for.
/// - [`source`](Self::source) always gives the same source, and may be called from several threads
///   at once, if the source is `Sync`: it reads nothing that any other method changes.
/// - [`owns_at_hand`](Self::owns_at_hand) is `true` only for addresses in regions that the
///   allocator holds.
/// - With [`BUMPS`](Self::BUMPS), [`REUSES_BLOCKS`](Self::REUSES_BLOCKS) is false, regions are
///   asked for at an alignment of at most 16, the window's start is that of a region, and between
///   two calls whoever uses the allocator may do what follows with a copy of its
///   [`window`](Self::window), and then [set the cursor](Self::set_cursor) before the next call:
///   take a block at the cursor for a layout aligned to at most 8 bytes, by moving the cursor up by
///   the size rounded up to a multiple of 8, if that is below the end; give back the block that
///   ends at the cursor, so rounded, by moving the cursor down to it; give back any other block by
///   doing nothing. That is as if [`allocate`](super::Allocator::allocate) and
///   [`deallocate`](super::Allocator::deallocate) had been called.
/// - It may be sent to another thread between two calls, though its source stays shared with other
///   threads.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot serve a tier of the switchable allocator",
    label = "not a `LocalAllocator`",
    note = "a tier is served by a `LocalAllocator`, such as `BumpAllocator<ArenaSource<MmapSource>>`",
    note = "an allocator that is `Sync`, or a `GlobalAlloc`, belongs in the global tier: `.global_tier(...)`",
    note = "`NoTier` stands for a tier that was left out: name an allocator for it in the type of the static and in the \
            builder (`.coroutine_tier(allocator)`, `.thread_tier(allocator)`), or do without this call"
)]
pub unsafe trait LocalAllocator: ResizeInPlace + Send + Sized {
    /// The source of its regions.
    type Source: MemorySource;

    /// The same allocator over another source.
    type WithSource<S: MemorySource + Send>: LocalAllocator<Source = S>;

    /// What a thread of the thread tier keeps in static storage for the allocator of its heap;
    /// [`NoThreadCache`](super::NoThreadCache) for nothing.
    type Cache: ThreadCacheFor<Self>;

    /// Whether a freed block is used again. If so, blocks freed on other threads are collected and
    /// given back to the allocator; if not, they are only counted.
    const REUSES_BLOCKS: bool;

    /// The largest size or alignment in bytes that the allocator serves; a tier sends larger
    /// requests elsewhere.
    const LARGEST: usize;

    /// An allocator over `source`, which holds nothing yet.
    fn new_in(source: Self::Source) -> Self;

    /// The source that the allocator was made over.
    fn source(&self) -> &Self::Source;

    /// Allocates from memory that the allocator holds already; `None` if that takes more than a few
    /// instructions, for whatever reason.
    ///
    /// This is the fast path: it should be short, and inlined.
    fn allocate_at_hand(&self, layout: NonZeroLayout) -> Option<NonNull<u8>>;

    /// Whether the address lies in memory of this allocator, as far as a few instructions can tell:
    /// `false` if it takes more.
    ///
    /// The switch trusts a `true`, which spares the look-up in the page map. The default is never
    /// to tell.
    #[inline(always)]
    fn owns_at_hand(&self, address: NonNull<u8>) -> bool {
        let _ = address;
        false
    }

    /// Whether blocks are taken from a [`window`](Self::window).
    const BUMPS: bool = false;

    /// Where the next blocks are taken from.
    #[inline(always)]
    fn window(&self) -> Window {
        Window::EMPTY
    }

    /// Moves the cursor of the [`window`](Self::window).
    ///
    /// # Safety
    /// [`BUMPS`](Self::BUMPS) is true, and the cursor was moved as is said [above](Self) since the
    /// last call.
    #[inline(always)]
    unsafe fn set_cursor(&self, cursor: *mut u8) {
        let _ = cursor;
    }

    /// Moves the cursor of the [`window`](Self::window) back to where the region's first block
    /// begins.
    ///
    /// # Safety
    /// [`BUMPS`](Self::BUMPS) is true, and no block in the window is allocated.
    unsafe fn restart_window(&self) {}

    /// Releases the region that begins at `start`, as the window of it did.
    ///
    /// # Safety
    /// [`BUMPS`](Self::BUMPS) is true, the allocator holds the region, and no block in it is
    /// allocated.
    unsafe fn release_region(&self, start: NonNull<u8>) {
        let _ = start;
    }

    /// Makes the allocator as good as new, but for one region that it may keep.
    fn recycle(&mut self);

    /// As [`recycle`](Self::recycle), if that takes a few instructions; otherwise `false`, and
    /// nothing changed. The default is never to do it.
    #[inline(always)]
    fn recycle_at_hand(&mut self) -> bool {
        false
    }
}
