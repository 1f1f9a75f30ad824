//! What sources around another source share.

use core::ptr::NonNull;

use super::MemorySource;
use crate::layout::round_up;
use crate::{NonZeroLayout, SourceError};

/// The constants and the fork methods of a source that passes them on to the one in its field.
macro_rules! pass_on {
    ($source:ident . $field:ident) => {
        const ZEROED: bool = $source::ZEROED;
        const MIN_ALIGN: usize = $source::MIN_ALIGN;
        const MAX_REGION: usize = $source::MAX_REGION;

        fn before_fork(&self) {
            self.$field.before_fork();
        }

        unsafe fn after_fork(&self) {
            // SAFETY: The call that the caller promises went to the source in the field.
            unsafe { self.$field.after_fork() };
        }
    };
}
pub(super) use pass_on;

/// What to ask `S` for, so that the same length comes out of any size that [fits](super) the region: a whole block, or a
/// multiple of the least alignment. A source that gives regions of this length knows it again when they are released.
pub(super) fn exact<S: MemorySource>(layout: NonZeroLayout) -> Result<NonZeroLayout, SourceError> {
    let len = if S::BLOCK != 0 && layout.size() <= S::BLOCK {
        S::BLOCK
    } else {
        round_up(layout.size(), S::MIN_ALIGN).ok_or(SourceError::TooLarge)?
    };
    layout.with_size(len).map_err(|_| SourceError::TooLarge)
}

/// Obtains a region of exactly `layout.size()` bytes, which [`exact`] gave.
#[inline]
pub(super) fn obtain<S: MemorySource>(
    source: &S,
    layout: NonZeroLayout,
) -> Result<NonNull<[u8]>, SourceError> {
    let region = source.obtain(layout)?;
    Ok(crate::ptr::bytes(region.cast(), layout.size()))
}

/// Releases a region that [`obtain`] gave for this layout, which [`exact`] made again from the one in hand.
///
/// # Safety
/// As [`MemorySource::release`].
#[inline]
pub(super) unsafe fn release<S: MemorySource>(source: &S, region: NonNull<[u8]>, layout: NonZeroLayout) {
    // SAFETY: The caller's promises; the length lies between what was asked of the source and what it gave, being equal to
    // the former.
    unsafe { source.release(crate::ptr::bytes(region.cast(), layout.size()), layout) };
}
