//! Regions with free blocks, by the longest run of free blocks that they may have.
//!
//! ```text
//!   present   a bit for each bin that has a region
//!   bin 0     untold: a block was freed in it since its map was last searched in vain
//!   bin 1     runs of 1 block at most         bins 1 to 16: one for each length
//!   ...
//!   bin 17    runs of 17 to 23 blocks at most, and from here on two bins for each doubling
//!   bin 18    runs of 24 to 31 blocks at most
//!   ...
//! ```
//!
//! A request for a run tries the untold regions, then the bins from its own length upward: the
//! shortest runs that may do come first. A region whose map is searched in vain goes to the bin of
//! what that search found out. So each region that is searched in vain had a block taken or freed
//! since the last such search, and no region is obtained while one that is held has the run.
//!
//! Always: a region is in the bin that it names, or in none if its map has no free block. It has no
//! free run of more than `most` blocks, and none as `vain` says; both say nothing if it is untold.

use core::cell::Cell;

use super::bits::Wanted;
use super::map::Map;
use super::region::{List, Region};
use super::word;

/// The bin of regions of which nothing is known.
pub(super) const UNTOLD: u8 = 0;
/// What a region names as its bin while it is in none.
pub(super) const NO_BIN: u8 = u8::MAX;
/// Up to this length, each has a bin of its own.
const EXACT: usize = 16;
/// Bins: for 0 to 16 blocks, two for each doubling from there on, and one for 2^18 blocks, the
/// most.
const BINS: usize = EXACT + 1 + 2 * (18 - EXACT.ilog2() as usize) + 1;
const _: () = assert!(BINS <= word::BITS);

/// The bin of regions whose longest run is `len` blocks, at least 1 and at most 2^18.
const fn bin_of(len: usize) -> u8 {
    if len <= EXACT {
        return len as u8;
    }
    let power = len.ilog2() as usize;
    let half = len >> (power - 1) & 1;
    (EXACT + 1 + 2 * (power - EXACT.ilog2() as usize) + half) as u8
}

/// What is known of the runs in a region's map.
pub(super) struct Known {
    bin: Cell<u8>,
    /// The longest run has at most so many blocks.
    most: Cell<usize>,
    /// There is no run of so many blocks that begins at such a multiple; no blocks if none is
    /// known.
    vain_len: Cell<usize>,
    vain_step: Cell<usize>,
}

impl Known {
    /// Of a region that is in no bin.
    pub(super) const fn new() -> Self {
        Self {
            bin: Cell::new(NO_BIN),
            most: Cell::new(usize::MAX),
            vain_len: Cell::new(0),
            vain_step: Cell::new(0),
        }
    }

    /// Whether the region is in a bin.
    #[inline(always)]
    pub(super) fn is_open(&self) -> bool {
        self.bin.get() != NO_BIN
    }

    /// Whether nothing is known.
    #[inline(always)]
    pub(super) fn is_untold(&self) -> bool {
        self.bin.get() == UNTOLD
    }

    /// Whether it is known that there may be runs of so many blocks and no longer ones.
    pub(super) fn is(&self, most: usize) -> bool {
        self.is_open() && self.most.get() == most
    }

    /// Whether the map may have a run as wanted.
    fn may_have(&self, wanted: Wanted) -> bool {
        let vain = self.vain_len.get();
        let in_vain = vain != 0 && wanted.len >= vain && wanted.step >= self.vain_step.get();
        wanted.len <= self.most.get() && !in_vain
    }

    /// Notes that the map, which is settled now, was searched in vain.
    fn note(&self, map: Map<'_>, wanted: Wanted) {
        if wanted.step > 1 {
            self.vain_len.set(wanted.len);
            self.vain_step.set(wanted.step);
        }
        let most = match map.longest_short_run() {
            Some(longest) => longest,
            // A run that is a step longer would hold one at such a multiple.
            None => wanted.len + wanted.step - 2,
        };
        self.most.set(most.min(self.most.get()));
    }
}

/// The bins of an allocator.
pub(super) struct Bins {
    present: Cell<u64>,
    lists: [List; BINS],
    /// How often a region was searched in vain.
    #[cfg(test)]
    pub(super) in_vain: Cell<usize>,
}

impl Bins {
    pub(super) const fn new() -> Self {
        Self {
            present: Cell::new(0),
            lists: [const { List::new() }; BINS],
            #[cfg(test)]
            in_vain: Cell::new(0),
        }
    }

    /// Forgets all regions.
    pub(super) fn clear(&self) {
        self.present.set(0);
        self.lists.iter().for_each(List::clear);
    }

    /// A region to take single blocks from: an untold one, else one whose runs are the shortest.
    #[inline]
    pub(super) fn first(&self) -> Option<&Region> {
        let present = self.present.get();
        if present == 0 { None } else { self.lists[word::lowest(present)].first() }
    }

    /// Takes a region out of its bin, if it is in one.
    ///
    /// # Safety
    /// The region is held, and in no bin of another allocator; those in the bins are held.
    pub(super) unsafe fn remove(&self, region: &Region) {
        let bin = region.known.bin.replace(NO_BIN);
        // The number of no bin is beyond all bins.
        let Some(list) = self.lists.get(usize::from(bin)) else { return };
        // SAFETY: The region is in the bin that it names; the caller promises that those there are
        // held.
        unsafe { list.remove(region, |region| &region.open) };
        if list.is_empty() {
            self.present.set(self.present.get() & !(1 << bin));
        }
    }

    /// Puts a region, which is in no bin, into one.
    ///
    /// # Safety
    /// As [`remove`](Self::remove).
    unsafe fn put(&self, region: &Region, bin: u8) {
        region.known.bin.set(bin);
        self.present.set(self.present.get() | 1 << bin);
        // SAFETY: The region is in no bin; the caller promises that it is held, as those in the
        // bins are.
        unsafe { self.lists[usize::from(bin)].push(region, |region| &region.open) };
    }

    /// Notes that a region, in whatever bin, may have longer runs than before.
    ///
    /// # Safety
    /// As [`remove`](Self::remove).
    #[inline(never)]
    pub(super) unsafe fn untell(&self, region: &Region) {
        // SAFETY: The region is held, and in no other allocator's bin: what `remove` asks.
        unsafe { self.remove(region) };
        region.known.most.set(usize::MAX);
        region.known.vain_len.set(0);
        // SAFETY: The caller's promises; it was taken out just now.
        unsafe { self.put(region, UNTOLD) };
    }

    /// Puts a region, whatever was known of it, behind those with shorter runs than `most` blocks.
    ///
    /// # Safety
    /// As [`remove`](Self::remove).
    pub(super) unsafe fn transition(&self, region: &Region, most: usize) {
        // SAFETY: The region is held, and in no other allocator's bin: what `remove` asks.
        unsafe { self.untell(region) };
        // SAFETY: As above.
        unsafe { self.remove(region) };
        region.known.most.set(most);
        // SAFETY: The caller's promises; it was taken out just now.
        unsafe { self.put(region, bin_of(most)) };
    }

    /// The first answer that `take` gives for a region that may have a run as wanted. `wanted` says
    /// what that is in a region; its length and step are the same in all.
    ///
    /// # Safety
    /// As [`remove`](Self::remove), for all regions; `take` obtains and releases none, and takes
    /// none but its own out of its bin.
    #[inline]
    pub(super) unsafe fn find<R>(
        &self,
        wanted: Wanted,
        mut take: impl FnMut(&Region) -> Option<R>,
    ) -> Option<R> {
        while let Some(region) = self.lists[usize::from(UNTOLD)].first() {
            if let found @ Some(_) = take(region) {
                return found;
            }
            // SAFETY: The region is held, and in no other allocator's bin: what `remove` asks.
            unsafe { self.searched_in_vain(region, wanted) };
        }
        let mut bins = self.present.get() & u64::MAX << bin_of(wanted.len);
        while bins != 0 {
            // Regions that are searched in vain leave for bins that were passed, or for the head of
            // this one.
            for region in self.lists[word::lowest(bins)].iter(|region| &region.open) {
                if !region.known.may_have(wanted) {
                    continue;
                }
                if let found @ Some(_) = take(region) {
                    return found;
                }
                // SAFETY: The region lives, and is in a bin of these if it says so, as `remove`
                // asks.
                unsafe { self.searched_in_vain(region, wanted) };
            }
            bins = word::without_lowest(bins);
        }
        None
    }

    /// Puts a region into the bin of what a search in vain found out.
    ///
    /// # Safety
    /// As [`remove`](Self::remove).
    #[cold]
    #[inline(never)]
    unsafe fn searched_in_vain(&self, region: &Region, wanted: Wanted) {
        #[cfg(test)]
        self.in_vain.set(self.in_vain.get() + 1);
        region.known.note(region.map(), wanted);
        // SAFETY: The region is held, and in no other allocator's bin: what `remove` asks.
        unsafe { self.remove(region) };
        // An open region has a free block.
        let most = region.known.most.get().max(1);
        // SAFETY: The caller's promises; it was taken out just now.
        unsafe { self.put(region, bin_of(most)) };
    }
}

#[cfg(all(test, feature = "std", not(loom)))]
mod tests {
    use core::ptr::NonNull;
    use std::vec::Vec;

    use super::*;
    use crate::alloc::{Allocator, BitSetAllocator};
    use crate::layout::NonZeroLayout;
    use crate::size::U64;
    use crate::source::{ArenaSource, MmapSource};

    fn layout(blocks: usize, align: usize) -> NonZeroLayout {
        NonZeroLayout::from_size_align(64 * blocks, align).unwrap()
    }

    /// With hundreds of regions that have free blocks but not the run, each is searched once and
    /// not again until a block of it is freed, whatever the order of frees.
    #[test]
    fn a_region_is_searched_in_vain_once_for_each_change() {
        let allocator =
            BitSetAllocator::<ArenaSource<MmapSource>, U64>::new_in(ArenaSource::new(MmapSource::new()));
        let mut random = fastrand::Rng::with_seed(1);
        let (one, mut singles): (_, Vec<NonNull<u8>>) = (layout(1, 8), Vec::new());
        while allocator.regions().count() < 300 {
            singles.push(allocator.allocate(one).unwrap().cast());
        }
        random.shuffle(&mut singles);
        let mut changes = 300;
        for part in 0..200 {
            for _ in 0..part % 50 {
                // SAFETY: Allocated above with this layout, and not used again.
                unsafe { allocator.deallocate(singles.pop().unwrap(), one) };
                changes += 1;
            }
            for (blocks, align) in [(2, 8), (3, 8), (10, 8), (17, 8), (100, 8), (1, 1024), (5, 4096)] {
                let run = allocator.allocate(layout(blocks, align)).unwrap();
                changes += 1;
                if random.bool() {
                    // SAFETY: Just allocated with this layout, and not used again.
                    unsafe { allocator.deallocate(run.cast(), layout(blocks, align)) };
                    changes += 1;
                }
            }
            // Blocks that waited, or were at hand, are freed in their region later.
            let most = changes + 2 * allocator.regions().count();
            let in_vain = allocator.bins.in_vain.get();
            assert!(in_vain <= most, "{in_vain} searches in vain, {changes} changes");
        }
    }

    #[test]
    fn bins_are_in_the_order_of_lengths() {
        let mut before = UNTOLD;
        for len in 1..=super::super::allocator::MOST_BLOCKS {
            let bin = bin_of(len);
            assert!(bin == before || bin == before + 1, "{len} blocks are in bin {bin} behind {before}");
            assert!(len > EXACT || usize::from(bin) == len);
            before = bin;
        }
        assert_eq!(usize::from(before) + 1, BINS);
    }
}
