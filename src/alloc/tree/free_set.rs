//! The free blocks of an allocator: exact bins for small sizes, trees for the others.
//!
//! Always: bit `i` of `bins_map` is set if and only if bin `i` has a block, likewise `trees_map` for the trees. A bin's blocks all
//! have its size, a tree's blocks its range of sizes (see [`count`](super::count)). So the smallest block that is large enough is
//! in the first bin or tree, from the size's own on, that has one; only the size's own tree may have none that is large enough.

use core::cell::Cell;

use generic_array::GenericArray;

use super::block::{Block, Link};
use super::count::{BINNED, BINS, TreeCount, bin_of, tree_of};
use super::red_black::Tree;

pub(super) struct FreeSet<T: TreeCount> {
    bins_map: Cell<u64>,
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
            bins_map: Cell::new(0),
            trees_map: Cell::new(0),
            bins: [const { Cell::new(None) }; BINS],
            // SAFETY: The array consists of trees, and a tree of zero bits is an empty one: its root is a link, in which null
            // is `None`.
            trees: unsafe { trees.assume_init() },
        }
    }

    #[inline(always)]
    fn bin(&self, number: usize) -> &Cell<Link> {
        debug_assert!(number < BINS);
        // SAFETY: `bin_of` gives numbers below BINS for the sizes up to BINNED, and bits of the map are below 64.
        unsafe { self.bins.get_unchecked(number) }
    }

    #[inline(always)]
    fn tree(&self, number: usize) -> &Tree {
        debug_assert!(number < T::TREES);
        // SAFETY: `tree_of` gives numbers below the number of trees, and only bits of those are ever set in the map.
        unsafe { self.trees.as_slice().get_unchecked(number) }
    }

    /// Puts in a block of `size` bytes that nobody uses, writing its words.
    #[inline(always)]
    pub(super) fn insert(&self, block: Block, size: usize) {
        if size <= BINNED {
            let number = bin_of(size);
            let bin = self.bin(number);
            block.enter_list(size, bin.get());
            bin.set(Some(block));
            self.bins_map.set(self.bins_map.get() | 1 << number);
        } else {
            self.insert_in_tree(block, size);
        }
    }

    #[inline]
    fn insert_in_tree(&self, block: Block, size: usize) {
        let number = tree_of::<T>(size);
        self.tree(number).insert(block, size);
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
                bin.set(next);
                if next.is_none() {
                    self.bins_map.set(self.bins_map.get() & !(1 << number));
                }
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

    #[inline]
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
            let number = bin_of(size);
            let larger = self.bins_map.get() >> number;
            if larger != 0 {
                let skipped = larger.trailing_zeros() as usize;
                let block = self.bin(number + skipped).get()?;
                return Some((block, size + skipped * super::block::GRANULE));
            }
            self.smallest_of_trees(self.trees_map.get())
        } else {
            self.best_of_trees(size)
        }
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
        let number = self.bins_map.get().checked_ilog2()? as usize;
        Some((self.bin(number).get()?, (number + 1) * super::block::GRANULE))
    }

    /// Forgets all blocks.
    pub(super) fn clear(&self) {
        ones(self.bins_map.replace(0)).for_each(|number| self.bin(number).set(None));
        ones(self.trees_map.replace(0)).for_each(|number| self.tree(number).clear());
    }

    /// Calls `f` with each block and its size.
    pub(super) fn for_each(&self, mut f: impl FnMut(Block, usize)) {
        for number in ones(self.bins_map.get()) {
            let mut next = self.bin(number).get();
            while let Some(block) = next {
                f(block, (number + 1) * super::block::GRANULE);
                next = block.next();
            }
        }
        for number in ones(self.trees_map.get()) {
            let mut next = self.tree(number).last(false);
            while let Some(block) = next {
                f(block, block.key());
                next = Tree::behind(block);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn parts(&self) -> (&[Cell<Link>], &[Tree]) {
        (&self.bins, self.trees.as_slice())
    }

    #[cfg(test)]
    pub(super) fn maps(&self) -> (u64, u64) {
        (self.bins_map.get(), self.trees_map.get())
    }
}
