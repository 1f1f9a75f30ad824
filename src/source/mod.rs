//! Where memory comes from.
//!
//! A [`MemorySource`] gives *regions*: ranges of bytes that belong to whoever obtained them until
//! they are released. Allocators cut regions into blocks. Terms that every contract here uses:
//!
//! - A region is **held** from the `obtain` that returned it to the `release` that gives it back.
//! - `region` and `layout` **fit** a held region where `region` starts where the region starts,
//!   `layout` has the alignment that was asked for, and both `region.len()` and `layout.size()` lie
//!   between the size that was asked for and the length that was returned. For a region that came
//!   from a request with a least and a preferred length, what counts as asked for is the preferred
//!   length or, if the region is shorter, all of it (or the largest size that is a layout with that
//!   alignment).
//!
//! # A source of one's own
//! `obtain` and `release` are enough. The other methods have defaults that are right for every
//! source, but may give less than it could:
//!
//! - [`obtain_between`](MemorySource::obtain_between): the default asks `obtain` for half of the
//!   last length each time. A source that knows what it has left answers at once; one around other
//!   sources passes the whole range on, so that each is used up before the next is asked.
//! - [`remap`](MemorySource::remap), [`reclaim`](MemorySource::reclaim),
//!   [`purge_unit`](MemorySource::purge_unit), [`purge_part`](MemorySource::purge_part),
//!   `sweep_later` and the fork methods: a source around another passes them on, if its regions are
//!   those of the other.

mod arena;
mod caching;
mod counting;
mod decommit;
mod fallback;
mod inline;
mod limit;
#[cfg(feature = "std")]
mod mmap;
#[cfg(all(feature = "std", not(all(test, loom))))]
mod pooled;
mod recording;
mod region;
pub(crate) mod request;
#[cfg(feature = "std")]
mod runs;
mod shared;
#[cfg(feature = "std")]
mod shared_map;
#[cfg(feature = "std")]
mod sweep;
pub(crate) mod through;

pub use arena::{ArenaSource, ArenaUsage};
pub use caching::CachingSource;
pub use counting::{CountingSource, SourceCounts};
pub use decommit::Decommit;
pub use fallback::FallbackSource;
pub use inline::InlineRegion;
pub use limit::LimitSource;
#[cfg(feature = "std")]
pub use mmap::{
    MapReport, MmapOptions, MmapSettings, MmapSource, NodeSet, NumaPolicy, OnFork, PageKind, PageLadder,
    PageLock, PlainPages,
};
#[cfg(all(feature = "std", not(all(test, loom))))]
pub use pooled::PooledSource;
pub use recording::RecordingSource;
pub use region::RegionSource;
pub use request::Obtained;
#[cfg(feature = "std")]
pub use shared_map::{FileSource, MemfdSource};
#[cfg(feature = "std")]
pub use sweep::Sweep;
// Loom makes no statics.
#[cfg(all(feature = "std", test, loom))]
pub use MmapSource as PooledSource;
#[cfg(feature = "std")]
pub use runs::{Purge, RunSource, RunUsage};

pub use crate::size::SLICE;

use core::ptr::NonNull;

use crate::error::SourceError;
use crate::layout::NonZeroLayout;
use crate::ptr;

/// A region that was made larger or smaller; see [`MemorySource::remap`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remapped {
    /// The region, with its real length.
    pub region: NonNull<[u8]>,
    /// How many bytes of it were there before: at least the smaller of both lengths.
    pub kept: usize,
    /// Whether every byte beyond those is known to be zero; always, if the source's regions are
    /// [zeroed](MemorySource::ZEROED).
    pub zeroed: bool,
}

impl Remapped {
    /// The first `len` bytes of the region, which has as many; the rest goes unused.
    pub(crate) fn cut(self, len: usize) -> Self {
        debug_assert!(len <= self.region.len());
        Self { region: ptr::bytes(self.region.cast(), len), kept: self.kept.min(len), ..self }
    }
}

/// Memory that a source keeps for later requests; see [`MemorySource::idle`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct IdleMemory {
    /// The address of the source that keeps it, which tells two sources apart: one that stands in
    /// several places is reported from each of them.
    pub source: usize,
    /// Bytes that the source could give without asking for more.
    pub bytes: usize,
    /// Of those, bytes that may be resident: they were held before, and not given up since.
    pub resident_bytes: usize,
}

impl IdleMemory {
    /// What `source` keeps.
    pub fn of<S>(source: &S, bytes: usize, resident_bytes: usize) -> Self {
        Self { source: core::ptr::from_ref(source).addr(), bytes, resident_bytes }
    }
}

/// A source of memory regions.
///
/// # Safety
/// For the implementor:
/// - A region that `obtain` returned is readable and writable, at least as large and as aligned as
///   asked, overlaps no other held region and no other live object, and stays so until it is
///   released or the source (with all its clones and borrows) is gone. Moving the source does not
///   move its regions.
/// - With [`ZEROED`](Self::ZEROED), and if [`obtain_between`](Self::obtain_between) says so, every
///   byte of it is zero.
/// - All of this holds for `obtain_between` too, with the least size as what was asked for. For
///   each power of two up to `MIN_ALIGN`: if the least size is a multiple of it, so is the length
///   that is returned.
/// - It starts at a multiple of [`MIN_ALIGN`](Self::MIN_ALIGN).
/// - With [`BLOCK`](Self::BLOCK) not zero: each region is `BLOCK` bytes at a multiple of `BLOCK`;
///   and from the moment that a region in some slice (of [`SLICE`] bytes) was returned, the whole
///   of that slice is accessed by nobody but through regions of this source, until
///   [`reclaim`](Self::reclaim) named it; a region's pointer may access all of the slices that the
///   region touches; and `reclaim` names whole slices.
/// - `BLOCK` (if not zero) and `MIN_ALIGN` are powers of two, and no region is longer than
///   `isize::MAX` bytes.
/// - A clone, where the type has them, is the same source: what one gave, the other may take back.
/// - No method uses an allocator that is made over this source: it may be in the middle of a call.
///   Nor do `release` and `purge_part` free blocks of a switchable allocator: they are called under
///   locks.
/// - No method unwinds or allocates through Rust's global allocator.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a memory source",
    label = "not a memory source",
    note = "allocators take memory from a `MemorySource`, such as `MmapSource::new()` or \
            `ArenaSource::new(MmapSource::new())`",
    note = "to take it from an allocator of this library, write `AllocatorSource::new(allocator)`"
)]
pub unsafe trait MemorySource {
    /// Whether each region is all zero bytes when it is obtained.
    const ZEROED: bool = false;

    /// What every region's address is a multiple of, in bytes; a power of two.
    const MIN_ALIGN: usize = 1;

    /// The largest region in bytes; larger requests always fail.
    const MAX_REGION: usize = isize::MAX as usize;

    /// For a source of equal blocks that keeps what it was given back, the size of a block in
    /// bytes, a power of two; otherwise 0.
    const BLOCK: usize = 0;

    /// Whether regions may share a slice (of [`SLICE`] bytes) with memory of somebody else, even if
    /// whole slices are asked for. Such a source cannot stand in a tier.
    const SHARES_SLICES: bool = false;

    /// Obtains a region of at least `layout.size()` bytes at a multiple of `layout.align()`.
    ///
    /// The region may be larger; its real length is returned.
    ///
    /// # Errors
    /// The reason why there is none; nothing has changed then.
    fn obtain(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, SourceError>;

    /// Obtains the best region that this source has for a length from `least.size()` to `preferred`
    /// bytes, and says whether it is known to be zero.
    ///
    /// The best is one of at least `preferred` bytes, otherwise the longest. A preferred length
    /// below the least counts as the least.
    ///
    /// The default halves: it asks [`obtain`](Self::obtain) for the preferred length, then for half
    /// of the last each time, and at last for the least.
    ///
    /// # Errors
    /// The reason why there is no region of the least size; nothing has changed then.
    ///
    /// # Examples
    /// ```
    /// use core::mem::MaybeUninit;
    /// use context_allocator::{MemorySource, MmapSource, NonZeroLayout};
    /// use context_allocator::source::{FallbackSource, RegionSource};
    ///
    /// let mut bytes = [MaybeUninit::uninit(); 3000];
    /// let source = FallbackSource::new(RegionSource::new(&mut bytes), MmapSource::new());
    /// let least = NonZeroLayout::from_size_align(1000, 1)?;
    /// assert_eq!(source.obtain_between(least, 1 << 20)?.region.len(), 3000);
    /// let beyond = source.obtain_between(least, 1 << 20)?;
    /// assert!(beyond.region.len() == 1 << 20 && beyond.zeroed);
    /// # unsafe { source.release(beyond.region, least.with_size(1 << 20)?) };
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    fn obtain_between(&self, least: NonZeroLayout, preferred: usize) -> Result<Obtained, SourceError> {
        request::halving::<Self>(least, preferred, |asked| {
            Ok(Obtained { region: self.obtain(asked)?, zeroed: Self::ZEROED })
        })
    }

    /// Gives a region back.
    ///
    /// # Safety
    /// This source holds the region, `region` and `layout` fit it (see the [module](self)), and
    /// nobody accesses it any more.
    unsafe fn release(&self, region: NonNull<[u8]>, layout: NonZeroLayout);

    /// Makes a region larger or smaller, in place or elsewhere, without copying its bytes; those
    /// that both have keep their values.
    ///
    /// A source that succeeds here must find the region from `new` and its new length when it is
    /// released. The default is to refuse, always: whoever asks then obtains, copies and releases.
    ///
    /// # Errors
    /// [`SourceError::Unsupported`] where the source cannot do it for this region, or why it
    /// failed; nothing has changed then.
    ///
    /// # Safety
    /// This source holds the region, `region` and `old` fit it (see the [module](self)), and nobody
    /// accesses it meanwhile, nor afterwards where it was before. The region is then one that was
    /// asked for with `new`.
    unsafe fn remap(
        &self,
        region: NonNull<[u8]>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<Remapped, SourceError> {
        let _ = (region, old, new);
        Err(SourceError::Unsupported)
    }

    /// Gives the memory of what this source keeps for later requests back to the operating system,
    /// and keeps the ranges; returns how many bytes may have had memory.
    ///
    /// The default is to keep it. A source around others passes the call on.
    fn purge(&self) -> usize {
        0
    }

    /// Reports what this source keeps for later requests: memory that it obtained and nobody holds.
    ///
    /// `report` is called once for each source that keeps some: for this one, and for those that it
    /// is made over. It is called without a lock.
    fn idle(&self, report: &mut dyn FnMut(IdleMemory)) {
        let _ = report;
    }

    /// Gives memory that was released to this source back to where it came from, as far as that is
    /// possible, and returns how many bytes that was.
    ///
    /// `leaving` is called with each range before it leaves, without any lock of this source: it
    /// may use the source, and what is made over it. If it unwinds, memory may be lost, nothing
    /// else.
    fn reclaim(&self, leaving: &mut dyn FnMut(NonNull<[u8]>)) -> usize {
        let _ = leaving;
        0
    }

    /// What start and length of a range for [`purge_part`](Self::purge_part) must be multiples of,
    /// in bytes: a power of two, always the same, or 0 if this source cannot do that.
    fn purge_unit(&self) -> usize {
        0
    }

    /// Gives the memory of part of a region back to the operating system, while all of the region
    /// stays held, readable and writable; whether it did. What the range contained is lost in
    /// either case.
    ///
    /// For allocators over any source that have pages without a block in a region that has others.
    /// A [`Decommit`] source does as its `decommit`. The default is to do nothing. A source around
    /// others passes the call on.
    ///
    /// # Safety
    /// The range lies in one region that this source holds, is whole
    /// [units](Self::purge_unit), and nobody else accesses it meanwhile or needs its contents.
    unsafe fn purge_part(&self, range: NonNull<[u8]>) -> bool {
        let _ = range;
        false
    }

    /// Has a thread of this source run `sweep` about twice in its purge's delay, until there is
    /// nothing left to do; whether it will. To be called again when there is, unless
    /// [`Sweep::is_listed`].
    ///
    /// The default is that there is no such thread. A source around others passes the call on.
    #[cfg(feature = "std")]
    fn sweep_later(&self, sweep: &'static Sweep) -> bool {
        let _ = sweep;
        false
    }

    /// Takes the source's locks, so that a fork finds nothing half done.
    ///
    /// A source that stands in several places, behind a reference, gets this call from each of
    /// them, on one thread, and as many calls of [`after_fork`](Self::after_fork): the first takes
    /// the locks, the last gives them back. Meanwhile the calling thread may go on using the
    /// source, and what is made over it: the fork handlers of other libraries may allocate. The
    /// sources of this library let that thread pass through the locks that it holds; a source whose
    /// lock does not would wait for itself.
    ///
    /// # Safety
    /// This thread calls `after_fork` as often, and the source is not moved before.
    unsafe fn before_fork(&self) {}

    /// Gives back what [`before_fork`](Self::before_fork) took, in the parent and in the child.
    ///
    /// # Safety
    /// This thread, or in a child the thread that forked it, called `before_fork`, and in this
    /// process this call is not called more often than that was.
    unsafe fn after_fork(&self) {}
}

/// A source that knows its own regions.
///
/// A region of another source may be part of one that somebody obtained from this one, as the
/// blocks of an arena over a reference to this source are: who routes by `owns` must tell the two
/// apart, as [`FallbackSource`] does.
///
/// # Safety
/// `owns` is `true` for every address in a region that is held of this source, and `false` for
/// every address in a live object that is not in a region held of it or of the one that it passes
/// requests on to; routing trusts it.
pub unsafe trait OwnsRegions: MemorySource {
    /// Whether `address` lies in memory of this source.
    fn owns(&self, address: NonNull<u8>) -> bool;
}
