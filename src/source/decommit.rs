//! Giving up physical memory while holding on to the addresses.

use core::ptr::NonNull;

use super::MemorySource;
use crate::error::SourceError;
use crate::layout::NonZeroLayout;

/// A source that can take back the memory of part of a region, while the region stays held.
///
/// # Examples
/// ```
/// use context_allocator::{MemorySource, MmapSource, NonZeroLayout};
/// use context_allocator::source::Decommit;
///
/// let source = MmapSource::new();
/// let layout = NonZeroLayout::from_size_align(1 << 20, 8)?;
/// let region = source.obtain(layout)?;
/// // SAFETY: The region is held and writable.
/// unsafe { region.cast::<u8>().write(1) };
/// assert!(region.len().is_multiple_of(source.decommit_unit()));
/// // SAFETY: All of a region that is held; what was written there is not needed any more.
/// unsafe { source.decommit(region) }?;
/// // SAFETY: The region is held, and what was decommitted is zero.
/// assert_eq!(unsafe { region.cast::<u8>().read() }, 0);
/// # unsafe { source.release(region, layout) };
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Safety
/// For the implementor:
/// - `decommit_unit` is a power of two, and always the same.
/// - After [`decommit`](Self::decommit) succeeded every byte of the range is zero, until somebody
///   writes there.
/// - After [`decommit_lazily`](Self::decommit_lazily) succeeded, each byte is what it was or zero,
///   until somebody writes to its page; what is written from then on stays.
/// - After [`take_out`](Self::take_out) succeeded, a new region is held that begins with the
///   contents of the range, and every byte of the range is zero.
/// - The range stays part of the region: readable, writable, to be released with it.
/// - No method unwinds or allocates through Rust's global allocator.
pub unsafe trait Decommit: MemorySource {
    /// What start and length of a range must be multiples of, in bytes.
    fn decommit_unit(&self) -> usize;

    /// Gives the physical memory of a range up, at once. The range then reads as zero: it may be
    /// handed out again where zeroed memory is asked for, such as [`ZEROED`](MemorySource::ZEROED)
    /// promises of a whole region.
    ///
    /// # Errors
    /// [`SourceError::System`] with `EINVAL` where the range is not whole units,
    /// [`SourceError::Unsupported`] where this memory cannot be given up; contents are then
    /// unchanged or zero.
    ///
    /// # Safety
    /// The range lies in one region that this source holds, and nobody else accesses it meanwhile
    /// or needs its contents.
    unsafe fn decommit(&self, range: NonNull<[u8]>) -> Result<(), SourceError>;

    /// Allows the physical memory of a range to be taken when somebody needs it. Cheaper than
    /// [`decommit`](Self::decommit) where the range is soon used again; the range reads as before
    /// or as zero, so it is not zeroed memory.
    ///
    /// # Errors
    /// As `decommit`.
    ///
    /// # Safety
    /// As `decommit`.
    #[doc(alias = "reset")]
    unsafe fn decommit_lazily(&self, range: NonNull<[u8]>) -> Result<(), SourceError>;

    /// Tells the system that memory in a range is given up piece by piece: it should not bring it
    /// back to join pages into huge ones. The default is to do nothing; contents never change.
    ///
    /// # Safety
    /// The range lies in one region that this source holds, or is all of it.
    unsafe fn keep_pages_small(&self, range: NonNull<[u8]>) {
        let _ = range;
    }

    /// Moves the memory of a range to a new region for `new`, without copying; the range is then as
    /// [`decommit`](Self::decommit) leaves it. What the new region has beyond is zero where the
    /// source's regions are. The default is to refuse, always: whoever asks then obtains and
    /// copies.
    ///
    /// # Errors
    /// [`SourceError::Unsupported`] where the source cannot do it, [`SourceError::System`] with
    /// `EINVAL` where the range is not whole units or `new` is smaller, or why it failed; nothing
    /// has changed then.
    ///
    /// # Safety
    /// The range lies in one region that this source holds, and nobody else accesses it meanwhile.
    unsafe fn take_out(
        &self,
        range: NonNull<[u8]>,
        new: NonZeroLayout,
    ) -> Result<NonNull<[u8]>, SourceError> {
        let _ = (range, new);
        Err(SourceError::Unsupported)
    }
}
