//! The arithmetic of bumping upward: plain numbers, no memory.
//!
//! Upward, because the last block can then grow where it is: a `Vec` that grows while nothing else allocates is never
//! copied.

#![forbid(unsafe_code)]

/// What every block's address and size is a multiple of, in bytes.
///
/// Eight is what most values need, so that a request whose alignment is known and at most this needs no padding; sixteen
/// would waste memory on small blocks.
pub(super) const MIN_ALIGN: usize = 8;

/// `size` rounded up to whole units of [`MIN_ALIGN`].
///
/// `size` is at most `isize::MAX`, as in every layout, so this does not overflow.
#[inline(always)]
pub(super) const fn rounded(size: usize) -> usize {
    (size + (MIN_ALIGN - 1)) & !(MIN_ALIGN - 1)
}

/// Where a block of `size` bytes at a multiple of `align` goes, between `cursor` and `limit`: the bytes to skip before
/// it, and the bytes to advance in all. `None` where it does not fit.
///
/// `cursor` is at most `limit` and a multiple of [`MIN_ALIGN`]; `size` is already [`rounded`] and with `align` comes from
/// a layout, so that `size + align` passes `isize::MAX` by less than [`MIN_ALIGN`] and nothing overflows.
///
/// There is no test for small alignments: a caller that tells the compiler that `cursor` is aligned has the padding computed away
/// where the alignment is known.
#[inline(always)]
pub(super) const fn place(cursor: usize, limit: usize, size: usize, align: usize) -> Option<(usize, usize)> {
    debug_assert!(cursor <= limit);
    debug_assert!(cursor.is_multiple_of(MIN_ALIGN));
    let padding = cursor.wrapping_neg() & (align - 1);
    let advance = padding + size;
    if advance > limit - cursor { None } else { Some((padding, advance)) }
}

/// The size of the region to obtain after one of `last` bytes (0 for the first), if nothing larger is needed.
///
/// Regions double, so that their number stays logarithmic in what is allocated, up to 4 MiB, so that the unused end of
/// the last one stays small.
#[inline(always)]
pub(super) const fn next_region(last: usize) -> usize {
    const FIRST: usize = 64 * 1024;
    const LAST: usize = 4 * 1024 * 1024;
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
                        match place(cursor, limit, size, align) {
                            Some((padding, advance)) => {
                                assert!(fits);
                                assert_eq!((cursor + padding, cursor + advance), (start, start + size));
                            }
                            None => assert!(!fits),
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn the_largest_layouts_do_not_overflow() {
        let size = rounded(isize::MAX as usize);
        assert_eq!(place(usize::MAX - 7, usize::MAX - 7, size, 1), None);
        let align = 1 << (usize::BITS - 2);
        assert_eq!(place(8, 16, rounded(isize::MAX as usize - (align - 1)), align), None);
        assert_eq!(place(8, 8, MIN_ALIGN, 1), None);
    }

    #[test]
    fn regions_double_between_bounds() {
        assert_eq!(next_region(0), 64 * 1024);
        assert_eq!(next_region(100 * 1024), 200 * 1024);
        assert_eq!(next_region(usize::MAX), 4 * 1024 * 1024);
    }
}
