//! A source that counts.

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

/// A source that counts what another gives.
///
/// It costs an atomic addition or two for each region, not for each block. A region is as long as
/// was asked for, rounded up to the other source's least alignment or block: what a
/// [`RegionSource`](crate::source::RegionSource) gives beyond goes unused.
///
/// # Examples
/// ```
/// use context_allocator::{Allocator, BumpAllocator, MmapSource, NonZeroLayout};
/// use context_allocator::source::CountingSource;
///
/// let source = CountingSource::new(MmapSource::new());
/// let allocator = BumpAllocator::new(&source);
/// allocator.allocate(NonZeroLayout::of::<u64>().unwrap())?;
/// assert_eq!(source.counts().obtained, 1);
/// drop(allocator);
/// assert_eq!(source.counts().bytes, 0);
/// # Ok::<(), context_allocator::AllocError>(())
/// ```
#[derive(Debug)]
pub struct CountingSource<S> {
    source: S,
    obtained: AtomicUsize,
    refused: AtomicUsize,
    released: AtomicUsize,
    bytes: AtomicUsize,
    most_bytes: AtomicUsize,
}

/// What a [`CountingSource`] counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SourceCounts {
    /// Regions obtained.
    pub obtained: usize,
    /// Requests that were refused.
    pub refused: usize,
    /// Regions released.
    pub released: usize,
    /// Bytes of the regions held now.
    pub bytes: usize,
    /// The most bytes that were held at a time.
    pub most_bytes: usize,
}

impl<S> CountingSource<S> {
    const_fn! {
        /// Counts what `source` gives from now on.
        pub fn new(source: S) -> Self {
            Self {
                source,
                obtained: AtomicUsize::new(0),
                refused: AtomicUsize::new(0),
                released: AtomicUsize::new(0),
                bytes: AtomicUsize::new(0),
                most_bytes: AtomicUsize::new(0),
            }
        }
    }

    /// The counts. While other threads use the source, each is right at some moment of this call,
    /// not all at the same.
    pub fn counts(&self) -> SourceCounts {
        let read = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        SourceCounts {
            obtained: read(&self.obtained),
            refused: read(&self.refused),
            released: read(&self.released),
            bytes: read(&self.bytes),
            most_bytes: read(&self.most_bytes),
        }
    }

    fn count_bytes(&self, more: usize) {
        let bytes = self.bytes.fetch_add(more, Ordering::Relaxed) + more;
        self.most_bytes.fetch_max(bytes, Ordering::Relaxed);
    }

    /// The source that is counted.
    pub const fn source(&self) -> &S {
        &self.source
    }
}

// SAFETY: Regions are those of the source behind, cut to a length that was asked of it.
unsafe impl<S: MemorySource> MemorySource for CountingSource<S> {
    pass_on!(S.source);
    const BLOCK: usize = S::BLOCK;
    const SHARES_SLICES: bool = S::SHARES_SLICES;

    fn obtain(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, SourceError> {
        Ok(self.obtain_between(layout, layout.size())?.region)
    }

    fn obtain_between(&self, least: NonZeroLayout, preferred: usize) -> Result<Obtained, SourceError> {
        let obtained = exact_between::<S>(least, preferred)
            .and_then(|(least, preferred)| obtain_between(&self.source, least, preferred));
        match obtained {
            Ok(Obtained { region, .. }) => {
                self.obtained.fetch_add(1, Ordering::Relaxed);
                self.count_bytes(region.len());
            }
            Err(_) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
            }
        }
        obtained
    }

    unsafe fn release(&self, region: NonNull<[u8]>, layout: NonZeroLayout) {
        let layout = exact::<S>(layout).unwrap_or(layout);
        // SAFETY: The source holds the region, both fit it, and nobody uses it any more.
        unsafe { release(&self.source, region, layout) };
        self.released.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_sub(layout.size(), Ordering::Relaxed);
    }

    unsafe fn remap(
        &self,
        region: NonNull<[u8]>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<Remapped, SourceError> {
        let (old, new) = (exact::<S>(old)?, exact::<S>(new)?);
        // SAFETY: The source holds the region, `old` fits it, and nobody uses it meanwhile.
        let remapped = unsafe { remap(&self.source, region.cast(), old, new) }?;
        self.bytes.fetch_sub(old.size(), Ordering::Relaxed);
        self.count_bytes(new.size());
        Ok(remapped)
    }

    pass_on_kept!(source);
}

pass_on_owns!(CountingSource<S>);

// SAFETY: The regions are those of the source behind; one that it makes is counted.
unsafe impl<S: Decommit> Decommit for CountingSource<S> {
    pass_on_decommit!(self => self.source);

    unsafe fn take_out(
        &self,
        range: NonNull<[u8]>,
        new: NonZeroLayout,
    ) -> Result<NonNull<[u8]>, SourceError> {
        let new = exact::<S>(new)?;
        // SAFETY: The range lies in regions that this source holds, and nobody uses it meanwhile.
        let region = unsafe { take_out(&self.source, range, new) }?;
        self.obtained.fetch_add(1, Ordering::Relaxed);
        self.count_bytes(region.len());
        Ok(region)
    }
}
