//! The source under a shard's allocator: it records whose the memory is.
//!
//! A region is whole slices of 64 KiB, inserted in the page map before the allocator gets it
//! and left before it is released.
//!
//! The source does not own what it passes requests on to, and a [`Sharded`](super::Sharded) may be
//! moved while its blocks are in use; so it is told where that is for the time of each call, by who
//! took the shard's lock.

use core::cell::Cell;
use core::fmt;
use core::ptr::{NonNull, null};

use super::budget::Budget;
use crate::alloc::LocalAllocator;
use crate::error::SourceError;
use crate::layout::NonZeroLayout;
use crate::layout::round_up;
use crate::page_map::ShardMap;
use crate::ptr;
use crate::source::MemorySource;
use crate::source::request::obtain_units;
use crate::source::{Obtained, SLICE};

/// What all shards stand on.
pub(super) struct Ground<A> {
    /// Only its source is used.
    pub(super) pattern: A,
    pub(super) shards: ShardMap,
    pub(super) budget: Budget,
}

/// The source of one shard.
///
/// Always: `ground` points to the ground of the `Sharded` that this is a part of while a method of
/// the shard's allocator runs.
pub struct ShardSource<A> {
    ground: Cell<*const Ground<A>>,
    shard: usize,
}

// SAFETY: The pointer is followed only during a call through the `Sharded` that it leads to. That
// is used from several threads only if the pattern's source is `Sync`, and sent with the pattern in
// it, which is `Send`.
unsafe impl<A: LocalAllocator> Send for ShardSource<A> {}

impl<A: LocalAllocator> ShardSource<A> {
    const WHOLE_SLICES: () = {
        assert!(
            !<A::Source as MemorySource>::SHARES_SLICES,
            "this source cannot stand under a Sharded, because it may share 64 KiB slices with memory of others: use an \
             ArenaSource by value, whose chunks are at least U65536, or a source of whole regions"
        );
        assert!(
            <A::Source as MemorySource>::MAX_REGION >= SLICE,
            "this source cannot stand under a Sharded, because its regions are smaller than 64 KiB: the blocks of an \
             ArenaSource must be at least U65536"
        );
    };

    /// The largest region in bytes.
    pub(super) const LARGEST: usize = <A::Source as MemorySource>::MAX_REGION & !(SLICE - 1);

    pub(super) fn new(shard: usize) -> Self {
        Self { ground: Cell::new(null()), shard }
    }

    /// Fails the build of a program whose source does not do.
    pub(super) const fn check() {
        let () = Self::WHOLE_SLICES;
    }

    /// Says where the ground is.
    #[inline(always)]
    pub(super) fn stand_on(&self, ground: &Ground<A>) {
        self.ground.set(ground);
    }

    fn ground(&self) -> &Ground<A> {
        // SAFETY: A method of the shard's allocator runs, so the pointer is to the ground of the
        // `Sharded` through which it was called, which is borrowed for that time.
        unsafe { &*self.ground.get() }
    }
}

/// The layout in whole slices.
fn slices(layout: NonZeroLayout) -> Result<NonZeroLayout, SourceError> {
    let size = round_up(layout.size(), SLICE).ok_or(SourceError::TooLarge)?;
    Ok(NonZeroLayout::from_size_align(size, layout.align().max(SLICE))?)
}

// SAFETY: A region is one of the pattern's source, cut to whole slices, for which that source
// vouches. `BLOCK` is zero; slices are nobody else's, since regions begin and end at them.
unsafe impl<A: LocalAllocator> MemorySource for ShardSource<A> {
    const ZEROED: bool = <A::Source as MemorySource>::ZEROED;
    const MIN_ALIGN: usize = SLICE;
    const MAX_REGION: usize = Self::LARGEST;

    fn obtain(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, SourceError> {
        Ok(self.obtain_between(layout, layout.size())?.region)
    }

    fn obtain_between(&self, least: NonZeroLayout, preferred: usize) -> Result<Obtained, SourceError> {
        let ground = self.ground();
        let least = slices(least)?;
        let preferred = preferred.clamp(least.size(), Self::MAX_REGION.max(least.size())) & !(SLICE - 1);
        let obtained = obtain_units(ground.pattern.source(), least, preferred, SLICE)?;
        let (start, len) = (obtained.region.cast::<u8>(), obtained.region.len());
        if let Err(error) = ground.shards.insert_range(start.addr().get(), len, self.shard) {
            let fits = NonZeroLayout::of_region(len, least.align())?;
            // SAFETY: Just obtained, and nobody has seen it; whole slices of a region fit it.
            unsafe { ground.pattern.source().release(obtained.region, fits) };
            return Err(error);
        }
        ground.budget.obtained(self.shard, len);
        Ok(obtained)
    }

    unsafe fn release(&self, region: NonNull<[u8]>, layout: NonZeroLayout) {
        // The region's length may be cut to what fits, but slices are entered whole.
        let (Ok(asked), Some(len)) = (slices(layout), round_up(region.len(), SLICE)) else { return };
        let start = region.cast::<u8>();
        let ground = self.ground();
        ground.shards.remove_range(start.addr().get(), len);
        // SAFETY: The source holds the region, which nobody uses; alignment and length fit it.
        unsafe { ground.pattern.source().release(ptr::bytes(start, len), asked) };
        ground.budget.released(self.shard, len);
    }

    unsafe fn before_fork(&self) {
        // SAFETY: The caller's promises, for the pattern's source.
        unsafe { self.ground().pattern.source().before_fork() };
    }

    unsafe fn after_fork(&self) {
        // SAFETY: The call that the caller promises went to the pattern's source.
        unsafe { self.ground().pattern.source().after_fork() };
    }
}

impl<A> fmt::Debug for ShardSource<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShardSource").field("shard", &self.shard).finish_non_exhaustive()
    }
}
