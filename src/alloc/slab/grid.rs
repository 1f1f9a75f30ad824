//! Where the blocks of a slab lie among its pages.
//!
//! ```text
//!   units   |   0   |   1   |   2   |   3   |       a 32nd of the slab, at least 4 KiB
//!   blocks  |hd| 0 | 1 | 2 | 3 | 4 | 5 |....       not carved
//! ```
//!
//! A hole is a unit in which every block is free, and whose memory was given up.

#![forbid(unsafe_code)]

use core::ops::Range;

/// The number of units at most, and the bits of a set of them.
const UNITS: usize = u32::BITS as usize;
/// No unit is smaller, in bytes.
const SMALLEST: usize = 4096;

/// The unit of a slab of `len` bytes, a power of two.
pub(super) const fn unit_of(len: usize) -> usize {
    let part = len / UNITS;
    if part < SMALLEST { SMALLEST } else { part }
}

/// A slab's blocks and units.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    /// Bytes from the slab's start to the first block.
    pub(super) first: usize,
    /// The size of a block in bytes.
    pub(super) bytes: usize,
    /// How many blocks there are.
    pub(super) blocks: usize,
    /// The size of a unit in bytes, a power of two.
    pub(super) unit: usize,
}

/// A set of units, a bit each.
pub(super) type Units = u32;

impl Grid {
    /// The number of the block that begins `offset` bytes behind the slab's start.
    pub(super) const fn index(&self, offset: usize) -> usize {
        offset.wrapping_sub(self.first) / self.bytes
    }

    /// The units in which a block lies.
    fn span(&self, index: usize) -> Range<usize> {
        let start = self.first + index * self.bytes;
        start / self.unit..(start + self.bytes - 1) / self.unit + 1
    }

    /// The same as a set.
    pub(super) fn units(&self, index: usize) -> Units {
        let span = self.span(index);
        (u32::MAX >> (UNITS - span.len())) << span.start
    }

    /// The blocks that lie in a unit, or reach into it.
    pub(super) fn blocks_in(&self, unit: usize) -> Range<usize> {
        let (start, end) = (unit * self.unit, (unit + 1) * self.unit);
        let first = start.saturating_sub(self.first) / self.bytes;
        let last = end.saturating_sub(self.first).div_ceil(self.bytes);
        first.min(self.blocks)..last.min(self.blocks)
    }

    /// How many blocks reach into `holes`.
    pub(super) fn in_holes(&self, holes: Units) -> u32 {
        if holes == 0 {
            return 0;
        }
        let reach = (0..self.blocks).filter(|&index| self.units(index) & holes != 0).count();
        u32::try_from(reach).unwrap_or(u32::MAX)
    }

    /// Units that can become holes: those in which each block is on the list `free` of numbers, or
    /// reaches into one of the `holes` that there are. Not the unit with the header.
    #[cfg(feature = "std")]
    pub(super) fn find(&self, holes: Units, free: impl Iterator<Item = usize>) -> Units {
        let mut free_in = [0_usize; UNITS];
        let mut count = |index| self.span(index).for_each(|unit| free_in[unit] += 1);
        free.for_each(&mut count);
        if holes != 0 {
            (0..self.blocks).filter(|&index| self.units(index) & holes != 0).for_each(&mut count);
        }
        let mut found = 0;
        for (unit, &free) in free_in.iter().enumerate().skip(1) {
            if free > 0 && free == self.blocks_in(unit).len() {
                found |= 1 << unit;
            }
        }
        found & !holes
    }
}

/// The runs of adjacent units in a set.
#[cfg(feature = "std")]
pub(super) fn runs(mut units: Units) -> impl Iterator<Item = Range<usize>> {
    core::iter::from_fn(move || {
        if units == 0 {
            return None;
        }
        let start = units.trailing_zeros();
        let len = (units >> start).trailing_ones();
        let run = (u32::MAX >> (u32::BITS - len)) << start;
        units &= !run;
        Some(start as usize..(start + len) as usize)
    })
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn grids() -> impl Iterator<Item = Grid> {
        [(4096, 16_usize), (65536, 16), (65536, 48), (65536, 1024), (65536, 1280), (65536, 2048)]
            .into_iter()
            .chain([(262_144, 2560), (262_144, 32768), (1 << 20, 4096)])
            .flat_map(|(len, bytes)| {
                let unit = unit_of(len);
                [128, 1152_usize].map(|first: usize| {
                    let first = first.next_multiple_of(bytes & bytes.wrapping_neg());
                    Grid { first, bytes, blocks: (len - first) / bytes, unit }
                })
            })
    }

    #[test]
    fn blocks_and_units_agree() {
        for grid in grids() {
            assert!(grid.first + grid.blocks * grid.bytes <= UNITS * grid.unit);
            for unit in 0..UNITS {
                let there: Vec<usize> =
                    (0..grid.blocks).filter(|&index| grid.units(index) >> unit & 1 != 0).collect();
                assert_eq!(there, grid.blocks_in(unit).collect::<Vec<_>>(), "{grid:?}, {unit}");
            }
            for index in 0..grid.blocks {
                assert_eq!(grid.index(grid.first + index * grid.bytes), index);
            }
        }
    }

    #[test]
    fn holes_are_the_units_without_a_block_that_lives() {
        let mut random = fastrand::Rng::with_seed(7);
        for grid in grids() {
            for live in [0, 1, 2, 5, grid.blocks / 3] {
                let live: Vec<usize> =
                    (0..live.min(grid.blocks - 1)).map(|_| random.usize(..grid.blocks)).collect();
                let mut free: Vec<usize> = (0..grid.blocks).filter(|index| !live.contains(index)).collect();
                random.shuffle(&mut free);
                let expected = (1..UNITS).filter(|&unit| {
                    let mut blocks = grid.blocks_in(unit);
                    !blocks.is_empty() && blocks.all(|index| !live.contains(&index))
                });
                let expected = expected.fold(0, |units, unit| units | 1 << unit);
                let found = grid.find(0, free.iter().copied());
                assert_eq!(found, expected, "{grid:?}, {live:?}");
                // With some of them as holes before, the others are found.
                let holes = found & 0x5555_5555;
                let listed = free.iter().copied().filter(|&index| grid.units(index) & holes == 0);
                assert_eq!(grid.find(holes, listed.clone()), found & !holes);
                assert_eq!(grid.in_holes(holes) as usize, free.len() - listed.count());
            }
        }
    }

    #[test]
    fn runs_are_whole() {
        let of = |units| runs(units).collect::<Vec<_>>();
        assert!(of(0).is_empty());
        assert_eq!(of(0b0110_1110), [1..4, 5..7]);
        assert_eq!((of(u32::MAX).len(), of(u32::MAX)[0].clone()), (1, 0..32));
        assert_eq!((of(1 << 31).len(), of(1 << 31)[0].clone()), (1, 31..32));
    }
}
