//! The arithmetic of bumping upward: plain numbers, no memory.
//!
//! Upward, because the last block can then grow where it is: a `Vec` that grows while nothing else
//! allocates is never copied.

#![forbid(unsafe_code)]

use crate::sys::LOWER_HALF;

/// What every block's address and size is a multiple of, in bytes.
///
/// Eight is what most values need, so that a request whose alignment is known and at most this
/// needs no padding; sixteen would waste memory on small blocks.
pub(super) const MIN_ALIGN: usize = 8;

/// `size` rounded up to whole units of [`MIN_ALIGN`].
///
/// `size` is at most `isize::MAX`, as in every layout, so this does not overflow.
#[inline(always)]
pub(super) const fn rounded(size: usize) -> usize {
    (size + (MIN_ALIGN - 1)) & !(MIN_ALIGN - 1)
}

/// Bytes of a region of `len` bytes at `start` up to the last multiple of [`MIN_ALIGN`]; `start` is
/// such a multiple.
///
/// A region may end with the address space. The last unit is left out then: what is behind it has
/// no address.
#[inline(always)]
pub(super) const fn usable(start: usize, len: usize) -> usize {
    let usable = len & !(MIN_ALIGN - 1);
    if start.wrapping_add(usable) == 0 { usable - MIN_ALIGN } else { usable }
}

/// Where a block of `size` bytes at a multiple of `align` goes, between `cursor` and `limit`: where
/// it starts and where it ends. `None` where it does not fit.
///
/// `cursor` is at most `limit` and a multiple of [`MIN_ALIGN`]; `size` is already [`rounded`] and
/// with `align` comes from a layout, so that together they pass `isize::MAX` by less than
/// [`MIN_ALIGN`].
///
/// There is no test for small alignments: a caller that tells the compiler that `cursor` is aligned
/// has the padding computed away where the alignment is known.
#[inline(always)]
pub(super) const fn place(cursor: usize, limit: usize, size: usize, align: usize) -> Option<(usize, usize)> {
    place_within::<LOWER_HALF>(cursor, limit, size, align)
}

#[inline(always)]
const fn place_within<const LOWER_HALF: bool>(
    cursor: usize,
    limit: usize,
    size: usize,
    align: usize,
) -> Option<(usize, usize)> {
    debug_assert!(cursor <= limit);
    debug_assert!(cursor.is_multiple_of(MIN_ALIGN));
    let start = cursor.wrapping_add(align - 1) & align.wrapping_neg();
    let end = start.wrapping_add(size);
    // The distance to the end does not overflow wherever the cursor is: the padding is less than
    // `align`.
    let fits = if LOWER_HALF { end <= limit } else { end.wrapping_sub(cursor) <= limit - cursor };
    if fits { Some((start, end)) } else { None }
}

/// The most bytes of a region that no block asks for.
pub(super) const LAST: usize = 4 * 1024 * 1024;

/// The size of the region to obtain after one of `last` bytes (0 for the first), if nothing larger
/// is needed.
///
/// Regions double, so that their number stays logarithmic in what is allocated, up to 4 MiB, so
/// that the unused end of the last one stays small.
#[inline(always)]
pub(super) const fn next_region(last: usize) -> usize {
    const FIRST: usize = 64 * 1024;
    let doubled = last.saturating_mul(2);
    if doubled < FIRST {
        FIRST
    } else if doubled > LAST {
        LAST
    } else {
        doubled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_placed_inside_and_aligned() {
        for cursor in (0..256usize).step_by(MIN_ALIGN) {
            for limit in (cursor..512).step_by(MIN_ALIGN) {
                for size in (MIN_ALIGN..64).step_by(MIN_ALIGN) {
                    for align in [1, 2, 4, 8, 16, 32, 64, 128] {
                        let start = cursor.next_multiple_of(align.max(MIN_ALIGN));
                        let fits = start + size <= limit;
                        let expected = fits.then_some((start, start + size));
                        assert_eq!(place_within::<true>(cursor, limit, size, align), expected);
                        assert_eq!(place_within::<false>(cursor, limit, size, align), expected);
                        let high = usize::MAX - 1023;
                        assert_eq!(
                            place_within::<false>(high + cursor, high + limit, size, align),
                            expected.map(|(start, end)| (high + start, high + end))
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn the_largest_layouts_do_not_overflow() {
        let size = rounded(isize::MAX as usize);
        let align = 1 << (usize::BITS - 2);
        let with_align = rounded(isize::MAX as usize - (align - 1));
        for cursor in [usize::MAX - 7, isize::MAX as usize + 1, isize::MAX as usize - 63, 8] {
            assert_eq!(place_within::<false>(cursor, cursor, size, 1), None);
            assert_eq!(place_within::<false>(cursor, cursor | 8, with_align, align), None);
        }
        // The last page that Linux gives a program ends below this, with the widest page tables
        // there are.
        for cursor in [(1 << (usize::BITS - 7)) - 64, 8] {
            assert_eq!(place_within::<true>(cursor, cursor, size, 1), None);
            assert_eq!(place_within::<true>(cursor, cursor | 8, with_align, align), None);
            assert_eq!(place_within::<true>(cursor, cursor, MIN_ALIGN, 1), None);
        }
    }

    #[test]
    fn a_region_that_ends_with_the_address_space_has_an_end() {
        let top = usize::MAX - 4095;
        for len in [16, 4088, 4095, 4096] {
            let end = top + (usable(top, len) - 1) + 1;
            assert!(end >= top && end > usize::MAX - 4096);
            assert!(usable(top, len) + MIN_ALIGN >= len & !(MIN_ALIGN - 1));
        }
        assert_eq!((usable(top, 4096), usable(top, 4095), usable(4096, 4095)), (4088, 4088, 4088));
        assert_eq!(usable(4096, 4096), 4096);
        // The last block of such a region ends at its end, and the next one does not fit.
        let end = top + 4088;
        assert_eq!(place_within::<false>(top + 16, end, 4072, 8), Some((top + 16, end)));
        assert_eq!(place_within::<false>(top + 16, end, 4080, 8), None);
        assert_eq!(place_within::<false>(end, end, 8, 1), None);
        assert_eq!(place_within::<false>(top + 16, end, 16, 4096), None);
    }

    #[test]
    fn regions_double_between_bounds() {
        assert_eq!(next_region(0), 64 * 1024);
        assert_eq!(next_region(100 * 1024), 200 * 1024);
        assert_eq!(next_region(usize::MAX), 4 * 1024 * 1024);
    }
}
