//! How long slabs are, and what they serve.

use crate::alloc::classes;

/// Bytes at the start of each slab for a word of the tier's and one for what is returned.
pub(super) const RESERVED: usize = 16;

/// The largest class that slabs of `len` bytes, and of four times that, serve over a source of
/// regions of at most `region` bytes.
pub(super) const fn largest_of(len: usize, region: usize) -> usize {
    let fits = if four_fit(len, region) { len / 2 } else { len / 8 };
    if fits < classes::LARGEST { fits } else { classes::LARGEST }
}

/// Whether a source of regions of at most `region` bytes gives slabs of `4 * len`.
pub(super) const fn four_fit(len: usize, region: usize) -> bool {
    region / 4 >= len
}
