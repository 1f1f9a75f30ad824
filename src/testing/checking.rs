//! A source that checks the allocator above it.
//!
//! It may stand under a `#[global_allocator]`: its index lies in memory of `System`, and it records
//! a mistake instead of a panic, since no method of a source may unwind.

use std::fmt;
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::SourceError;
use crate::layout::NonZeroLayout;
use crate::source::{MemorySource, Obtained};
use allocator_api2_02::alloc::System;
use allocator_api2_02::vec::Vec;

/// A source that passes on what another gives, counts it, and knows each region that is held.
///
/// A release that fits no held region is not passed on but remembered as the source's fault;
/// [`assert_sound`](Self::assert_sound) reports it.
pub struct CheckingSource<S> {
    source: S,
    index: Mutex<Index>,
}

/// What a [`CheckingSource`] counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Regions obtained.
    pub obtained: usize,
    /// Requests that the source behind it refused.
    pub refused: usize,
    /// Regions released.
    pub released: usize,
    /// Regions held now.
    pub held: usize,
    /// Bytes held now, by real length.
    pub bytes: usize,
    /// The most bytes that were held at a time.
    pub most_bytes: usize,
}

#[derive(Clone, Copy, Debug)]
struct Region {
    start: usize,
    len: usize,
    layout: NonZeroLayout,
}

struct Index {
    /// The regions held, by address.
    regions: Vec<Region, System>,
    counts: Counts,
    fault: Option<&'static str>,
}

impl<S> CheckingSource<S> {
    /// Counts what `source` gives from now on.
    pub const fn new(source: S) -> Self {
        let index = Index {
            regions: Vec::new_in(System),
            counts: Counts { obtained: 0, refused: 0, released: 0, held: 0, bytes: 0, most_bytes: 0 },
            fault: None,
        };
        Self { source, index: Mutex::new(index) }
    }

    /// The source behind it.
    pub fn source(&self) -> &S {
        &self.source
    }

    /// The counts at this moment.
    pub fn counts(&self) -> Counts {
        self.index().counts
    }

    /// Whether `len` bytes at `address` lie in one region that is held.
    pub fn holds(&self, address: usize, len: usize) -> bool {
        let index = self.index();
        match index.regions.partition_point(|region| region.start <= address).checked_sub(1) {
            Some(below) => {
                let region = index.regions[below];
                address - region.start < region.len && len <= region.len - (address - region.start)
            }
            None => false,
        }
    }

    /// Checks that nothing went wrong so far.
    #[track_caller]
    pub fn assert_sound(&self) {
        let fault = self.index().fault;
        assert_eq!(fault, None);
    }

    /// Checks that nothing went wrong and every region was released.
    #[track_caller]
    pub fn assert_all_released(&self) {
        self.assert_sound();
        let counts = self.counts();
        assert_eq!((counts.held, counts.bytes), (0, 0), "regions leaked: {counts:?}");
        assert_eq!(counts.obtained, counts.released);
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Copies what it says out of the lock first: formatting may allocate, through this very source.
impl<S> fmt::Debug for CheckingSource<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (counts, fault) = {
            let index = self.index();
            (index.counts, index.fault)
        };
        f.debug_struct("CheckingSource")
            .field("counts", &counts)
            .field("fault", &fault)
            .finish_non_exhaustive()
    }
}

impl Index {
    fn enter(&mut self, region: Region, min_align: usize) {
        let at = self.regions.partition_point(|other| other.start < region.start);
        let Region { start, len, layout } = region;
        let below = at.checked_sub(1).is_some_and(|below| {
            let below = self.regions[below];
            below.start + below.len > start
        });
        let above = self.regions.get(at).is_some_and(|above| above.start < start + len);
        if below || above {
            self.fault = Some("a region overlaps another that is held");
        }
        if len < layout.size() {
            self.fault = Some("a region is smaller than asked for");
        }
        if !start.is_multiple_of(layout.align()) || !start.is_multiple_of(min_align) {
            self.fault = Some("a region is not aligned");
        }
        self.regions.insert(at, region);
        let counts = &mut self.counts;
        counts.obtained += 1;
        counts.held += 1;
        counts.bytes += len;
        counts.most_bytes = counts.most_bytes.max(counts.bytes);
    }

    /// Remembers it if a range does not lie in one region.
    fn check_part(&mut self, start: usize, len: usize) {
        let behind = self.regions.partition_point(|region| region.start <= start);
        let region = behind.checked_sub(1).map(|at| self.regions[at]);
        if region.is_none_or(|region| start + len > region.start + region.len) {
            self.fault = Some("memory was given up that lies in no region");
        }
    }

    /// Takes the region out of the index, or remembers why it is not in it.
    fn leave(&mut self, start: usize, len: usize, layout: NonZeroLayout) -> Option<()> {
        let Ok(at) = self.regions.binary_search_by_key(&start, |region| region.start) else {
            self.fault = Some("a region was released that is not held");
            return None;
        };
        let held = self.regions[at];
        let fitting = held.layout.size()..=held.len;
        if !fitting.contains(&len) || !fitting.contains(&layout.size()) {
            self.fault = Some("a region was released with a size that does not fit");
            return None;
        }
        if layout.align() != held.layout.align() {
            self.fault = Some("a region was released with another alignment");
            return None;
        }
        self.regions.remove(at);
        self.counts.released += 1;
        self.counts.held -= 1;
        self.counts.bytes -= held.len;
        Some(())
    }
}

// SAFETY: Regions are those of the source behind it, passed on as they are; a release is passed on
// only if the index says that the region is held and fits. The mutex does not allocate, and the
// index grows in memory of `System`.
unsafe impl<S: MemorySource> MemorySource for CheckingSource<S> {
    const ZEROED: bool = S::ZEROED;
    const MIN_ALIGN: usize = S::MIN_ALIGN;
    const MAX_REGION: usize = S::MAX_REGION;
    const BLOCK: usize = S::BLOCK;
    const SHARES_SLICES: bool = S::SHARES_SLICES;

    fn obtain(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, SourceError> {
        let region = self.source.obtain(layout);
        let mut index = self.index();
        match region {
            Ok(region) => {
                let start = region.cast::<u8>().addr().get();
                index.enter(Region { start, len: region.len(), layout }, S::MIN_ALIGN);
            }
            Err(_) => index.counts.refused += 1,
        }
        region
    }

    fn obtain_between(&self, least: NonZeroLayout, preferred: usize) -> Result<Obtained, SourceError> {
        let obtained = self.source.obtain_between(least, preferred);
        let mut index = self.index();
        match obtained {
            Ok(Obtained { region, .. }) => {
                let (start, len) = (region.cast::<u8>().addr().get(), region.len());
                // The smallest size that fits from now on.
                let largest = isize::MAX as usize & least.align().wrapping_neg();
                let fits = preferred.max(least.size()).min(len).min(largest);
                let layout = least.with_size(fits).unwrap_or(least);
                index.enter(Region { start, len, layout }, S::MIN_ALIGN);
                let unit = S::MIN_ALIGN.min(1 << least.size().trailing_zeros());
                if len < least.size() || !len.is_multiple_of(unit) {
                    index.fault = Some("the length of a region is not one that was asked for");
                }
            }
            Err(_) => index.counts.refused += 1,
        }
        obtained
    }

    unsafe fn release(&self, region: NonNull<[u8]>, layout: NonZeroLayout) {
        // The index comes first: once released, the same address may be obtained on another thread.
        let left = self.index().leave(region.cast::<u8>().addr().get(), region.len(), layout);
        if left.is_some() {
            // SAFETY: The caller's promises, and the index agree.
            unsafe { self.source.release(region, layout) };
        }
    }

    fn purge_unit(&self) -> usize {
        self.source.purge_unit()
    }

    unsafe fn purge_part(&self, range: NonNull<[u8]>) -> bool {
        self.index().check_part(range.cast::<u8>().addr().get(), range.len());
        // SAFETY: The caller's promises, for the source behind.
        unsafe { self.source.purge_part(range) }
    }

    fn reclaim(&self, leaving: &mut dyn FnMut(NonNull<[u8]>)) -> usize {
        self.source.reclaim(leaving)
    }

    unsafe fn before_fork(&self) {
        // SAFETY: The caller's promises, for the source behind.
        unsafe { self.source.before_fork() };
    }

    unsafe fn after_fork(&self) {
        // SAFETY: The call that the caller promises went to the source behind.
        unsafe { self.source.after_fork() };
    }
}
