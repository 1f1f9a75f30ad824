//! What an allocator must have to sit in a tier.

use core::ptr::NonNull;

use super::{Front, ResizeInPlace};
use crate::{AllocError, MemorySource, NonZeroLayout};

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
/// - With [`SLABS`](Self::SLABS), every region is asked for with a size that is a power of two of
///   at least 4 KiB and an alignment equal to the size; the first 16 bytes of what is returned are
///   never touched, and no block covers them.
/// - With a [`Front`] that is present: `SLABS` and `REUSES_BLOCKS` are true; what the front gives
///   are blocks of the allocator that uses it, as if [`allocate`](super::Allocator::allocate) had
///   given them; after [`leave`](Self::leave) the front takes and gives nothing, and the sum of all
///   that [`counted`](Self::counted) gave since the allocator was made or recycled is the number of
///   blocks allocated.
/// - [`owns_at_hand`](Self::owns_at_hand) is `true` only for addresses in regions that the
///   allocator holds.
/// - It may be sent to another thread between two calls, though its source stays shared with other
///   threads.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot serve a tier of the switchable allocator",
    label = "not a `LocalAllocator`",
    note = "a tier is served by a `LocalAllocator`, such as `BumpAllocator<ArenaSource<MmapSource>>`",
    note = "an allocator that is `Sync`, or a `GlobalAlloc`, belongs in the global tier: `.global_tier(...)`"
)]
pub unsafe trait LocalAllocator: ResizeInPlace + Send + Sized {
    /// The source of its regions.
    type Source: MemorySource;

    /// The same allocator over another source.
    type WithSource<S: MemorySource + Send>: LocalAllocator<Source = S, Front = Self::Front>;

    /// What it keeps near its thread in the thread tier; [`NoFront`](super::NoFront) for nothing.
    type Front: Front;

    /// Whether a freed block is used again. If so, blocks freed on other threads are brought back
    /// to it; if not, they are only counted.
    const REUSES_BLOCKS: bool;

    /// The largest size or alignment in bytes that it serves; a tier sends larger requests
    /// elsewhere.
    const LARGEST: usize;

    /// Whether its regions are slabs, in which the tier finds room for 16 bytes of its own; see
    /// above.
    const SLABS: bool = false;

    /// An allocator over `source`, which holds nothing yet.
    fn new_in(source: Self::Source) -> Self;

    /// The source that it was made over.
    fn source(&self) -> &Self::Source;

    /// Allocates from memory that it holds already; `None` where that does not do, whatever the
    /// reason.
    ///
    /// This is the fast path: it should be short, and inlined.
    fn allocate_at_hand(&self, layout: NonZeroLayout) -> Option<NonNull<u8>>;

    /// Whether the address lies in memory of this allocator, as far as a few instructions can tell:
    /// `false` where it would take more.
    ///
    /// Routing trusts a `true`, which spares the look-up of the owner. The default is never to
    /// tell.
    #[inline(always)]
    fn owns_at_hand(&self, address: NonNull<u8>) -> bool {
        let _ = address;
        false
    }

    /// Makes the allocator as good as new, but for one region that it may keep.
    fn recycle(&mut self);

    /// Gives a block back, as [`deallocate`](super::Allocator::deallocate). With
    /// [`SLABS`](Self::SLABS), `region` is the start of the region that the block lies in, and may
    /// access all of it; otherwise it says nothing.
    ///
    /// # Safety
    /// As `deallocate`; `region` is as above.
    #[inline(always)]
    unsafe fn deallocate_in(&self, region: NonNull<u8>, block: NonNull<u8>, layout: NonZeroLayout) {
        let _ = region;
        // SAFETY: The caller's promises.
        unsafe { self.deallocate(block, layout) };
    }

    /// Allocates where [`Front::pop`] gave nothing, from what the front has for other layouts; null
    /// where it has nothing.
    ///
    /// # Safety
    /// As [`Front::pop`].
    unsafe fn allocate_from(front: &Self::Front, layout: NonZeroLayout) -> *mut u8 {
        let _ = (front, layout);
        core::ptr::null_mut()
    }

    /// Allocates, and fills the front.
    ///
    /// # Errors
    /// As [`allocate`](super::Allocator::allocate).
    ///
    /// # Safety
    /// This allocator uses the front, and none else, as [`Front`] says.
    unsafe fn allocate_through(
        &self,
        front: &Self::Front,
        layout: NonZeroLayout,
    ) -> Result<NonNull<u8>, AllocError> {
        let _ = front;
        self.allocate(layout).map(NonNull::cast)
    }

    /// Gives a block of this allocator back that the front did not take, and lets the front know
    /// its kind.
    ///
    /// # Safety
    /// As [`deallocate_in`](Self::deallocate_in) and [`allocate_through`](Self::allocate_through).
    unsafe fn deallocate_through(
        &self,
        front: &Self::Front,
        region: NonNull<u8>,
        block: NonNull<u8>,
        layout: NonZeroLayout,
    ) {
        let _ = front;
        // SAFETY: The caller's promises.
        unsafe { self.deallocate_in(region, block, layout) };
    }

    /// Is told what [`Pushed::Tell`](super::Pushed::Tell) said.
    ///
    /// # Safety
    /// As [`allocate_through`](Self::allocate_through); and the front said that in its last call of
    /// `push`.
    unsafe fn tell(&self, front: &Self::Front, what: NonNull<()>) {
        let _ = (front, what);
    }

    /// Takes everything back from the front: its thread stops using this allocator, or wants to
    /// know what is allocated.
    ///
    /// # Safety
    /// As [`allocate_through`](Self::allocate_through).
    unsafe fn leave(&self, front: &Self::Front) {
        let _ = front;
    }

    /// How many blocks more than at the last call are in use or at hand in the front, as far as the
    /// allocator knows: 0 if it does not count.
    fn counted(&self) -> isize {
        0
    }
}
