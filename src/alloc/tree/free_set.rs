//! The free blocks of an allocator: exact bins for small sizes, trees for the others.
//!
//! Always: bit `i` of `bins_map` is set if and only if bin `i` has a block, likewise `trees_map`
//! for the trees. A bin's blocks all have its size, a tree's blocks its range of sizes (see
//! [`count`](super::count)). So the smallest block that is large enough is in the first bin or
//! tree, from the size's own on, that has one; only the size's own tree may have none that is large
//! enough.

use core::cell::Cell;

use generic_array::GenericArray;

use super::block::{Block, DIRTY, Link};
use super::count::{BINNED, BINS, TreeCount, bin_of, size_of_bin, tree_of};
use super::red_black::Tree;

/// Bits of a word of the bitmaps.
const WORD: usize = u64::BITS as usize;

pub(super) struct FreeSet<T: TreeCount> {
    bins_map: [Cell<u64>; BINS / WORD],
    trees_map: Cell<u64>,
    bins: [Cell<Link>; BINS],
    trees: GenericArray<Tree, T>,
}

/// The numbers of the bits that are set.
fn ones(mut map: u64) -> impl Iterator<Item = usize> {
    core::iter::from_fn(move || {
        let one = map.trailing_zeros() as usize;
        (map != 0).then(|| {
            map &= map - 1;
            one
        })
    })
}

impl<T: TreeCount> FreeSet<T> {
    pub(super) const fn new() -> Self {
        let trees = core::mem::MaybeUninit::<GenericArray<Tree, T>>::zeroed();
        Self {
            bins_map: [const { Cell::new(0) }; BINS / WORD],
            trees_map: Cell::new(0),
            bins: [const { Cell::new(None) }; BINS],
            // SAFETY: The array consists of trees, and a tree of zero bits is an empty one: its
            // root is a link, in which null is `None`.
            trees: unsafe { trees.assume_init() },
        }
    }

    #[inline(always)]
    fn bin(&self, number: usize) -> &Cell<Link> {
        debug_assert!(number < BINS);
        // SAFETY: `bin_of` gives numbers below BINS for the sizes up to BINNED, and bits of the map
        // are below 64.
        unsafe { self.bins.get_unchecked(number) }
    }

    /// The word of `bins_map` for a bin.
    #[inline(always)]
    fn map_of(&self, number: usize) -> &Cell<u64> {
        // SAFETY: As for the bins.
        unsafe { self.bins_map.get_unchecked(number / WORD) }
    }

    /// Makes `next` the first block of a bin that lost its first.
    #[inline(always)]
    fn set_first(&self, number: usize, next: Link) {
        self.bin(number).set(next);
        // Without a branch: it would wait for the link, which lies in memory that nobody touched
        // for long.
        let map = self.map_of(number);
        map.set(map.get() & !(u64::from(next.is_none()) << (number % WORD)));
    }

    #[inline(always)]
    fn tree(&self, number: usize) -> &Tree {
        debug_assert!(number < T::TREES);
        // SAFETY: `tree_of` gives numbers below the number of trees, and only bits of those are
        // ever set in the map.
        unsafe { self.trees.as_slice().get_unchecked(number) }
    }

    /// Puts in a block of `size` bytes that nobody uses, writing its words.
    #[inline(always)]
    pub(super) fn insert(&self, block: Block, size: usize) {
        if size <= BINNED {
            self.insert_in_bin(block, size);
        } else {
            self.insert_in_tree(block, size);
        }
    }

    /// As [`insert`](Self::insert), for a size of at most `BINNED`.
    #[inline(always)]
    fn insert_in_bin(&self, block: Block, size: usize) {
        let number = bin_of(size);
        let bin = self.bin(number);
        block.enter_list(size, bin.get());
        bin.set(Some(block));
        let map = self.map_of(number);
        map.set(map.get() | 1 << (number % WORD));
    }

    #[inline(never)]
    fn insert_in_tree(&self, block: Block, size: usize) {
        let number = tree_of::<T>(size);
        self.tree(number).insert(block, size);
        block.set_clean_from(DIRTY);
        self.trees_map.set(self.trees_map.get() | 1 << number);
    }

    /// Takes out a block that is in, of `size` bytes.
    #[inline(always)]
    pub(super) fn remove(&self, block: Block, size: usize) {
        if size <= BINNED {
            let number = bin_of(size);
            let bin = self.bin(number);
            let next = block.next();
            if bin.get() == Some(block) {
                self.set_first(number, next);
            } else if let Some(previous) = block.previous(size) {
                previous.set_next(next);
                if let Some(next) = next {
                    next.set_previous(size, previous);
                }
            }
        } else {
            self.remove_from_tree(block, size);
        }
    }

    #[inline(never)]
    fn remove_from_tree(&self, block: Block, size: usize) {
        let number = tree_of::<T>(size);
        let tree = self.tree(number);
        tree.remove(block);
        if tree.is_empty() {
            self.trees_map.set(self.trees_map.get() & !(1 << number));
        }
    }

    /// The smallest block of at least `size` bytes, in a tree the lowest of equals; it stays in.
    #[inline(always)]
    pub(super) fn best(&self, size: usize) -> Option<(Block, usize)> {
        if size <= BINNED {
            if let Some(number) = self.first_bin(bin_of(size)) {
                let block = self.bin(number).get()?;
                return Some((block, size_of_bin(number)));
            }
            self.smallest_of_trees(self.trees_map.get())
        } else {
            self.best_of_trees(size)
        }
    }

    /// Takes out the [`best`](Self::best) block for a size of at most `BINNED`, if it is in a bin.
    #[inline(always)]
    pub(super) fn take_best_of_bins(&self, size: usize) -> Option<(Block, usize)> {
        let number = self.first_bin(bin_of(size))?;
        let block = self.bin(number).get()?;
        self.set_first(number, block.next());
        Some((block, size_of_bin(number)))
    }

    /// Takes out the best block of the trees.
    #[inline(never)]
    pub(super) fn take_best_of_trees(&self, size: usize) -> Option<(Block, usize)> {
        let (block, found) = if size <= BINNED {
            self.smallest_of_trees(self.trees_map.get())
        } else {
            self.best_of_trees(size)
        }?;
        self.remove_from_tree(block, found);
        Some((block, found))
    }

    /// The first bin from `number` on that has a block.
    #[inline(always)]
    fn first_bin(&self, number: usize) -> Option<usize> {
        let mut word = number / WORD;
        let mut map = self.map_of(number).get() >> (number % WORD) << (number % WORD);
        while map == 0 {
            word += 1;
            map = self.bins_map.get(word)?.get();
        }
        Some(word * WORD + map.trailing_zeros() as usize)
    }

    #[inline]
    fn best_of_trees(&self, size: usize) -> Option<(Block, usize)> {
        let number = tree_of::<T>(size);
        if let Some(block) = self.tree(number).best(size) {
            return Some((block, block.key()));
        }
        // Two shifts, since one by 64 is not defined.
        self.smallest_of_trees(self.trees_map.get() >> number >> 1 << number << 1)
    }

    #[inline(always)]
    fn smallest_of_trees(&self, map: u64) -> Option<(Block, usize)> {
        if map == 0 {
            return None;
        }
        let block = self.tree(map.trailing_zeros() as usize).last(false)?;
        Some((block, block.key()))
    }

    /// The largest block.
    pub(super) fn largest(&self) -> Option<(Block, usize)> {
        if let Some(number) = self.trees_map.get().checked_ilog2() {
            let block = self.tree(number as usize).last(true)?;
            return Some((block, block.key()));
        }
        let number = self.used_bins().last()?;
        Some((self.bin(number).get()?, size_of_bin(number)))
    }

    /// The bins that have a block.
    fn used_bins(&self) -> impl Iterator<Item = usize> {
        let words = self.bins_map.iter().enumerate();
        words.flat_map(|(word, map)| ones(map.get()).map(move |number| word * WORD + number))
    }

    /// Forgets all blocks.
    pub(super) fn clear(&self) {
        self.used_bins().for_each(|number| self.bin(number).set(None));
        self.bins_map.iter().for_each(|map| map.set(0));
        ones(self.trees_map.replace(0)).for_each(|number| self.tree(number).clear());
    }

    /// The blocks of at least `size` bytes with their sizes, from the smallest to the largest.
    pub(super) fn from(&self, size: usize) -> impl Iterator<Item = (Block, usize)> {
        let bins = self.used_bins().filter(move |&number| size_of_bin(number) >= size);
        let binned = bins.flat_map(|number| {
            let list = core::iter::successors(self.bin(number).get(), |block| block.next());
            list.map(move |block| (block, size_of_bin(number)))
        });
        let first = if size > BINNED { tree_of::<T>(size) } else { 0 };
        let trees = ones(self.trees_map.get() >> first << first);
        let in_trees = trees.flat_map(move |number| {
            let least =
                if number == first { self.tree(number).best(size) } else { self.tree(number).last(false) };
            core::iter::successors(least, |&block| Tree::behind(block)).map(|block| (block, block.key()))
        });
        binned.chain(in_trees)
    }

    /// Calls `f` with each block and its size.
    pub(super) fn for_each(&self, mut f: impl FnMut(Block, usize)) {
        self.from(0).for_each(|(block, size)| f(block, size));
    }

    #[cfg(test)]
    pub(super) fn parts(&self) -> (&[Cell<Link>], &[Tree]) {
        (&self.bins, self.trees.as_slice())
    }

    #[cfg(test)]
    pub(super) fn maps(&self) -> (&[Cell<u64>], u64) {
        (&self.bins_map, self.trees_map.get())
    }
}
