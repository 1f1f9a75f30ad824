//! The source: plain maps here, all others through `region`.

use core::ptr::NonNull;

use super::report::{MapReport, lacking};
use super::{MmapOptions, PageKind, PageLadder, place, region, remap};
use crate::error::SourceError;
use crate::layout::NonZeroLayout;
use crate::layout::round_up;
use crate::ptr;
use crate::source::{Decommit, MemorySource, Remapped};
use crate::sys;
use sys::{Advice, MapKind};

/// A source of anonymous private memory maps.
///
/// Regions are whole pages, zeroed, and use physical memory from the first touch of each page, on
/// the node of the thread that touches it. One system call obtains a region, up to three where its
/// alignment is beyond a page; one gives it back.
///
/// [`builder`](MmapSource::builder) makes sources with NUMA policies, huge pages, locked pages,
/// guards and more; they are of the type `MmapSource<MmapOptions>`, so that a plain `MmapSource`
/// stays a type of no size whose calls test for nothing.
///
/// # Examples
/// ```
/// use context_allocator::{MemorySource, MmapSource, NonZeroLayout};
///
/// let source = MmapSource::new();
/// let layout = NonZeroLayout::from_size_align(100_000, 64)?;
/// let region = source.obtain(layout)?;
/// assert!(region.len() >= 100_000);
/// // SAFETY: Just obtained from this source with this layout, and not used again.
/// unsafe { source.release(region, layout) };
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "MemoryMapSource")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct MmapSource<O = PlainPages> {
    pub(super) settings: O,
}

/// The settings of a plain [`MmapSource`]: there are none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PlainPages;

mod sealed {
    use super::{MmapOptions, PlainPages};

    /// What a source keeps of its options.
    pub trait Settings: Copy {
        /// Whether there are none, known to the compiler.
        const PLAIN: bool;

        /// The options.
        fn options(&self) -> &MmapOptions;
    }

    impl Settings for PlainPages {
        const PLAIN: bool = true;

        fn options(&self) -> &MmapOptions {
            const { &MmapOptions::new() }
        }
    }

    impl Settings for MmapOptions {
        const PLAIN: bool = false;

        fn options(&self) -> &MmapOptions {
            self
        }
    }
}

/// The settings of a [`MmapSource`]: [`PlainPages`] or [`MmapOptions`].
pub trait MmapSettings: sealed::Settings {}

impl<O: sealed::Settings> MmapSettings for O {}

impl MmapSource {
    /// A source of plain pages.
    #[must_use]
    pub const fn new() -> Self {
        Self { settings: PlainPages }
    }

    /// As [`MemorySource::ZEROED`]. These constants are here so that `MmapSource::ZEROED` means the
    /// plain source's.
    pub const ZEROED: bool = <Self as MemorySource>::ZEROED;

    /// As [`MemorySource::MIN_ALIGN`], in bytes.
    pub const MIN_ALIGN: usize = <Self as MemorySource>::MIN_ALIGN;

    /// As [`MemorySource::MAX_REGION`], in bytes.
    pub const MAX_REGION: usize = <Self as MemorySource>::MAX_REGION;

    /// As [`MemorySource::BLOCK`], in bytes.
    pub const BLOCK: usize = <Self as MemorySource>::BLOCK;

    /// As [`MemorySource::SHARES_SLICES`].
    pub const SHARES_SLICES: bool = <Self as MemorySource>::SHARES_SLICES;

    /// Options to choose from, each off; [`build`](MmapOptions::build) ends them.
    pub const fn builder() -> MmapOptions {
        MmapOptions::new()
    }

    /// The number of the NUMA node of the processor on which the calling thread runs at this moment
    /// (`getcpu`, Linux 2.6.19).
    ///
    /// # Errors
    /// [`SourceError::System`] where the kernel does not say.
    pub fn current_node() -> Result<u16, SourceError> {
        place::current_node()
    }

    /// Calls `each` for every page (of the smallest size) that has a byte of `range`, with its
    /// number in the range, from 0 on, and the NUMA node that it lies on: none where nothing was
    /// written to it yet. O(pages), a system call for 128 of them.
    ///
    /// The kernel may move pages; the answer is for the moment at which it was asked. Memory is
    /// neither read nor touched.
    ///
    /// # Errors
    /// [`SourceError::Unsupported`] in a kernel without `move_pages` (Linux 2.6.18, with NUMA);
    /// [`SourceError::System`] where a sandbox forbids it.
    ///
    /// # Examples
    /// ```
    /// use context_allocator::{MemorySource, MmapSource, NonZeroLayout};
    /// use context_allocator::source::NumaPolicy;
    ///
    /// let node = MmapSource::current_node()?;
    /// let policy = NumaPolicy::preferred(node).or_default();
    /// let source = MmapSource::builder().numa(policy).populate().build();
    /// let layout = NonZeroLayout::from_size_align(1 << 20, 8)?;
    /// let region = source.obtain(layout)?;
    /// let mut elsewhere = 0;
    /// let count = |_, place| elsewhere += usize::from(place != Some(node));
    /// let asked = MmapSource::nodes_of_pages(region, count);
    /// println!("{asked:?}: {elsewhere} pages are not on node {node}");
    /// // SAFETY: Just obtained from this source with this layout, and not used again.
    /// unsafe { source.release(region, layout) };
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn nodes_of_pages(
        range: NonNull<[u8]>,
        each: impl FnMut(usize, Option<u16>),
    ) -> Result<(), SourceError> {
        place::nodes_of_pages(range, each)
    }
}

impl<O: MmapSettings> MmapSource<O> {
    /// As [`obtain`](MemorySource::obtain), and what the region got of what the options ask for.
    ///
    /// # Errors
    /// As `obtain`.
    pub fn obtain_reporting(&self, layout: NonZeroLayout) -> Result<(NonNull<[u8]>, MapReport), SourceError> {
        region::obtain(self.settings.options(), layout)
    }
}

/// The smallest page of the platforms that Linux runs on; regions start at multiples of at least
/// this.
pub(in crate::source) const SMALLEST_PAGE: usize = 4096;

// SAFETY: The kernel gives each mapping addresses that nothing else has, zeroed and writable, page
// aligned; `obtain` cuts it at page boundaries only, and nothing unmaps the rest before `release`.
// The length of the map follows from any length that fits (see `pages`).
unsafe impl<O: MmapSettings> MemorySource for MmapSource<O> {
    const ZEROED: bool = true;
    const MIN_ALIGN: usize = SMALLEST_PAGE;

    fn obtain(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, SourceError> {
        if !O::PLAIN {
            return self.obtain_reporting(layout).map(|(region, _)| region);
        }
        let len = round_up(layout.size(), sys::page_size()).ok_or(SourceError::TooLarge)?;
        let plain = MapKind { writable: true, reserve: false };
        let start = region::map_between(0, len, layout.align(), plain)?;
        Ok(ptr::bytes(start, len))
    }

    unsafe fn release(&self, region: NonNull<[u8]>, _layout: NonZeroLayout) {
        let options = self.settings.options();
        // The length asked for and the length returned round up to the same number of pages, so any
        // that fits does.
        let Ok(len) = region::rounded(options, region.len()) else { return };
        // SAFETY: The region is a whole mapping that `obtain` made, and nobody uses it any more, as
        // the caller promises.
        unsafe { region::release(options, region.cast(), len) };
    }

    unsafe fn remap(
        &self,
        region: NonNull<[u8]>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<Remapped, SourceError> {
        // SAFETY: The caller's promises, for a region of this source.
        unsafe { remap::remap(self.settings.options(), region.cast(), old, new) }
    }

    fn purge_unit(&self) -> usize {
        self.decommit_unit()
    }

    unsafe fn purge_part(&self, range: NonNull<[u8]>) -> bool {
        // SAFETY: The caller promises the same.
        unsafe { self.decommit(range) }.is_ok()
    }
}

// SAFETY: After `MADV_DONTNEED` private anonymous pages read as zero; after `MADV_FREE` as before
// or as zero. Ranges that are not whole units, of which the kernel would take more or less than
// asked, are refused.
unsafe impl<O: MmapSettings> Decommit for MmapSource<O> {
    /// A page; where the options allow huge pages of the pool, the largest of those, whatever a
    /// region got.
    fn decommit_unit(&self) -> usize {
        self.settings.options().pages.largest_of_pool(sys::page_size())
    }

    /// By `MADV_DONTNEED`; [`SourceError::Unsupported`] before Linux 5.18 for locked pages and for
    /// huge pages of the pool.
    ///
    /// Huge pages go back to the pool, and not every kernel keeps them reserved for the region:
    /// should others have taken them all by the next touch, that ends the process. A region that
    /// must be there has them until it is released.
    unsafe fn decommit(&self, range: NonNull<[u8]>) -> Result<(), SourceError> {
        let locked = self.settings.options().lock.is_some();
        // SAFETY: The range lies in regions that this source holds, and nobody uses it meanwhile.
        let outcome = unsafe { self.advise_range(range, Advice::Discard) };
        match outcome {
            // Pages that were to be locked if possible may be locked or not.
            // SAFETY: The range lies in regions that this source holds, and nobody uses it
            // meanwhile.
            Err(SourceError::Unsupported) if locked => unsafe {
                self.advise_range(range, Advice::DiscardLocked)
            },
            other => other,
        }
    }

    /// By `MADV_NOHUGEPAGE`, if the system joins pages unasked (`always` in
    /// `/sys/kernel/mm/transparent_hugepage/enabled`) and the options do not ask for huge ones.
    unsafe fn keep_pages_small(&self, range: NonNull<[u8]>) {
        let asked = self.settings.options().pages != PageLadder::only(PageKind::Base);
        if !asked && sys::joins_pages_unasked() {
            // SAFETY: The range lies in regions that this source holds. It is a hint.
            let _a_hint = unsafe { self.advise_range(range, Advice::SmallPages) };
        }
    }

    /// By `MREMAP_DONTUNMAP` of `mremap`; [`SourceError::Unsupported`] before Linux 5.7, and for
    /// regions with options.
    unsafe fn take_out(
        &self,
        range: NonNull<[u8]>,
        new: NonZeroLayout,
    ) -> Result<NonNull<[u8]>, SourceError> {
        if !O::PLAIN {
            return Err(SourceError::Unsupported);
        }
        // SAFETY: The range lies in regions that this source holds, and nobody uses it meanwhile.
        unsafe { remap::take_out(range, new) }
    }

    /// By `MADV_FREE`; [`SourceError::Unsupported`] before Linux 4.5, for locked pages and for huge
    /// pages of the pool.
    unsafe fn decommit_lazily(&self, range: NonNull<[u8]>) -> Result<(), SourceError> {
        // SAFETY: The range lies in regions that this source holds, and nobody uses it meanwhile.
        unsafe { self.advise_range(range, Advice::DiscardLazily) }
    }
}

impl<O: MmapSettings> MmapSource<O> {
    /// # Safety
    /// As [`Decommit::decommit`].
    unsafe fn advise_range(&self, range: NonNull<[u8]>, advice: Advice) -> Result<(), SourceError> {
        let start = range.cast::<u8>();
        if !(start.addr().get() | range.len()).is_multiple_of(self.decommit_unit()) {
            return Err(SourceError::System(libc::EINVAL));
        }
        // SAFETY: The range lies in a region of this source and is whole pages; the caller wants
        // its contents gone.
        unsafe { sys::advise(start, range.len(), advice) }.map_err(lacking)
    }
}
