//! Where memory comes from.
//!
//! A [`MemorySource`] gives *regions*: ranges of bytes that belong to whoever obtained them until they are
//! released. Allocators cut regions into blocks. Terms that every contract here uses:
//!
//! - A region is **held** from the `obtain` that returned it to the `release` that gives it back.
//! - `region` and `layout` **fit** a held region where `region` starts where the region starts, `layout` has the
//!   alignment that was asked for, and both `region.len()` and `layout.size()` lie between the size that was
//!   asked for and the length that was returned.

mod arena;
mod caching;
mod counting;
mod decommit;
mod fallback;
mod from_alloc;
mod inline;
mod limit;
#[cfg(feature = "std")]
mod mmap;
#[cfg(all(feature = "std", not(all(test, loom))))]
mod pooled;
mod refusing;
mod region;
mod shared;
#[cfg(feature = "std")]
mod shared_map;
#[cfg(feature = "std")]
mod slices;
mod through;

pub use arena::{ArenaSource, ArenaUsage};
pub use caching::CachingSource;
pub use counting::{CountingSource, SourceCounts};
pub use decommit::Decommit;
pub use fallback::FallbackSource;
pub use from_alloc::AllocatorSource;
pub use inline::InlineRegion;
pub use limit::LimitSource;
#[cfg(feature = "std")]
pub use mmap::{
    MapReport, MmapOptions, MmapSettings, MmapSource, NodeSet, NumaPolicy, OnFork, PageKind, PageLadder,
    PageLock, PlainPages,
};
#[cfg(all(feature = "std", not(all(test, loom))))]
pub use pooled::PooledSource;
pub use refusing::RefusingSource;
pub use region::RegionSource;
#[cfg(feature = "std")]
pub use shared_map::{FileSource, MemfdSource};
// Loom makes no statics.
#[cfg(all(feature = "std", test, loom))]
pub use MmapSource as PooledSource;
#[cfg(feature = "std")]
pub use slices::{Purge, SliceSource, SliceUsage};

use core::ptr::NonNull;

use crate::{NonZeroLayout, SourceError};

/// The unit of addresses in which ownership is recorded: 64 KiB.
///
/// A region that stands in a tier of the switchable allocator covers whole slices.
pub const SLICE: usize = 64 * 1024;

/// A region that was made larger or smaller; see [`MemorySource::remap`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remapped {
    /// The region, with its real length.
    pub region: NonNull<[u8]>,
    /// How many bytes of it were there before: the smaller of both real lengths. Where the source's regions are
    /// [zeroed](MemorySource::ZEROED), those beyond are zero.
    pub kept: usize,
}

/// A source of memory regions.
///
/// # Safety
/// For the implementor:
/// - A region that `obtain` returned is readable and writable, at least as large and as aligned as asked,
///   overlaps no other held region and no other live object, and stays so until it is released or the source
///   (with all its clones and borrows) is gone. Moving the source does not move its regions.
/// - With [`ZEROED`](Self::ZEROED), and where [`obtain_telling`](Self::obtain_telling) said so, every byte of it is zero.
/// - It starts at a multiple of [`MIN_ALIGN`](Self::MIN_ALIGN).
/// - With [`BLOCK`](Self::BLOCK) not zero: each region is `BLOCK` bytes at a multiple of `BLOCK`; and from the
///   moment that a region in some slice (of [`SLICE`] bytes) was returned, the whole of that slice is
///   accessed by nobody but through regions of this source, until [`reclaim`](Self::reclaim) named it; a region's pointer may
///   access all of the slices that the region touches; and `reclaim` names whole slices.
/// - `BLOCK` (if not zero) and `MIN_ALIGN` are powers of two, and no region is longer than `isize::MAX` bytes.
/// - A clone, where the type has them, is the same source: what one gave, the other may take back.
/// - No method uses an allocator that is made over this source: it may be in the middle of a call.
/// - No method unwinds or allocates through Rust's global allocator.
pub unsafe trait MemorySource {
    /// Whether each region is all zero bytes when it is obtained.
    const ZEROED: bool = false;

    /// What every region's address is a multiple of, in bytes; a power of two.
    const MIN_ALIGN: usize = 1;

    /// The largest region in bytes; larger requests always fail.
    const MAX_REGION: usize = isize::MAX as usize;

    /// For a source of equal blocks that keeps what it was given back, the size of a block in bytes, a power of
    /// two; otherwise 0.
    const BLOCK: usize = 0;

    /// Whether regions may share a slice (of [`SLICE`] bytes) with memory of somebody else, even if whole slices
    /// are asked for. Such a source cannot stand in a tier.
    const SHARES_SLICES: bool = false;

    /// Obtains a region of at least `layout.size()` bytes at a multiple of `layout.align()`.
    ///
    /// The region may be larger; its real length is returned.
    ///
    /// # Errors
    /// The reason why there is none; nothing has changed then.
    fn obtain(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, SourceError>;

    /// As [`obtain`](Self::obtain), and whether every byte of the region is known to be zero.
    ///
    /// The answer is of use where a source cannot promise zeros of every region, as [`ZEROED`](Self::ZEROED) does, but knows them of some.
    ///
    /// # Errors
    /// As `obtain`.
    #[inline]
    fn obtain_telling(&self, layout: NonZeroLayout) -> Result<(NonNull<[u8]>, bool), SourceError> {
        Ok((self.obtain(layout)?, Self::ZEROED))
    }

    /// Gives a region back.
    ///
    /// # Safety
    /// This source holds the region, `region` and `layout` fit it (see the [module](self)), and nobody accesses it
    /// any more.
    unsafe fn release(&self, region: NonNull<[u8]>, layout: NonZeroLayout);

    /// Makes a region larger or smaller, in place or elsewhere, without copying its bytes; those that both have keep their values.
    ///
    /// A source that succeeds here must find the region from `new` and its new length when it is released. The default is to refuse,
    /// always: whoever asks then obtains, copies and releases.
    ///
    /// # Errors
    /// [`SourceError::Unsupported`] where the source cannot do it for this region, or why it failed; nothing has changed then.
    ///
    /// # Safety
    /// This source holds the region, `region` and `old` fit it (see the [module](self)), and nobody accesses it meanwhile, nor afterwards
    /// where it was before. The region is then one that was asked for with `new`.
    unsafe fn remap(
        &self,
        region: NonNull<[u8]>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<Remapped, SourceError> {
        let _ = (region, old, new);
        Err(SourceError::Unsupported)
    }

    /// Gives memory that was released to this source back to where it came from, as far as that is possible, and
    /// returns how many bytes that was.
    ///
    /// `leaving` is called with each range before it leaves. It must neither unwind nor use this source.
    fn reclaim(&self, leaving: &mut dyn FnMut(NonNull<[u8]>)) -> usize {
        let _ = leaving;
        0
    }

    /// Takes the source's locks, so that a fork finds nothing half done.
    ///
    /// A source that stands in several places, behind a reference, gets this call from each of them, on one thread, and as
    /// many calls of [`after_fork`](Self::after_fork): the first takes the locks, the last gives them back.
    fn before_fork(&self) {}

    /// Gives back what [`before_fork`](Self::before_fork) took, in the parent and in the child.
    ///
    /// # Safety
    /// This thread, or in a child the thread that forked it, called `before_fork`, and in this process this call is
    /// not called more often than that was.
    unsafe fn after_fork(&self) {}
}

/// A source that knows its own regions.
///
/// A region of another source may be part of one that somebody obtained from this one, as the blocks of an arena over a reference to
/// this source are: who routes by `owns` must tell the two apart, as [`FallbackSource`] does.
///
/// # Safety
/// `owns` is `true` for every address in a region that is held of this source, and `false` for every address in a live object that is not
/// in a region held of it or of the one that it passes requests on to; routing trusts it.
pub unsafe trait OwnsRegions: MemorySource {
    /// Whether `address` lies in memory of this source.
    fn owns(&self, address: NonNull<u8>) -> bool;
}
