//! Classes of sizes, for allocators that keep blocks of equal size together.
//!
//! ```text
//!   class      0   1   2  ..  63 | 64    65    66    67  | 68 .. 83
//!   bytes     16  32  48  .. 1024| 1280  1536  1792  2048| 2560 .. 32768   four a doubling
//! ```
//!
//! Four classes a doubling is the spacing of jemalloc (J. Evans, 2006): at most a fifth of a block
//! is wasted.

#![forbid(unsafe_code)]

/// Sizes up to this are in steps of [`STEP`]; beyond it, four classes a doubling.
pub(super) const FINE: usize = 1024;
pub(super) const STEP: usize = 16;
/// The size in bytes of the largest class.
pub(super) const LARGEST: usize = 32 * 1024;
const FINE_CLASSES: usize = FINE / STEP;
const COARSE_CLASSES: usize = 4 * (LARGEST / FINE).ilog2() as usize;
/// The number of classes.
pub(super) const CLASSES: usize = FINE_CLASSES + COARSE_CLASSES;

/// The class of `size`, from 1 to [`LARGEST`] bytes, at an alignment of at most [`STEP`].
#[inline(always)]
pub(super) const fn class_of(size: usize) -> usize {
    if size <= FINE {
        (size - 1) / STEP
    } else {
        // The highest bit of `size - 1` and the two below it: 4 to 7, which tell the quarter.
        let top = (size - 1).ilog2() as usize;
        let highest = ((size - 1) << 2) >> top;
        4 * top + highest + (FINE_CLASSES - 4 * FINE.ilog2() as usize - 4)
    }
}

/// The size in bytes of the blocks of `class`.
#[inline(always)]
pub(super) const fn bytes_of(class: usize) -> usize {
    if class < FINE_CLASSES {
        (class + 1) * STEP
    } else {
        let coarse = class - FINE_CLASSES;
        (FINE << (coarse / 4)) / 4 * (5 + coarse % 4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_has_the_smallest_class_that_holds_it() {
        let mut previous = 0;
        for size in 1..=LARGEST {
            let class = class_of(size);
            let bytes = bytes_of(class);
            assert!(bytes >= size && bytes_of(class.saturating_sub(1)) < size || class == 0, "{size}");
            assert!(class < CLASSES && class >= previous && bytes.is_multiple_of(STEP));
            assert!(bytes - size < STEP.max(size / 4 + 1), "{size} wastes too much in {bytes}");
            previous = class;
        }
        assert_eq!(previous, CLASSES - 1);
    }
}
