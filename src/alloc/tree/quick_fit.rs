//! Small blocks that were freed just now, or cut ahead, by size, before their neighbours hear of
//! it.
//!
//! To merge a freed block with its neighbours, and to cut one to size, takes some hundred
//! instructions; what is freed is often wanted again at the same size, and its memory is near the
//! processor. So up to [`most`] blocks of each size that has a bin wait on a list (as in quick fit:
//! C. Weinstock and W. Wulf, QuickFit Fit: An Efficient Algorithm for Heap Storage Allocation,
//! 1988). They are merged before a region is obtained or released, before a request is refused, and
//! before anybody is told what the largest free block is.
//!
//! ```text
//!   list of a size         first that waits    next
//!   +-------+   +-------+  +-----------+---+   +------+---+
//!   | first |   | count |  | next      |   |   | null |   |
//!   +-------+   +-------+  +-----------+---+   +------+---+
//! ```
//!
//! A block that is freed twice makes a list lead in a circle; each walk of a list looks first
//! whether it is sound.
//!
//! Always: what waits here is no free block: it is in no bin, its edges are clear in the bitmap,
//! and its neighbours take it for live; but it is not counted as used in its span.

use core::cell::Cell;
use core::ptr::null_mut;

use super::block::Block;
use super::count::{BINNED, BINS, bin_of, size_of_bin};
use crate::ptr;

/// Bytes of the blocks of one size that may wait, unless they are fewer than the blocks that may
/// anyhow: many small blocks are freed in a row more often than many large ones.
const BYTES: usize = 8192;
/// How many blocks of a size may wait at least, of more than half of `BINNED` and of less, and how
/// many at most.
const FEWEST: [usize; 2] = [7, 15];
const MOST_OF_ALL: usize = 64;

/// How many blocks of the size of each bin wait at most.
static MOST: [u8; BINS] = {
    let mut most = [0; BINS];
    let mut bin = 0;
    while bin < BINS {
        let size = size_of_bin(bin);
        let fewest = FEWEST[(size < BINNED / 2) as usize];
        let blocks = BYTES / size;
        most[bin] = if blocks < fewest {
            fewest
        } else if blocks > MOST_OF_ALL {
            MOST_OF_ALL
        } else {
            blocks
        } as u8;
        bin += 1;
    }
    most
};

/// Blocks that wait at most, of all sizes, and their bytes.
const ALL: (usize, usize) = {
    let (mut blocks, mut bytes, mut bin) = (0, 0, 0);
    while bin < BINS {
        blocks += MOST[bin] as usize;
        bytes += MOST[bin] as usize * size_of_bin(bin);
        bin += 1;
    }
    (blocks, bytes)
};
const _: () = assert!(ALL.0 <= 3600 && ALL.1 <= 5 << 20, "to merge all that waits takes too long");

/// How many blocks of a size wait at most.
#[inline(always)]
pub(super) fn most(size: usize) -> usize {
    debug_assert!(bin_of(size) < BINS);
    // SAFETY: `bin_of` gives numbers below BINS for the sizes up to BINNED.
    usize::from(unsafe { *MOST.get_unchecked(bin_of(size)) })
}

/// What a block that waits begins with.
struct Waiting {
    next: *mut Waiting,
}

/// The lists.
pub(super) struct QuickFit {
    counts: [Cell<u8>; BINS],
    lists: [Cell<*mut Waiting>; BINS],
}

impl QuickFit {
    pub(super) const fn new() -> Self {
        Self { counts: [const { Cell::new(0) }; BINS], lists: [const { Cell::new(null_mut()) }; BINS] }
    }

    #[inline(always)]
    fn list(&self, size: usize) -> &Cell<*mut Waiting> {
        debug_assert!(bin_of(size) < BINS);
        // SAFETY: `bin_of` gives numbers below BINS for the sizes up to BINNED.
        unsafe { self.lists.get_unchecked(bin_of(size)) }
    }

    #[inline(always)]
    fn count(&self, size: usize) -> &Cell<u8> {
        debug_assert!(bin_of(size) < BINS);
        // SAFETY: As for the list.
        unsafe { self.counts.get_unchecked(bin_of(size)) }
    }

    /// A block of `size` bytes, at most `BINNED`, that waits here.
    #[inline(always)]
    pub(super) fn pop(&self, size: usize) -> Option<Block> {
        let (list, count) = (self.list(size), self.count(size));
        let left = count.get().checked_sub(1)?;
        count.set(left);
        let first = list.get();
        // SAFETY: What is on a list is no live block, belongs to this allocator, and begins with
        // the link that `push` wrote. So many are on it as its count says.
        list.set(unsafe { (*first).next });
        // SAFETY: `push` was given it as a block, which nobody uses; its pointer is as it was then.
        Some(unsafe { Block::at(first.cast()) })
    }

    /// Keeps a block of `size` bytes, at most `BINNED`, here; `false` where there are enough. The
    /// block is the caller's to give up, in a span that stays held while the block is here.
    #[inline(always)]
    pub(super) fn push(&self, block: Block, size: usize) -> bool {
        let (list, count) = (self.list(size), self.count(size));
        if usize::from(count.get()) >= most(size) {
            return false;
        }
        let first = block.start().cast::<Waiting>();
        // SAFETY: The block's maker vouches that nobody else uses it; a granule holds a link and is
        // aligned for it.
        unsafe { first.write(Waiting { next: list.get() }) };
        list.set(first);
        count.set(count.get() + 1);
        true
    }

    /// Puts in so many blocks of `size` bytes, one behind the other from `first` on, so that the
    /// lowest is popped first. At most [`most`] of them, and none of that size waits; otherwise as
    /// [`push`](Self::push).
    #[inline(always)]
    pub(super) fn push_run(&self, first: Block, size: usize, blocks: usize) {
        debug_assert!(blocks <= most(size) && self.waiting(size) == 0);
        for number in (0..blocks).rev() {
            // SAFETY: The block is one of the run, which its maker vouches for.
            let block = unsafe { Block::at(ptr::up(first.start(), number * size)) };
            self.push(block, size);
        }
    }

    /// How many blocks of a size wait.
    #[inline(always)]
    pub(super) fn waiting(&self, size: usize) -> usize {
        usize::from(self.count(size).get())
    }

    /// Calls `f` with the sizes of which blocks wait, from the smallest on, while it says `true`.
    #[inline(always)]
    pub(super) fn each_size_while(&self, mut f: impl FnMut(usize) -> bool) {
        // Nearly all lists are empty, so several are looked at in one.
        const GROUP: usize = 8;
        for (group, lists) in self.lists.chunks(GROUP).enumerate() {
            if lists.iter().fold(0, |bits, list| bits | list.get().addr()) == 0 {
                continue;
            }
            for (number, list) in (group * GROUP..).zip(lists) {
                if !list.get().is_null() && !f(size_of_bin(number)) {
                    return;
                }
            }
        }
    }

    /// Where the first block of a size that waits is; 0 if there is none.
    #[inline(always)]
    pub(super) fn first_address(&self, size: usize) -> usize {
        self.list(size).get().addr()
    }

    /// Whether the list of a size is one that [`push`](Self::push) made: it ends behind as many
    /// blocks as its count says, so that it does not lead in a circle.
    #[inline(always)]
    pub(super) fn is_sound(&self, size: usize) -> bool {
        let mut link = self.list(size).get();
        for _ in 0..self.waiting(size) {
            if link.is_null() {
                return false;
            }
            // SAFETY: As in `pop`.
            link = unsafe { (*link).next };
        }
        link.is_null()
    }

    /// Calls `f` with each block and its size; the lists are sound.
    pub(super) fn for_each(&self, mut f: impl FnMut(Block, usize)) {
        self.each_size_while(|size| {
            let mut next = self.list(size).get();
            while !next.is_null() {
                // SAFETY: As in `pop`.
                f(unsafe { Block::at(next.cast()) }, size);
                // SAFETY: As in `pop`.
                next = unsafe { (*next).next };
            }
            true
        });
    }

    /// Forgets all blocks.
    pub(super) fn clear(&self) {
        self.lists.iter().for_each(|list| list.set(null_mut()));
        self.counts.iter().for_each(|count| count.set(0));
    }
}
