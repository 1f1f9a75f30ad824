//! A source that refuses, for tests.

use core::ptr::NonNull;

use crate::alloc::AdjoiningSource;
use crate::error::SourceError;
use crate::layout::NonZeroLayout;
use crate::source::through::{pass_on, pass_on_decommit, pass_on_kept, pass_on_owns};
use crate::source::{Decommit, MemorySource, Obtained, OwnsRegions, Remapped};
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::const_fn;

/// A source that refuses some requests, by their number from 0 on, and passes on the others.
///
/// To find out what a program does when memory runs out, run it with [`never`](Self::never) and
/// read how many [`requests`](Self::requests) there are, then once with each of them refused.
///
/// # Examples
/// ```
/// use context_allocator::testing::RefusingSource;
/// use context_allocator::{Allocator, BumpAllocator, MmapSource, NonZeroLayout};
///
/// let source = RefusingSource::from(MmapSource::new(), 1);
/// let allocator = BumpAllocator::new(&source);
/// let layout = NonZeroLayout::of::<[u64; 5000]>().unwrap();
/// assert!(allocator.allocate(layout).is_ok());
/// while allocator.allocate(layout).is_ok() {}
/// assert!(source.requests() > 1);
/// ```
#[derive(Debug)]
pub struct RefusingSource<S> {
    source: S,
    requests: AtomicUsize,
    first: usize,
    behind: usize,
}

impl<S> RefusingSource<S> {
    const_fn! {
        /// Refuses nothing; it only counts the requests.
        pub fn never(source: S) -> Self {
            Self::between(source, usize::MAX, usize::MAX)
        }
    }

    const_fn! {
        /// Refuses request `number`.
        pub fn once(source: S, number: usize) -> Self {
            Self::between(source, number, number.saturating_add(1))
        }
    }

    const_fn! {
        /// Refuses request `number` and every later one.
        pub fn from(source: S, number: usize) -> Self {
            Self::between(source, number, usize::MAX)
        }
    }

    const_fn! {
        fn between(source: S, first: usize, behind: usize) -> Self {
            Self { source, requests: AtomicUsize::new(0), first, behind }
        }
    }

    /// How many requests there were.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    /// Counts a request, and refuses it if it is one of those.
    fn count(&self) -> Result<(), SourceError> {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        if (self.first..self.behind).contains(&number) { Err(SourceError::Exhausted) } else { Ok(()) }
    }
}

// SAFETY: Regions are those of the source behind, passed on as they are. It gives up `BLOCK`: an
// arena never refuses what it was given back, and this does.
unsafe impl<S: MemorySource> MemorySource for RefusingSource<S> {
    pass_on!(S.source);
    const SHARES_SLICES: bool = S::SHARES_SLICES || S::BLOCK != 0;

    /// # Errors
    /// [`SourceError::Exhausted`] where this is a request to refuse.
    fn obtain(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, SourceError> {
        self.count()?;
        self.source.obtain(layout)
    }

    /// Counts as one request, whatever lengths are tried.
    ///
    /// # Errors
    /// As `obtain`.
    fn obtain_between(&self, least: NonZeroLayout, preferred: usize) -> Result<Obtained, SourceError> {
        self.count()?;
        self.source.obtain_between(least, preferred)
    }

    unsafe fn release(&self, region: NonNull<[u8]>, layout: NonZeroLayout) {
        // SAFETY: The caller's promises; every region came from the source behind.
        unsafe { self.source.release(region, layout) };
    }

    /// Counts as a request.
    ///
    /// # Errors
    /// As `obtain`.
    unsafe fn remap(
        &self,
        region: NonNull<[u8]>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<Remapped, SourceError> {
        self.count()?;
        // SAFETY: The caller's promises; every region came from the source behind.
        unsafe { self.source.remap(region, old, new) }
    }

    pass_on_kept!(source);
}

pass_on_owns!(RefusingSource<S>);

// SAFETY: The regions are those of the source behind.
unsafe impl<S: Decommit> Decommit for RefusingSource<S> {
    pass_on_decommit!(self => self.source);

    /// Counts as a request.
    ///
    /// # Errors
    /// [`SourceError::Exhausted`] if this is a request to refuse.
    unsafe fn take_out(
        &self,
        range: NonNull<[u8]>,
        new: NonZeroLayout,
    ) -> Result<NonNull<[u8]>, SourceError> {
        self.count()?;
        // SAFETY: The source behind holds the region; the caller promises the rest.
        unsafe { self.source.take_out(range, new) }
    }
}

// SAFETY: The regions are those of the source behind it.
unsafe impl<S: AdjoiningSource> AdjoiningSource for RefusingSource<S> {}
