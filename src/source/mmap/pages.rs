//! Kinds of pages, and which of them to try.
//!
//! What a region's length is rounded up to follows from the length alone, so that `release` finds
//! the length of the map from any length that fits: with `r` for the rounding, `r` never falls, and
//! `r(r(n)) = r(n)`; so every length from `n` to `r(n)` is rounded to `r(n)`.

#![forbid(unsafe_code)]

use crate::layout::round_up;

/// What a region's pages are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PageKind {
    /// Pages of the smallest size, 4 KiB on most machines.
    Base,
    /// Pages that the kernel was told to join into huge ones of 2 MiB where it can, now or later
    /// (Linux 2.6.38).
    ///
    /// That is an advice: with `never` in `/sys/kernel/mm/transparent_hugepage/enabled` nothing
    /// comes of it.
    Transparent,
    /// Pages of 2 MiB from the pool that the administrator set up (`vm.nr_hugepages`; Linux 3.8).
    Huge2MiB,
    /// Pages of 1 GiB from the pool that the administrator set up (`hugepagesz=1G hugepages=...` at
    /// boot; Linux 3.8).
    Huge1GiB,
}

impl PageKind {
    /// From the largest page to the smallest, in the order in which they are tried.
    const ALL: [Self; 4] = [Self::Huge1GiB, Self::Huge2MiB, Self::Transparent, Self::Base];

    /// The size of such a page in bytes, where the smallest has `base`.
    pub(super) const fn bytes(self, base: usize) -> usize {
        match self {
            Self::Base => base,
            Self::Transparent | Self::Huge2MiB => 1 << 21,
            Self::Huge1GiB => 1 << 30,
        }
    }

    /// For pages of the pool, the logarithm of their size.
    pub(super) const fn pool_bits(self) -> Option<u32> {
        match self {
            Self::Base | Self::Transparent => None,
            Self::Huge2MiB => Some(21),
            Self::Huge1GiB => Some(30),
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// The kinds of pages that a region may have; the largest are tried first.
///
/// A kind is tried for regions of at least one such page, the smallest kind of the set for all.
/// Regions are whole pages of the largest kind that is tried for them, whichever kind they get. So
/// with [`LADDER`](Self::LADDER), a region of 100 KiB has base pages, one of 3 MiB is 4 MiB long
/// and aligned to 2 MiB, and with `only(PageKind::Huge2MiB)` every region is whole pages of 2 MiB.
///
/// # Examples
/// ```
/// use context_allocator::{MmapSource, NonZeroLayout};
/// use context_allocator::source::{PageKind, PageLadder};
///
/// let source = MmapSource::builder().pages(PageLadder::LADDER).build();
/// let layout = NonZeroLayout::from_size_align(3 << 20, 8)?;
/// let (region, report) = source.obtain_reporting(layout)?;
/// assert_eq!(region.len(), 4 << 20);
/// println!("pages are {:?}", report.pages);
/// # use context_allocator::MemorySource;
/// # unsafe { source.release(region, layout) };
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PageLadder {
    kinds: u8,
}

impl PageLadder {
    /// Pages of 2 MiB from the pool, else transparent huge pages, else base pages.
    pub const LADDER: Self = Self::only(PageKind::Huge2MiB).or(PageKind::Transparent).or(PageKind::Base);

    /// Pages of this kind; where there are none, an error.
    #[must_use]
    pub const fn only(kind: PageKind) -> Self {
        Self { kinds: kind.bit() }
    }

    /// Pages of this kind as well.
    #[must_use]
    pub const fn or(self, kind: PageKind) -> Self {
        Self { kinds: self.kinds | kind.bit() }
    }

    /// Whether pages of this kind may be had.
    #[must_use]
    pub const fn has(self, kind: PageKind) -> bool {
        self.kinds & kind.bit() != 0
    }

    /// Whether pages of the pool may be had.
    pub(super) const fn has_pool(self) -> bool {
        self.has(PageKind::Huge2MiB) || self.has(PageKind::Huge1GiB)
    }

    /// The page of which a region for `len` bytes is a multiple.
    pub(super) const fn unit(self, len: usize, base: usize) -> usize {
        let mut unit = base;
        let mut index = 0;
        while index < PageKind::ALL.len() {
            let kind = PageKind::ALL[index];
            if self.has(kind) {
                unit = kind.bytes(base);
                if unit <= len {
                    break;
                }
            }
            index += 1;
        }
        unit
    }

    /// `len` rounded up to the pages of a region for it.
    pub(super) const fn round_up(self, len: usize, base: usize) -> Option<usize> {
        round_up(len, self.unit(len, base))
    }

    /// The kinds to try for a region of whole pages of `unit` bytes, the largest first.
    pub(super) fn up_to(self, unit: usize, base: usize) -> impl Iterator<Item = PageKind> {
        PageKind::ALL.into_iter().filter(move |&kind| self.has(kind) && kind.bytes(base) <= unit)
    }

    /// The largest page of the pool that a region may have, or the base page.
    pub(super) const fn largest_of_pool(self, base: usize) -> usize {
        if self.has(PageKind::Huge1GiB) {
            PageKind::Huge1GiB.bytes(base)
        } else if self.has(PageKind::Huge2MiB) {
            PageKind::Huge2MiB.bytes(base)
        } else {
            base
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    const MIB: usize = 1 << 20;

    /// Every set of kinds, at every length near a border.
    #[test]
    fn every_length_that_fits_is_rounded_alike() {
        for kinds in 1..16 {
            let ladder = PageLadder { kinds };
            for around in [1, 4096, 65_536, 2 * MIB, 3 * MIB, 4 * MIB, 1 << 30, 3 << 29, 1 << 31] {
                for len in [around - 1, around, around + 1, around + 4095].into_iter().filter(|&len| len > 0)
                {
                    let rounded = ladder.round_up(len, 4096).unwrap();
                    assert!(rounded >= len && rounded.is_multiple_of(ladder.unit(len, 4096)));
                    for fits in [len, len + (rounded - len) / 3, len.midpoint(rounded), rounded - 1, rounded]
                    {
                        let fits = fits.max(len);
                        assert_eq!(ladder.round_up(fits, 4096), Some(rounded), "{ladder:?} {len} {fits}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_largest_kind_that_fits_comes_first() {
        let tried = |ladder: PageLadder, len| {
            let unit = ladder.unit(len, 4096);
            (unit, ladder.up_to(unit, 4096).collect::<Vec<_>>())
        };
        use PageKind::{Base, Huge1GiB, Huge2MiB, Transparent};
        let full = PageLadder::LADDER.or(Huge1GiB);
        assert_eq!(tried(full, 4096), (4096, [Base].into()));
        assert_eq!(tried(full, 2 * MIB), (2 * MIB, [Huge2MiB, Transparent, Base].into()));
        assert_eq!(tried(full, 1 << 30), (1 << 30, [Huge1GiB, Huge2MiB, Transparent, Base].into()));
        assert_eq!(tried(PageLadder::only(Huge2MiB), 1), (2 * MIB, [Huge2MiB].into()));
        assert_eq!(tried(PageLadder::only(Huge1GiB).or(Huge2MiB), 5), (2 * MIB, [Huge2MiB].into()));
        assert_eq!(tried(PageLadder::only(Transparent), 5), (2 * MIB, [Transparent].into()));
        assert!(full.round_up(usize::MAX - 4096, 4096).is_none());
    }
}
