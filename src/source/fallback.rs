//! First one source, then another.

use core::ptr::NonNull;

use super::{Decommit, IdleMemory, MemorySource, Obtained, OwnsRegions, Remapped};
use crate::error::SourceError;
use crate::layout::NonZeroLayout;
use crate::misuse::check;

/// A source that asks a first one, and a second where that refuses.
///
/// The first must know its own regions ([`OwnsRegions`]), as a
/// [`RegionSource`](crate::source::RegionSource) does, so that each region goes back to where it
/// came from; a [`RecordingSource`](crate::source::RecordingSource) knows those of any other. The
/// first is used up, in whatever lengths it has, before the second is asked.
///
/// The second should not take its memory from regions of the first: such a region is refused, and
/// one that is remapped there ends the process.
///
/// # Examples
/// ```
/// use core::mem::MaybeUninit;
/// use context_allocator::{Allocator, BumpAllocator, MmapSource, NonZeroLayout};
/// use context_allocator::source::{FallbackSource, RegionSource};
///
/// let mut bytes = [MaybeUninit::uninit(); 4096];
/// let source = FallbackSource::new(RegionSource::new(&mut bytes), MmapSource::new());
/// let allocator = BumpAllocator::new(source);
/// let small = allocator.allocate(NonZeroLayout::of::<[u64; 100]>().unwrap());
/// let beyond_the_bytes = allocator.allocate(NonZeroLayout::of::<[u64; 1000]>().unwrap());
/// assert!(small.is_ok() && beyond_the_bytes.is_ok());
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct FallbackSource<P, F> {
    first: P,
    second: F,
}

impl<P, F> FallbackSource<P, F> {
    /// Asks `first`, then `second`.
    pub const fn new(first: P, second: F) -> Self {
        Self { first, second }
    }

    /// The source that is asked first.
    pub const fn first(&self) -> &P {
        &self.first
    }

    /// The source that is asked where the first refuses.
    pub const fn second(&self) -> &F {
        &self.second
    }
}

impl<P: OwnsRegions, F: MemorySource> FallbackSource<P, F> {
    /// Gives a region of the second's back that could not be told from the first's own.
    ///
    /// # Safety
    /// The second holds the region, which nobody uses, and the layout fits it.
    unsafe fn told_apart(&self, region: NonNull<[u8]>, layout: NonZeroLayout) -> Result<(), SourceError> {
        if !self.first.owns(region.cast()) {
            return Ok(());
        }
        // SAFETY: The source holds the region, both fit it, and nobody uses it any more.
        unsafe { self.second.release(region, layout) };
        Err(SourceError::Exhausted)
    }
}

const MOVED_INTO_FIRST: &str = "a fallback's second source moved a region into one of the first source's";

const fn smaller(a: usize, b: usize) -> usize {
    if a < b { a } else { b }
}

const fn larger(a: usize, b: usize) -> usize {
    if a < b { b } else { a }
}

// SAFETY: Each region is one of the two sources', passed on as it is, and goes back to the one that
// gave it: the first owns what it gave for as long as it is held, and did not own what the second
// gave, since that is then refused; nor does it later, since what is held is not in a region
// obtained meanwhile. The constants promise what both keep.
unsafe impl<P: OwnsRegions, F: MemorySource> MemorySource for FallbackSource<P, F> {
    const ZEROED: bool = P::ZEROED && F::ZEROED;
    const MIN_ALIGN: usize = smaller(P::MIN_ALIGN, F::MIN_ALIGN);
    const MAX_REGION: usize = larger(P::MAX_REGION, F::MAX_REGION);
    const SHARES_SLICES: bool = P::SHARES_SLICES || P::BLOCK != 0 || F::SHARES_SLICES || F::BLOCK != 0;

    /// # Errors
    /// Why the second refused; [`SourceError::Exhausted`] also where the second's region is part of
    /// one that somebody obtained from the first, as that of an arena over the same bytes is: it
    /// could not be told from the first's own.
    #[inline]
    fn obtain(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, SourceError> {
        self.first.obtain(layout).or_else(|_| {
            let region = self.second.obtain(layout)?;
            // SAFETY: Just obtained with this layout, and used by nobody.
            unsafe { self.told_apart(region, layout) }?;
            Ok(region)
        })
    }

    /// Asks the first for all lengths before the second.
    ///
    /// # Errors
    /// As `obtain`.
    #[inline]
    fn obtain_between(&self, least: NonZeroLayout, preferred: usize) -> Result<Obtained, SourceError> {
        self.first.obtain_between(least, preferred).or_else(|_| {
            let obtained = self.second.obtain_between(least, preferred)?;
            let fits = NonZeroLayout::of_region(obtained.region.len(), least.align())?;
            // SAFETY: Just obtained, and used by nobody; all of a region fits it.
            unsafe { self.told_apart(obtained.region, fits) }?;
            Ok(obtained)
        })
    }

    #[inline]
    unsafe fn release(&self, region: NonNull<[u8]>, layout: NonZeroLayout) {
        if self.first.owns(region.cast()) {
            // SAFETY: The first owns the region, and no region of the second's is passed on that it
            // owns, so it gave it; the caller promises the rest.
            unsafe { self.first.release(region, layout) };
        } else {
            // SAFETY: The first does not own the region, so the second gave it; the caller promises
            // the rest.
            unsafe { self.second.release(region, layout) };
        }
    }

    /// By the source that gave the region; it does not go from one to the other.
    unsafe fn remap(
        &self,
        region: NonNull<[u8]>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<Remapped, SourceError> {
        if self.first.owns(region.cast()) {
            // SAFETY: The first owns the region, so it gave it; the caller promises the rest.
            return unsafe { self.first.remap(region, old, new) };
        }
        // SAFETY: The first does not own the region, so the second gave it; the caller promises the
        // rest.
        let remapped = unsafe { self.second.remap(region, old, new) }?;
        // Where it was nobody may look any more, and here it could not be told from the first's.
        check(!self.first.owns(remapped.region.cast()), MOVED_INTO_FIRST, remapped.region.addr().get());
        Ok(remapped)
    }

    fn purge(&self) -> usize {
        self.first.purge() + self.second.purge()
    }

    /// The larger of both units; 0 if one of the two cannot do that.
    fn purge_unit(&self) -> usize {
        match (self.first.purge_unit(), self.second.purge_unit()) {
            (0, _) | (_, 0) => 0,
            (first, second) => first.max(second),
        }
    }

    unsafe fn purge_part(&self, range: NonNull<[u8]>) -> bool {
        if self.first.owns(range.cast()) {
            // SAFETY: The first gave the region; the caller promises the rest.
            unsafe { self.first.purge_part(range) }
        } else {
            // SAFETY: The second gave the region; the caller promises the rest.
            unsafe { self.second.purge_part(range) }
        }
    }

    #[cfg(feature = "std")]
    fn sweep_later(&self, sweep: &'static super::Sweep) -> bool {
        self.first.sweep_later(sweep) || self.second.sweep_later(sweep)
    }

    fn idle(&self, report: &mut dyn FnMut(IdleMemory)) {
        self.first.idle(report);
        self.second.idle(report);
    }

    fn reclaim(&self, leaving: &mut dyn FnMut(NonNull<[u8]>)) -> usize {
        self.first.reclaim(leaving) + self.second.reclaim(leaving)
    }

    unsafe fn before_fork(&self) {
        // SAFETY: The caller's promises, for the first.
        unsafe { self.first.before_fork() };
        // SAFETY: The caller's promises, for the second.
        unsafe { self.second.before_fork() };
    }

    unsafe fn after_fork(&self) {
        // SAFETY: The call that the caller promises went to the second.
        unsafe { self.second.after_fork() };
        // SAFETY: The call that the caller promises went to the first.
        unsafe { self.first.after_fork() };
    }
}

// SAFETY: A region held is one of the two's, and each tells its own.
unsafe impl<P: OwnsRegions, F: OwnsRegions> OwnsRegions for FallbackSource<P, F> {
    #[inline]
    fn owns(&self, address: NonNull<u8>) -> bool {
        self.first.owns(address) || self.second.owns(address)
    }
}

// SAFETY: A range lies in a region of one of the two, which does it; larger units are units of
// both.
unsafe impl<P: Decommit + OwnsRegions, F: Decommit> Decommit for FallbackSource<P, F> {
    /// The larger of both units.
    fn decommit_unit(&self) -> usize {
        self.first.decommit_unit().max(self.second.decommit_unit())
    }

    unsafe fn decommit(&self, range: NonNull<[u8]>) -> Result<(), SourceError> {
        if self.first.owns(range.cast()) {
            // SAFETY: The first gave the region; the caller promises the rest.
            unsafe { self.first.decommit(range) }
        } else {
            // SAFETY: The second gave the region; the caller promises the rest.
            unsafe { self.second.decommit(range) }
        }
    }

    unsafe fn keep_pages_small(&self, range: NonNull<[u8]>) {
        if self.first.owns(range.cast()) {
            // SAFETY: The first gave the region; the caller promises the rest.
            unsafe { self.first.keep_pages_small(range) };
        } else {
            // SAFETY: The second gave the region; the caller promises the rest.
            unsafe { self.second.keep_pages_small(range) };
        }
    }

    unsafe fn decommit_lazily(&self, range: NonNull<[u8]>) -> Result<(), SourceError> {
        if self.first.owns(range.cast()) {
            // SAFETY: The first gave the region; the caller promises the rest.
            unsafe { self.first.decommit_lazily(range) }
        } else {
            // SAFETY: The second gave the region; the caller promises the rest.
            unsafe { self.second.decommit_lazily(range) }
        }
    }

    unsafe fn take_out(
        &self,
        range: NonNull<[u8]>,
        new: NonZeroLayout,
    ) -> Result<NonNull<[u8]>, SourceError> {
        if self.first.owns(range.cast()) {
            // SAFETY: The first gave the region; the caller promises the rest.
            return unsafe { self.first.take_out(range, new) };
        }
        // SAFETY: The second gave the region; the caller promises the rest.
        let taken = unsafe { self.second.take_out(range, new) }?;
        check(!self.first.owns(taken.cast()), MOVED_INTO_FIRST, taken.addr().get());
        Ok(taken)
    }
}
