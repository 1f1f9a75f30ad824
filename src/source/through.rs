//! What sources around another source share.

use core::ptr::NonNull;

use super::request::longest;
use super::{Decommit, MemorySource, Obtained, Remapped};
use crate::error::SourceError;
use crate::layout::NonZeroLayout;
use crate::layout::round_up;

/// The constants and the fork methods of a source that passes them on to the one in its field.
macro_rules! pass_on {
    ($source:ident . $field:ident) => {
        const ZEROED: bool = $source::ZEROED;
        const MIN_ALIGN: usize = $source::MIN_ALIGN;
        const MAX_REGION: usize = $source::MAX_REGION;

        unsafe fn before_fork(&self) {
            // SAFETY: The caller's promises, for the source in the field.
            unsafe { self.$field.before_fork() };
        }

        unsafe fn after_fork(&self) {
            // SAFETY: The call that the caller promises went to the source in the field.
            unsafe { self.$field.after_fork() };
        }
    };
}
pub(crate) use pass_on;

/// The methods about memory that is kept for later requests, of a source that keeps none itself.
macro_rules! pass_on_kept {
    ($field:ident) => {
        fn purge(&self) -> usize {
            self.$field.purge()
        }

        $crate::source::through::pass_on_sweep!(self => self.$field);

        fn idle(&self, report: &mut dyn FnMut($crate::source::IdleMemory)) {
            self.$field.idle(report);
        }

        fn reclaim(&self, leaving: &mut dyn FnMut(NonNull<[u8]>)) -> usize {
            self.$field.reclaim(leaving)
        }
    };
}
pub(crate) use pass_on_kept;

/// The methods about memory in regions that are held, of a source whose regions are held of
/// another.
macro_rules! pass_on_sweep {
    ($this:ident => $source:expr) => {
        fn purge_unit(&$this) -> usize {
            $source.purge_unit()
        }

        unsafe fn purge_part(&$this, range: NonNull<[u8]>) -> bool {
            // SAFETY: The range lies in a region of the source behind, which holds it; the caller
            // promises the rest.
            unsafe { $source.purge_part(range) }
        }

        #[cfg(feature = "std")]
        fn sweep_later(&$this, sweep: &'static $crate::source::Sweep) -> bool {
            $source.sweep_later(sweep)
        }
    };
}
pub(crate) use pass_on_sweep;

/// A source owns what the one in its field `source` owns: its regions are held of that one, and so
/// is what it keeps.
macro_rules! pass_on_owns {
    ($type:ident < S $(, $parameter:ident: $bound:path)? >) => {
        // SAFETY: The regions, and what is kept of them, are held of the source behind, which owns
        // them.
        unsafe impl<S: OwnsRegions $(, $parameter: $bound)?> OwnsRegions for $type<S $(, $parameter)?> {
            #[inline]
            fn owns(&self, address: NonNull<u8>) -> bool {
                self.source.owns(address)
            }
        }
    };
}
pub(crate) use pass_on_owns;

/// The methods of [`Decommit`](super::Decommit) that make no region, of a source whose regions are
/// held of another.
macro_rules! pass_on_decommit {
    ($this:ident => $source:expr) => {
        fn decommit_unit(&$this) -> usize {
            $source.decommit_unit()
        }

        unsafe fn decommit(&$this, range: NonNull<[u8]>) -> Result<(), SourceError> {
            // SAFETY: The range lies in a region of the source behind, which holds it; the caller
            // promises the rest.
            unsafe { $source.decommit(range) }
        }

        unsafe fn keep_pages_small(&$this, range: NonNull<[u8]>) {
            // SAFETY: The range lies in a region of the source behind, which holds it.
            unsafe { $source.keep_pages_small(range) };
        }

        unsafe fn decommit_lazily(&$this, range: NonNull<[u8]>) -> Result<(), SourceError> {
            // SAFETY: The range lies in a region of the source behind, which holds it; the caller
            // promises the rest.
            unsafe { $source.decommit_lazily(range) }
        }
    };
}
pub(crate) use pass_on_decommit;

/// What to ask `S` for, so that the same length comes out of any size that [fits](super) the
/// region: a whole block, or a multiple of the least alignment. A source that gives regions of this
/// length knows it again when they are released.
pub(super) fn exact<S: MemorySource>(layout: NonZeroLayout) -> Result<NonZeroLayout, SourceError> {
    let len = if S::BLOCK != 0 && layout.size() <= S::BLOCK {
        S::BLOCK
    } else {
        round_up(layout.size(), S::MIN_ALIGN).ok_or(SourceError::TooLarge)?
    };
    layout.with_size(len).map_err(|_| SourceError::TooLarge)
}

/// The same for a least and a preferred length; the latter is not below the former.
pub(super) fn exact_between<S: MemorySource>(
    least: NonZeroLayout,
    preferred: usize,
) -> Result<(NonZeroLayout, usize), SourceError> {
    let least = exact::<S>(least)?;
    let unit = S::MIN_ALIGN;
    let most = S::MAX_REGION.min(longest(least.align()));
    let preferred = preferred.min(most) & !(unit - 1);
    Ok((least, preferred.max(least.size())))
}

/// Obtains a region of at most `preferred` bytes, for lengths that [`exact_between`] gave; its
/// length is such a length too.
#[inline]
pub(super) fn obtain_between<S: MemorySource>(
    source: &S,
    least: NonZeroLayout,
    preferred: usize,
) -> Result<Obtained, SourceError> {
    let obtained = source.obtain_between(least, preferred)?;
    // Both are multiples of the least alignment, as the source promises. What was cut fits: it is
    // the preferred length.
    Ok(obtained.cut(obtained.region.len().min(preferred)))
}

/// Remaps a region that [`obtain_between`] gave with the length of `old`, for layouts that
/// [`exact`] made again from those in hand: it is as long as `new` then.
///
/// # Safety
/// As [`MemorySource::remap`].
pub(super) unsafe fn remap<S: MemorySource>(
    source: &S,
    start: NonNull<u8>,
    old: NonZeroLayout,
    new: NonZeroLayout,
) -> Result<Remapped, SourceError> {
    // SAFETY: The caller's promises; as in `release`, the old length fits.
    let remapped = unsafe { source.remap(crate::ptr::bytes(start, old.size()), old, new) }?;
    Ok(remapped.cut(new.size()))
}

/// Takes a range out to a region for `new`, which [`exact`] gave; it is as long as that.
///
/// # Safety
/// As [`Decommit::take_out`].
pub(super) unsafe fn take_out<S: Decommit>(
    source: &S,
    range: NonNull<[u8]>,
    new: NonZeroLayout,
) -> Result<NonNull<[u8]>, SourceError> {
    // SAFETY: The range lies in regions that this source holds, and nobody uses it meanwhile.
    let region = unsafe { source.take_out(range, new) }?;
    Ok(crate::ptr::bytes(region.cast(), new.size()))
}

/// Releases a region that [`obtain_between`] gave with the length of this layout, which [`exact`]
/// made again from the one in hand.
///
/// # Safety
/// As [`MemorySource::release`].
#[inline]
pub(super) unsafe fn release<S: MemorySource>(source: &S, region: NonNull<[u8]>, layout: NonZeroLayout) {
    // SAFETY: The caller's promises; the length is the preferred one that was asked of the source,
    // or all that it gave.
    unsafe { source.release(crate::ptr::bytes(region.cast(), layout.size()), layout) };
}
