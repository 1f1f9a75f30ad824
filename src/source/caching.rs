//! A source that keeps some of what was released.

use core::fmt;
use core::mem::MaybeUninit;
use core::ops::RangeInclusive;
use core::ptr::NonNull;

use generic_array::{ArrayLength, GenericArray};
use typenum::U16;

use super::through::{
    exact, exact_between, obtain_between, pass_on_decommit, pass_on_owns, pass_on_sweep, release, remap,
    take_out,
};
use super::{Decommit, IdleMemory, MemorySource, Obtained, OwnsRegions, Remapped};
use crate::error::SourceError;
use crate::layout::NonZeroLayout;
use crate::ptr;
use crate::sync::{Guarded, const_fn};

/// A source that keeps up to `N` released regions of another and gives them again to who asks for
/// the same length and alignment.
///
/// For allocators that are made and dropped often: a region out of the cache costs a lock and a
/// look through `N` places, not a system call and the page faults behind it. The cache is a queue:
/// where it is full, the region that has been in it longest goes back to the other source; where
/// that refuses a request, the whole cache does, and it is asked again.
///
/// A region is as long as was asked for, rounded up to the other source's least alignment: what a
/// [`RegionSource`](crate::source::RegionSource) gives beyond goes unused. Alignments up to that
/// least one are the same. Regions out of the cache still hold what was written to them.
///
/// # Examples
/// ```
/// use context_allocator::{Allocator, BumpAllocator, MmapSource, NonZeroLayout};
/// use context_allocator::source::CachingSource;
///
/// let source = CachingSource::new(MmapSource::new());
/// for _ in 0..1000 {
///     let allocator = BumpAllocator::new(&source);
///     allocator.allocate(NonZeroLayout::of::<u64>().unwrap())?;
/// }
/// assert!(source.cached_bytes() > 0);
/// # Ok::<(), context_allocator::AllocError>(())
/// ```
pub struct CachingSource<S: MemorySource, N: ArrayLength = U16> {
    source: S,
    cache: Guarded<Cache<N>>,
}

/// A region in the cache: where it starts, and with which layout it goes back.
#[derive(Clone, Copy, Debug)]
struct Kept {
    start: NonNull<u8>,
    layout: NonZeroLayout,
}

/// The regions kept, the one that has been here longest first: the first `len` places are filled.
struct Cache<N: ArrayLength> {
    places: GenericArray<MaybeUninit<Kept>, N>,
    len: usize,
}

// SAFETY: The regions in the cache belong to the source, not to a thread.
unsafe impl<N: ArrayLength> Send for Cache<N> {}

impl<N: ArrayLength> Cache<N> {
    fn kept(&self) -> &[Kept] {
        let filled = self.places.get(..self.len).unwrap_or_default();
        // SAFETY: The first `len` places are filled.
        unsafe { filled.assume_init_ref() }
    }

    /// Takes the region in a place out, and moves those behind it up.
    fn take(&mut self, place: usize) -> Option<Kept> {
        let kept = *self.kept().get(place)?;
        self.places.copy_within(place + 1..self.len, place);
        self.len -= 1;
        Some(kept)
    }

    /// Takes out the longest region that was obtained with this alignment and has one of these
    /// lengths, of equals the one that came last.
    ///
    /// One that merely happens to be as aligned will not do: it must go back with the alignment
    /// that was asked for, which its next user does not know.
    fn find(&mut self, align: usize, lens: RangeInclusive<usize>) -> Option<Kept> {
        let fits = |layout: NonZeroLayout| layout.align() == align && lens.contains(&layout.size());
        let places = self.kept().iter().enumerate().filter(|(_, kept)| fits(kept.layout));
        let (place, _) = places.max_by_key(|(_, kept)| kept.layout.size())?;
        self.take(place)
    }

    /// Puts a region in; one that has no room there comes out, the oldest or, in a cache without
    /// places, itself.
    fn put(&mut self, kept: Kept) -> Option<Kept> {
        let leaving = if self.len < N::USIZE { None } else { self.take(0) };
        match self.places.get_mut(self.len) {
            Some(place) => {
                place.write(kept);
                self.len += 1;
                leaving
            }
            None => Some(kept),
        }
    }
}

/// What to ask `S` for: as [`exact`], with every alignment that all regions have in any case made
/// one.
fn asked<S: MemorySource>(layout: NonZeroLayout) -> Result<NonZeroLayout, SourceError> {
    Ok(exact::<S>(layout)?.align_to(S::MIN_ALIGN)?)
}

impl<S: MemorySource> CachingSource<S> {
    const_fn! {
        /// A cache of up to 16 regions of `source`, which is empty at first.
        pub fn new(source: S) -> Self {
            Self::new_in(source)
        }
    }
}

impl<S: MemorySource, N: ArrayLength> CachingSource<S, N> {
    const_fn! {
        /// As [`new`](CachingSource::new), for as many regions as the type says.
        pub fn new_in(source: S) -> Self {
            Self { source, cache: Guarded::new(Cache { places: GenericArray::uninit(), len: 0 }) }
        }
    }

    /// How many bytes the cache keeps at this moment.
    pub fn cached_bytes(&self) -> usize {
        self.cache.lock().kept().iter().map(|kept| kept.layout.size()).sum()
    }

    /// The source behind the cache.
    pub const fn source(&self) -> &S {
        &self.source
    }

    /// Bytes in the cache.
    fn kept_bytes(&self) -> usize {
        self.cache.lock().kept().iter().map(|kept| kept.layout.size()).sum()
    }

    /// Gives the whole cache back, and returns how many bytes that was.
    fn empty(&self, leaving: &mut dyn FnMut(NonNull<[u8]>)) -> usize {
        let mut bytes = 0;
        // As many as there are now: a release meanwhile, by `leaving` perhaps, does not keep this
        // from ending.
        let regions = self.cache.lock().len;
        for _ in 0..regions {
            let kept = self.cache.lock().take(0);
            let Some(kept) = kept else { break };
            leaving(ptr::bytes(kept.start, kept.layout.size()));
            bytes += kept.layout.size();
            self.give_back(kept);
        }
        bytes
    }

    /// Gives a region of the cache back.
    fn give_back(&self, kept: Kept) {
        let region = ptr::bytes(kept.start, kept.layout.size());
        // SAFETY: The region was obtained with this layout, and nobody uses it since it was
        // released to the cache, of which it was just taken out.
        unsafe { release(&self.source, region, kept.layout) };
    }
}

// SAFETY: A region is one of the source behind, cut to a length that was asked of it, or one out of
// the cache, which only holds what was released and loses what it gives, under a lock. What is in
// the cache is held of the source behind until `give_back`.
unsafe impl<S: MemorySource, N: ArrayLength> MemorySource for CachingSource<S, N> {
    const MIN_ALIGN: usize = S::MIN_ALIGN;
    const MAX_REGION: usize = S::MAX_REGION;
    const SHARES_SLICES: bool = S::SHARES_SLICES || S::BLOCK != 0;

    fn obtain(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, SourceError> {
        Ok(self.obtain_between(layout, layout.size())?.region)
    }

    /// Gives a region of the cache if that has at least half of the preferred length.
    fn obtain_between(&self, least: NonZeroLayout, preferred: usize) -> Result<Obtained, SourceError> {
        let (least, preferred) = exact_between::<S>(least.align_to(S::MIN_ALIGN)?, preferred)?;
        let enough = least.size().max(preferred / 2);
        let kept = self.cache.lock().find(least.align(), enough..=preferred);
        if let Some(Kept { start, layout }) = kept {
            return Ok(Obtained { region: ptr::bytes(start, layout.size()), zeroed: false });
        }
        // What the cache keeps may be just what the other source lacks.
        obtain_between(&self.source, least, preferred).or_else(|refusal| match self.empty(&mut |_| ()) {
            0 => Err(refusal),
            _ => obtain_between(&self.source, least, preferred),
        })
    }

    unsafe fn release(&self, region: NonNull<[u8]>, layout: NonZeroLayout) {
        let layout = asked::<S>(layout).unwrap_or(layout);
        let leaving = self.cache.lock().put(Kept { start: region.cast(), layout });
        if let Some(leaving) = leaving {
            self.give_back(leaving);
        }
    }

    unsafe fn remap(
        &self,
        region: NonNull<[u8]>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<Remapped, SourceError> {
        let (old, new) = (asked::<S>(old)?, asked::<S>(new)?);
        // SAFETY: The caller's promises; the region is held of the source behind.
        unsafe { remap(&self.source, region.cast(), old, new) }
    }

    unsafe fn before_fork(&self) {
        self.cache.hold_for_fork();
        // SAFETY: The caller's promises, for the source behind.
        unsafe { self.source.before_fork() };
    }

    unsafe fn after_fork(&self) {
        // SAFETY: The call that the caller promises went to the source behind.
        unsafe { self.source.after_fork() };
        // SAFETY: The call that the caller promises held the lock.
        unsafe { self.cache.release_after_fork() };
    }

    /// Gives the whole cache back.
    fn purge(&self) -> usize {
        self.source.purge()
    }

    pass_on_sweep!(self => self.source);

    fn idle(&self, report: &mut dyn FnMut(IdleMemory)) {
        report(IdleMemory::of(self, self.kept_bytes(), self.kept_bytes()));
        self.source.idle(report);
    }

    fn reclaim(&self, leaving: &mut dyn FnMut(NonNull<[u8]>)) -> usize {
        self.empty(leaving) + self.source.reclaim(leaving)
    }
}

pass_on_owns!(CachingSource<S, N: ArrayLength>);

// SAFETY: The regions are held of the source behind.
unsafe impl<S: Decommit, N: ArrayLength> Decommit for CachingSource<S, N> {
    pass_on_decommit!(self => self.source);

    unsafe fn take_out(
        &self,
        range: NonNull<[u8]>,
        new: NonZeroLayout,
    ) -> Result<NonNull<[u8]>, SourceError> {
        // SAFETY: The source behind holds the region; the caller promises the rest.
        unsafe { take_out(&self.source, range, asked::<S>(new)?) }
    }
}

impl<S: MemorySource, N: ArrayLength> Drop for CachingSource<S, N> {
    /// Gives the whole cache back.
    fn drop(&mut self) {
        self.empty(&mut |_| ());
    }
}

impl<S: MemorySource + fmt::Debug, N: ArrayLength> fmt::Debug for CachingSource<S, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachingSource")
            .field("source", &self.source)
            .field("cached_bytes", &self.cached_bytes())
            .finish_non_exhaustive()
    }
}
