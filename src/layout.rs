//! A [`Layout`] whose size is not zero.
//!
//! Zero-size requests are settled once, in the adaptors; everything below them works with
//! [`NonZeroLayout`] and needs no test. What always holds is what [`Layout`] promises, and
//! `size() > 0`: the alignment is a power of two, and the size rounded up to it is at most
//! `isize::MAX`.

#![forbid(unsafe_code)]

use core::alloc::Layout;

use crate::error::LayoutError;

/// Size (at least one byte) and alignment (a power of two) of a block or region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NonZeroLayout(Layout);

impl NonZeroLayout {
    /// The layout, or `None` where its size is zero.
    #[inline(always)]
    #[must_use]
    pub const fn new(layout: Layout) -> Option<Self> {
        if layout.size() == 0 { None } else { Some(Self(layout)) }
    }

    /// The layout, with one byte in place of none; an error where one byte is too large for the
    /// alignment, which only the largest power of two is.
    ///
    /// `GlobalAlloc` leaves zero-size requests undefined; this gives them a block of one byte, so
    /// that a caller who breaks that rule loses a byte and nothing else.
    #[inline(always)]
    pub(crate) const fn at_least_one(layout: Layout) -> Result<Self, LayoutError> {
        match Self::new(layout) {
            Some(layout) => Ok(layout),
            None => Self::from_size_align(1, layout.align()),
        }
    }

    /// The layout of `size` bytes at a multiple of `align` bytes.
    ///
    /// # Errors
    /// Where `size` is zero, `align` is not a power of two, or `size` rounded up to `align` passes
    /// `isize::MAX`.
    #[inline(always)]
    pub const fn from_size_align(size: usize, align: usize) -> Result<Self, LayoutError> {
        if size == 0 {
            return Err(LayoutError);
        }
        match Layout::from_size_align(size, align) {
            Ok(layout) => Ok(Self(layout)),
            Err(_) => Err(LayoutError),
        }
    }

    /// A layout that fits a region of `len` bytes which was asked for at a multiple of `align`: of
    /// that length, or, where that with this alignment is no layout, of the largest that is.
    ///
    /// # Errors
    /// Where no region of that length and alignment was asked for.
    pub(crate) const fn of_region(len: usize, align: usize) -> Result<Self, LayoutError> {
        // What was asked for is at most this, being a layout.
        let most = isize::MAX as usize & align.wrapping_neg();
        Self::from_size_align(if len < most { len } else { most }, align)
    }

    /// The layout of a `T`, or `None` where `T` has no size.
    #[inline(always)]
    #[must_use]
    pub const fn of<T>() -> Option<Self> {
        Self::new(Layout::new::<T>())
    }

    /// Size in bytes; never zero.
    #[inline(always)]
    #[must_use]
    pub const fn size(self) -> usize {
        self.0.size()
    }

    /// Alignment in bytes; a power of two.
    #[inline(always)]
    #[must_use]
    pub const fn align(self) -> usize {
        self.0.align()
    }

    /// The layout as the standard library's type.
    #[inline(always)]
    #[must_use]
    pub const fn layout(self) -> Layout {
        self.0
    }

    /// The same alignment, `size` bytes.
    ///
    /// # Errors
    /// As [`from_size_align`](Self::from_size_align).
    #[inline(always)]
    pub const fn with_size(self, size: usize) -> Result<Self, LayoutError> {
        Self::from_size_align(size, self.align())
    }

    /// The same size, alignment raised to at least `align`.
    ///
    /// # Errors
    /// As [`from_size_align`](Self::from_size_align).
    #[inline(always)]
    pub const fn align_to(self, align: usize) -> Result<Self, LayoutError> {
        let align = if align > self.align() { align } else { self.align() };
        Self::from_size_align(self.size(), align)
    }
}

impl From<NonZeroLayout> for Layout {
    fn from(layout: NonZeroLayout) -> Self {
        layout.0
    }
}

/// `size` rounded up to a multiple of `align`, a power of two; `None` beyond `usize::MAX`.
#[inline(always)]
pub(crate) const fn round_up(size: usize, align: usize) -> Option<usize> {
    match size.checked_add(align - 1) {
        Some(sum) => Some(sum & !(align - 1)),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_sizes_are_refused_or_become_one_byte() {
        let zero = Layout::new::<()>();
        assert_eq!(NonZeroLayout::new(zero), None);
        assert_eq!(NonZeroLayout::at_least_one(zero).map(NonZeroLayout::size), Ok(1));
        let largest = Layout::from_size_align(0, 1 << (usize::BITS - 1)).unwrap();
        assert_eq!(NonZeroLayout::at_least_one(largest), Err(LayoutError));
        assert_eq!(NonZeroLayout::from_size_align(0, 8), Err(LayoutError));
        assert_eq!(NonZeroLayout::from_size_align(1, 3), Err(LayoutError));
        assert_eq!(NonZeroLayout::from_size_align(isize::MAX as usize, 2), Err(LayoutError));
        assert!(NonZeroLayout::from_size_align(isize::MAX as usize, 1).is_ok());
    }

    #[test]
    fn every_region_has_a_layout_that_fits() {
        let (longest, half) = (isize::MAX as usize, 1 << (usize::BITS - 2));
        for align in [1, 8, 4096, 1 << 24, half] {
            for asked in [1, 4096, half, longest - align + 1, longest].into_iter() {
                let Ok(asked) = NonZeroLayout::from_size_align(asked, align) else { continue };
                for len in [asked.size(), asked.size().midpoint(longest), longest] {
                    let fits = NonZeroLayout::of_region(len, align).unwrap();
                    assert_eq!(fits.align(), align);
                    assert!((asked.size()..=len).contains(&fits.size()), "{asked:?} {len} {fits:?}");
                }
            }
        }
        assert_eq!(NonZeroLayout::of_region(0, 8), Err(LayoutError));
    }

    #[test]
    fn rounding_up() {
        assert_eq!(round_up(0, 8), Some(0));
        assert_eq!(round_up(9, 8), Some(16));
        assert_eq!(round_up(usize::MAX, 8), None);
    }
}
