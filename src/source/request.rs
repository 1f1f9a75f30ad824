//! Requests with a least and a preferred length, and what answers them.
//!
//! An allocator wants its regions large, so that there are few of them; but any region will do that
//! has room for the block at hand. One request says both. So a source near its end gives what it
//! has left in one piece, and of two sources the first is used up before the second is asked.

use core::ptr::NonNull;

use super::MemorySource;
use crate::error::SourceError;
use crate::layout::NonZeroLayout;
use crate::misuse;
use crate::ptr;

/// A region, and what is known of its bytes; see [`MemorySource::obtain_between`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Obtained {
    /// The region, with its real length.
    pub region: NonNull<[u8]>,
    /// Whether every byte of it is known to be zero.
    pub zeroed: bool,
}

impl Obtained {
    /// The first `len` bytes of the region, which has as many; the rest goes unused.
    pub(crate) fn cut(self, len: usize) -> Self {
        debug_assert!(len <= self.region.len());
        Self { region: ptr::bytes(self.region.cast(), len), ..self }
    }
}

/// Asks for the preferred length, then for half of the last each time, and at last for the least.
///
/// Lengths above the least are multiples of `S::MIN_ALIGN`, not of the alignment, which may be
/// larger than any length here. Takes steps in proportion to the logarithm of `preferred /
/// least.size()`.
pub(super) fn halving<S: MemorySource + ?Sized>(
    least: NonZeroLayout,
    preferred: usize,
    mut obtain: impl FnMut(NonZeroLayout) -> Result<Obtained, SourceError>,
) -> Result<Obtained, SourceError> {
    let unit = S::MIN_ALIGN;
    let mut wish = preferred.min(S::MAX_REGION).min(longest(least.align())) & !(unit - 1);
    while wish > least.size() {
        if let Ok(obtained) = obtain(least.with_size(wish)?) {
            return Ok(whole_units::<S>(obtained, least));
        }
        wish = (wish / 2) & !(unit - 1);
    }
    Ok(whole_units::<S>(obtain(least)?, least))
}

/// The longest size in bytes that is a layout with that alignment.
pub(super) const fn longest(align: usize) -> usize {
    isize::MAX as usize & align.wrapping_neg()
}

/// Cuts the region, asked for with whole units, to whole units.
fn whole_units<S: MemorySource + ?Sized>(obtained: Obtained, least: NonZeroLayout) -> Obtained {
    let unit = S::MIN_ALIGN.min(1 << least.size().trailing_zeros());
    obtained.cut(obtained.region.len() & !(unit - 1))
}

/// Asks `source` for whole multiples of `unit`, which `least` and `preferred` are and which is a
/// power of two.
///
/// For a source that takes only whole units of what another gives: a region that is cut may be
/// shorter than what fits it.
#[cfg(feature = "std")]
pub(crate) fn obtain_units<S: MemorySource>(
    source: &S,
    least: NonZeroLayout,
    preferred: usize,
    unit: usize,
) -> Result<Obtained, SourceError> {
    let obtained = source.obtain_between(least, preferred)?;
    let (len, whole) = (obtained.region.len(), obtained.region.len() & !(unit - 1));
    if whole == len || len >= preferred {
        return Ok(obtained.cut(whole));
    }
    // Rare: only a source whose lengths are no whole units at its very end.
    let fits = NonZeroLayout::of_region(len, least.align())?;
    // SAFETY: Just obtained, and used by nobody; a region shorter than preferred fits its own
    // length.
    unsafe { source.release(obtained.region, fits) };
    let obtained = source.obtain_between(least.with_size(whole)?, whole)?;
    Ok(obtained.cut(obtained.region.len() & !(unit - 1)))
}

/// Asks `source` for a region, as every allocator does.
///
/// With debug assertions, this is where the promises of [`MemorySource`] are checked, as far as
/// they can be seen in a region.
#[inline]
pub(crate) fn obtain_between<S: MemorySource>(
    source: &S,
    least: NonZeroLayout,
    preferred: usize,
) -> Result<Obtained, SourceError> {
    let obtained = source.obtain_between(least, preferred)?;
    check::<S>(obtained.region, least);
    Ok(obtained)
}

/// As [`obtain_between`], for one length.
#[inline]
pub(crate) fn obtain<S: MemorySource>(
    source: &S,
    layout: NonZeroLayout,
) -> Result<NonNull<[u8]>, SourceError> {
    let region = source.obtain(layout)?;
    check::<S>(region, layout);
    Ok(region)
}

/// With debug assertions, ends the process if a source broke its promises. It does not panic: a
/// lock may be held that a panic's message waits for.
#[inline(always)]
fn check<S: MemorySource>(region: NonNull<[u8]>, asked: NonZeroLayout) {
    if cfg!(debug_assertions) {
        let fault =
            "a memory source gave a region that is too short or not aligned, or not as it promises of all";
        misuse::check(keeps_promises::<S>(region, asked), fault, region.addr().get());
    }
}

/// Whether a region is as long and as aligned as asked and as the source promises of all, and ends
/// at or below the top of the address space.
fn keeps_promises<S: MemorySource>(region: NonNull<[u8]>, asked: NonZeroLayout) -> bool {
    let (start, len) = (region.addr().get(), region.len());
    let align = asked.align().max(S::MIN_ALIGN).max(S::BLOCK);
    let long_enough = len >= asked.size() && len <= isize::MAX as usize;
    let aligned = start.is_multiple_of(align);
    // The last byte has an address; the one behind it need not have one.
    long_enough && aligned && start.checked_add(len - 1).is_some() && (S::BLOCK == 0 || len == S::BLOCK)
}
