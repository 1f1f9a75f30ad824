//! How many trees there are, and which sizes belong in which.
//!
//! Sizes up to [`BINNED`] bytes have exact bins; the trees share what is larger, up to eight of
//! them to each doubling, the last one taking all that is left:
//!
//! ```text
//!   bin     0   1   2  ..  255      tree (of 32)  0      1      2      3      4    ..   31
//!   bytes  16  32  48  .. 4096      bytes from    4112   5120   6144   7168   8192 ..   896 KiB
//! ```

#![forbid(unsafe_code)]

use generic_array::ArrayLength;

use super::block::GRANULE;
use crate::size::typenum_counts;

/// The largest size in bytes that has an exact bin.
pub(super) const BINNED: usize = BINS * GRANULE;
pub(super) const BINS: usize = 256;

/// The number of trees of a
/// [`MultipleBinarySearchTreeAllocator`](crate::MultipleBinarySearchTreeAllocator): a `typenum`
/// number from 1 to 64.
///
/// More trees are each less deep and take a word each.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a number of trees",
    label = "not a number of trees",
    note = "a number of trees is a `typenum` number from `U1` to `U64`, because a word of 64 bits says which trees are empty; \
            write for instance `MultipleBinarySearchTreeAllocator<MmapSource, U32>` with `context_allocator::size::U32`"
)]
pub trait TreeCount: ArrayLength + sealed::Sealed {
    /// The number of trees.
    const TREES: usize;
}

/// Trees to each doubling of the size, as a power of two.
const fn steps(trees: usize) -> u32 {
    match trees {
        48.. => 3,
        24.. => 2,
        12.. => 1,
        _ => 0,
    }
}

/// The tree for a size of more than [`BINNED`] bytes.
#[inline(always)]
pub(super) const fn tree_of<T: TreeCount>(size: usize) -> usize {
    let steps = const { steps(T::TREES) };
    let doubling = (size / BINNED).ilog2();
    let step = (size >> (doubling + BINNED.ilog2() - steps)) & ((1 << steps) - 1);
    let tree = ((doubling as usize) << steps) + step;
    if tree < T::TREES { tree } else { T::TREES - 1 }
}

/// The bin for a size of at most [`BINNED`] bytes, a multiple of [`GRANULE`] and not zero.
#[inline(always)]
pub(super) const fn bin_of(size: usize) -> usize {
    size / GRANULE - 1
}

/// The size in bytes of the blocks of a bin.
#[inline(always)]
pub(super) const fn size_of_bin(number: usize) -> usize {
    (number + 1) * GRANULE
}

typenum_counts!(TreeCount::TREES, |trees| trees >= 1 && trees <= u64::BITS as usize;
    U1, U2, U3, U4, U5, U6, U7, U8, U9, U10, U11, U12, U13, U14, U15, U16, U17, U18, U19, U20, U21, U22, U23,
    U24, U25, U26, U27, U28, U29, U30, U31, U32, U33, U34, U35, U36, U37, U38, U39, U40, U41, U42, U43, U44,
    U45, U46, U47, U48, U49, U50, U51, U52, U53, U54, U55, U56, U57, U58, U59, U60, U61, U62, U63, U64,
);

#[cfg(test)]
mod tests {
    use super::*;
    use typenum::consts::{U1, U7, U12, U32, U64};

    #[test]
    fn every_number_that_the_bitmap_holds_is_there() {
        assert!(ALL.iter().copied().eq(1..=64));
    }

    #[test]
    fn every_size_has_a_bin_or_a_tree_and_larger_sizes_never_an_earlier_one() {
        assert_eq!((bin_of(GRANULE), bin_of(BINNED)), (0, BINS - 1));
        fn trees<T: TreeCount>() {
            let mut last = 0;
            for size in (BINNED + GRANULE..1 << 21).step_by(GRANULE) {
                let tree = tree_of::<T>(size);
                assert!(tree < T::TREES && (tree == last || tree == last + 1), "{size}: {last} {tree}");
                last = tree;
            }
            assert_eq!(tree_of::<T>(BINNED + GRANULE), 0);
            assert_eq!(tree_of::<T>(isize::MAX as usize), T::TREES - 1);
        }
        trees::<U1>();
        trees::<U7>();
        trees::<U12>();
        trees::<U32>();
        trees::<U64>();
    }
}
