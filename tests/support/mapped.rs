//! Regions of a [`MmapSource`] with options, to look at from outside.

use std::ptr::NonNull;
use std::thread;
use std::time::{Duration, Instant};

use context_allocator::error::SourceError;
use context_allocator::source::{MapReport, MmapOptions};
use context_allocator::{MemorySource, MmapSource, NonZeroLayout};

use super::layout;

/// A source with options.
pub type Source = MmapSource<MmapOptions>;

/// Whether it holds, now or within ten seconds.
pub fn soon(holds: impl Fn() -> bool) -> bool {
    let end = Instant::now() + Duration::from_secs(10);
    while !holds() {
        if Instant::now() > end {
            return false;
        }
        thread::sleep(Duration::from_millis(10));
    }
    true
}

/// A region, with what it was obtained by.
pub struct Region<'a> {
    source: &'a Source,
    layout: NonZeroLayout,
    /// The region, by its real length.
    pub region: NonNull<[u8]>,
    /// What it got.
    pub report: MapReport,
}

impl<'a> Region<'a> {
    /// A region of at least `size` bytes, which the source must give.
    pub fn of(source: &'a Source, size: usize) -> Self {
        Self::aligned(source, size, 8)
    }

    /// The same at a multiple of `align`, which the source asserts.
    ///
    /// Pages of the pool that were given back may be with a child for a moment, which another test
    /// forked meanwhile.
    pub fn aligned(source: &'a Source, size: usize, align: usize) -> Self {
        let layout = layout(size, align);
        soon(|| match Self::try_of(source, layout) {
            Err(SourceError::System(libc::ENOMEM)) => false,
            region => region.is_ok(),
        });
        let region = Self::try_of(source, layout).expect("the kernel gives this");
        assert!(region.address().is_multiple_of(align));
        region
    }

    /// A region for a layout, if the source gives it.
    pub fn try_of(source: &'a Source, layout: NonZeroLayout) -> Result<Self, SourceError> {
        let (region, report) = source.obtain_reporting(layout)?;
        Ok(Self { source, layout, region, report })
    }

    /// Where it starts.
    pub fn address(&self) -> usize {
        self.region.cast::<u8>().addr().get()
    }

    /// A byte of the region, or, for guards, beside it.
    pub fn byte(&self, offset: isize) -> *mut u8 {
        self.region.cast::<u8>().as_ptr().wrapping_offset(offset)
    }

    /// Writes a byte of it.
    pub fn write(&self, offset: usize, value: u8) {
        assert!(offset < self.region.len());
        // SAFETY: The byte lies in the region, which is held.
        unsafe { self.byte(offset.cast_signed()).write_volatile(value) };
    }

    /// Reads a byte of it.
    pub fn read(&self, offset: usize) -> u8 {
        assert!(offset < self.region.len());
        // SAFETY: The byte lies in the region, which is held, and maps are zeroed or written.
        unsafe { self.byte(offset.cast_signed()).read_volatile() }
    }

    /// Writes each byte of it.
    pub fn fill(&self, value: u8) {
        // SAFETY: The region is held and writable.
        unsafe { self.region.cast::<u8>().write_bytes(value, self.region.len()) };
    }

    /// Whether all bytes of a part have a value.
    pub fn all_are(&self, range: std::ops::Range<usize>, value: u8) -> bool {
        range.into_iter().all(|offset| self.read(offset) == value)
    }

    /// A part of it.
    pub fn part(&self, range: std::ops::Range<usize>) -> NonNull<[u8]> {
        assert!(range.end <= self.region.len());
        let start = NonNull::new(self.byte(range.start.cast_signed())).expect("regions lie above null");
        NonNull::slice_from_raw_parts(start, range.len())
    }

    /// The node of each page.
    pub fn nodes(&self) -> Vec<Option<u16>> {
        nodes(self.region)
    }
}

impl Drop for Region<'_> {
    fn drop(&mut self) {
        // SAFETY: Obtained from this source with this layout, and this is its end.
        unsafe { self.source.release(self.region, self.layout) };
    }
}

/// The node of each page that has a byte of a range; none where there is no page yet.
pub fn nodes(range: NonNull<[u8]>) -> Vec<Option<u16>> {
    let mut nodes = Vec::new();
    MmapSource::nodes_of_pages(range, |page, node| {
        assert_eq!(page, nodes.len());
        nodes.push(node);
    })
    .expect("the kernel says where pages lie");
    nodes
}

/// Options, each off.
pub fn options() -> MmapOptions {
    MmapSource::builder()
}

/// Why a source that must refuse does so.
pub fn refusal(source: &Source, size: usize) -> SourceError {
    source.obtain(layout(size, 8)).expect_err("the source cannot give this")
}
