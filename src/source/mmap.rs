//! Memory straight from the operating system.

use core::ptr::NonNull;

use super::MemorySource;
use crate::layout::round_up;
use crate::{NonZeroLayout, SourceError, ptr, sys};

/// A source of anonymous private memory maps.
///
/// Regions are whole pages, zeroed, and use physical memory from the first touch of each page, on the node of the
/// thread that touches it. One system call obtains a region, up to three where its alignment is beyond a page; one
/// gives it back.
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
#[derive(Clone, Copy, Debug, Default)]
pub struct MmapSource {
    _options_come_here: (),
}

impl MmapSource {
    /// A source of plain pages.
    pub const fn new() -> Self {
        Self { _options_come_here: () }
    }
}

/// The smallest page of the platforms that Linux runs on; regions start at multiples of at least this.
const SMALLEST_PAGE: usize = 4096;

// SAFETY: The kernel gives each mapping addresses that nothing else has, zeroed and writable, page aligned;
// `obtain` cuts it at page boundaries only, and nothing unmaps the rest before `release`.
unsafe impl MemorySource for MmapSource {
    const ZEROED: bool = true;
    const MIN_ALIGN: usize = SMALLEST_PAGE;

    fn obtain(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, SourceError> {
        let page = sys::page_size();
        let len = round_up(layout.size(), page).ok_or(SourceError::TooLarge)?;
        if layout.align() <= page {
            let start = sys::map(len).map_err(SourceError::System)?;
            return Ok(ptr::bytes(start, len));
        }
        let slack = layout.align() - page;
        let total = len.checked_add(slack).ok_or(SourceError::TooLarge)?;
        let mapped = sys::map(total).map_err(SourceError::System)?;
        let head = ptr::padding(mapped.addr().get(), layout.align());
        // SAFETY: `head` is at most `slack`, so the sum stays inside the mapping.
        let start = unsafe { mapped.add(head) };
        if head > 0 {
            // SAFETY: The first `head` bytes are whole pages of the mapping just made; nothing uses them.
            unsafe { sys::unmap(mapped, head) };
        }
        if head < slack {
            // SAFETY: `head + len < total`.
            let end = unsafe { start.add(len) };
            // SAFETY: The last `slack - head` bytes are whole pages of the mapping just made; nothing uses them.
            unsafe { sys::unmap(end, slack - head) };
        }
        Ok(ptr::bytes(start, len))
    }

    unsafe fn release(&self, region: NonNull<[u8]>, _layout: NonZeroLayout) {
        let page = sys::page_size();
        // The length asked for and the length returned round up to the same number of pages, so any that fits does.
        let len = (region.len() + page - 1) & !(page - 1);
        // SAFETY: The region is a whole mapping that `obtain` made, and nobody uses it any more, as the caller
        // promises.
        unsafe { sys::unmap(region.cast(), len) };
    }
}
