//! A source with a cap.

use core::ptr::NonNull;

use super::through::{
    exact, exact_between, obtain_between, pass_on, pass_on_decommit, pass_on_kept, pass_on_owns, release,
    remap, take_out,
};
use super::{Decommit, MemorySource, Obtained, OwnsRegions, Remapped};
use crate::error::SourceError;
use crate::layout::NonZeroLayout;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::const_fn;

/// A source that holds no more than so many bytes of another at a time.
///
/// What counts is the length of the regions, whole pages of an `MmapSource` for instance; a region
/// is as long as was asked for, rounded up to the other source's least alignment or block: what a
/// [`RegionSource`](crate::source::RegionSource) gives beyond goes unused. A request that would
/// pass the limit is refused with [`SourceError::LimitReached`].
///
/// # Examples
/// ```
/// use context_allocator::{AllocError, Allocator, BumpAllocator, MmapSource, NonZeroLayout};
/// use context_allocator::error::SourceError;
/// use context_allocator::source::LimitSource;
///
/// let allocator = BumpAllocator::new(LimitSource::new(MmapSource::new(), 1 << 20));
/// let half_a_mebibyte = NonZeroLayout::from_size_align(1 << 19, 8)?;
/// assert!(allocator.allocate(half_a_mebibyte).is_ok());
/// let refused = Err(AllocError::Source(SourceError::LimitReached));
/// assert_eq!(allocator.allocate(half_a_mebibyte), refused);
/// # Ok::<(), context_allocator::error::LayoutError>(())
/// ```
#[derive(Debug)]
pub struct LimitSource<S> {
    source: S,
    limit: AtomicUsize,
    held: AtomicUsize,
}

impl<S> LimitSource<S> {
    const_fn! {
        /// `source`, of which at most `limit` bytes are held at a time.
        pub fn new(source: S, limit: usize) -> Self {
            Self { source, limit: AtomicUsize::new(limit), held: AtomicUsize::new(0) }
        }
    }

    /// The limit in bytes.
    pub fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Sets the limit in bytes. What is held already stays, even beyond the new limit.
    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// How many bytes are held at this moment.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// The source behind the limit.
    pub const fn source(&self) -> &S {
        &self.source
    }
}

impl<S: MemorySource> LimitSource<S> {
    /// Adds so many bytes to those held.
    fn charge_all(&self, bytes: usize) -> Result<(), SourceError> {
        let limit = self.limit();
        let charge = |held: usize| held.checked_add(bytes).filter(|&sum| sum <= limit || bytes == 0);
        let charged = self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, charge);
        charged.map(|_| ()).map_err(|_| SourceError::LimitReached)
    }

    /// Adds the preferred length to the bytes held, or what is left below the limit; returns how
    /// much that was.
    fn charge(&self, least: NonZeroLayout, preferred: usize) -> Result<usize, SourceError> {
        let (limit, unit) = (self.limit(), S::MIN_ALIGN);
        let affordable = |held: usize| {
            let left = limit.saturating_sub(held);
            let most = if preferred <= left { preferred } else { (left & !(unit - 1)).max(least.size()) };
            (most <= left).then_some(most)
        };
        let mut held = self.held();
        loop {
            let bytes = affordable(held).ok_or(SourceError::LimitReached)?;
            match self.held.compare_exchange_weak(held, held + bytes, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(bytes),
                Err(now) => held = now,
            }
        }
    }
}

// SAFETY: Regions are those of the source behind, cut to a length that was asked of it; the limit
// only refuses.
unsafe impl<S: MemorySource> MemorySource for LimitSource<S> {
    pass_on!(S.source);
    const BLOCK: usize = S::BLOCK;
    const SHARES_SLICES: bool = S::SHARES_SLICES;

    fn obtain(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, SourceError> {
        Ok(self.obtain_between(layout, layout.size())?.region)
    }

    /// Gives what is left below the limit if that is less than the preferred length.
    fn obtain_between(&self, least: NonZeroLayout, preferred: usize) -> Result<Obtained, SourceError> {
        let (least, preferred) = exact_between::<S>(least, preferred)?;
        let charged = self.charge(least, preferred)?;
        match obtain_between(&self.source, least, charged) {
            Ok(obtained) => {
                self.held.fetch_sub(charged - obtained.region.len(), Ordering::Relaxed);
                Ok(obtained)
            }
            Err(error) => {
                self.held.fetch_sub(charged, Ordering::Relaxed);
                Err(error)
            }
        }
    }

    unsafe fn release(&self, region: NonNull<[u8]>, layout: NonZeroLayout) {
        let layout = exact::<S>(layout).unwrap_or(layout);
        // SAFETY: The source holds the region, both fit it, and nobody uses it any more.
        unsafe { release(&self.source, region, layout) };
        self.held.fetch_sub(layout.size(), Ordering::Relaxed);
    }

    unsafe fn remap(
        &self,
        region: NonNull<[u8]>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<Remapped, SourceError> {
        let (old, new) = (exact::<S>(old)?, exact::<S>(new)?);
        let more = new.size().saturating_sub(old.size());
        self.charge_all(more)?;
        // SAFETY: The source holds the region, `old` fits it, and nobody uses it meanwhile.
        let remapped = unsafe { remap(&self.source, region.cast(), old, new) };
        let refund = if remapped.is_ok() { old.size().saturating_sub(new.size()) } else { more };
        self.held.fetch_sub(refund, Ordering::Relaxed);
        remapped
    }

    pass_on_kept!(source);
}

pass_on_owns!(LimitSource<S>);

// SAFETY: The regions are those of the source behind; one that it makes counts.
unsafe impl<S: Decommit> Decommit for LimitSource<S> {
    pass_on_decommit!(self => self.source);

    unsafe fn take_out(
        &self,
        range: NonNull<[u8]>,
        new: NonZeroLayout,
    ) -> Result<NonNull<[u8]>, SourceError> {
        let new = exact::<S>(new)?;
        self.charge_all(new.size())?;
        // SAFETY: The range lies in regions that this source holds, and nobody uses it meanwhile.
        unsafe { take_out(&self.source, range, new) }.inspect_err(|_| {
            self.held.fetch_sub(new.size(), Ordering::Relaxed);
        })
    }
}
