//! A source with a cap.

use core::ptr::NonNull;

use super::through::{exact, obtain, pass_on, release};
use super::{MemorySource, OwnsRegions};
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::const_fn;
use crate::{NonZeroLayout, SourceError};

/// A source that holds no more than so many bytes of another at a time.
///
/// What counts is the length of the regions, whole pages of an `MmapSource` for instance; a region
/// is as long as was asked for, rounded up to the other source's least alignment or block: what a
/// [`RegionSource`](crate::RegionSource) gives beyond goes unused. A request that would pass the
/// limit is refused with [`SourceError::LimitReached`].
///
/// # Examples
/// ```
/// use context_allocator::{AllocError, Allocator, BumpAllocator, LimitSource, MmapSource, NonZeroLayout, SourceError};
///
/// let allocator = BumpAllocator::new(LimitSource::new(MmapSource::new(), 1 << 20));
/// let half_a_mebibyte = NonZeroLayout::from_size_align(1 << 19, 8)?;
/// assert!(allocator.allocate(half_a_mebibyte).is_ok());
/// assert_eq!(allocator.allocate(half_a_mebibyte), Err(AllocError::Source(SourceError::LimitReached)));
/// # Ok::<(), context_allocator::LayoutError>(())
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

// SAFETY: Regions are those of the source behind, cut to a length that was asked of it; the limit only refuses.
unsafe impl<S: MemorySource> MemorySource for LimitSource<S> {
    pass_on!(S.source);
    const BLOCK: usize = S::BLOCK;
    const SHARES_SLICES: bool = S::SHARES_SLICES;

    fn obtain(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, SourceError> {
        let layout = exact::<S>(layout)?;
        let limit = self.limit();
        let charge = |held: usize| held.checked_add(layout.size()).filter(|&sum| sum <= limit);
        self.held
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, charge)
            .map_err(|_| SourceError::LimitReached)?;
        obtain(&self.source, layout).inspect_err(|_| {
            self.held.fetch_sub(layout.size(), Ordering::Relaxed);
        })
    }

    unsafe fn release(&self, region: NonNull<[u8]>, layout: NonZeroLayout) {
        let layout = exact::<S>(layout).unwrap_or(layout);
        // SAFETY: The caller's promises.
        unsafe { release(&self.source, region, layout) };
        self.held.fetch_sub(layout.size(), Ordering::Relaxed);
    }

    fn reclaim(&self, leaving: &mut dyn FnMut(NonNull<[u8]>)) -> usize {
        self.source.reclaim(leaving)
    }
}

// SAFETY: The regions are those of the source behind.
unsafe impl<S: OwnsRegions> OwnsRegions for LimitSource<S> {
    #[inline]
    fn owns(&self, address: NonNull<u8>) -> bool {
        self.source.owns(address)
    }
}
