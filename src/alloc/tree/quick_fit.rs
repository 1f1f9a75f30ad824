//! Small blocks that were freed just now, by size, before their neighbours hear of it.
//!
//! To merge a freed block with its neighbours, and to cut one to size, takes some hundred
//! instructions; what is freed is often wanted again at the same size, and its memory is near the
//! processor. So up to [`MOST`] blocks of each size that has a bin wait on a list (as in quick fit:
//! C. Weinstock and W. Wulf, QuickFit Fit: An Efficient Algorithm for Heap Storage Allocation,
//! 1988). They are merged before a region is obtained or released, before a request is refused, and
//! before anybody is told what the largest free block is.
//!
//! ```text
//!   list of a size      first that waits     next
//!   +-----------+---+   +-----------+---+    +------+---+
//!   | link      | 2 |-->| link      | 1 |--->| null | 0 |   a link's low bits: how many follow
//!   +-----------+---+   +-----------+---+    +------+---+
//! ```
//!
//! A block that is freed twice makes a list lead in a circle; each walk of a list looks first
//! whether it is sound.
//!
//! Always: what waits here is no free block: it is in no bin, its edges are clear in the bitmap,
//! and its neighbours take it for live; but it is not counted as used in its span.

use core::cell::Cell;
use core::ptr::null_mut;

use super::block::{Block, GRANULE};
use super::count::{BINS, bin_of, size_of_bin};
use crate::ptr;

/// How many blocks of a size wait.
const MOST: usize = 4;
/// The bits of a link that are a number.
const NUMBER: usize = GRANULE - 1;
const _: () = assert!(MOST <= NUMBER);

/// What a block that waits begins with.
struct Waiting {
    next: *mut Waiting,
}

/// The lists.
pub(super) struct QuickFit {
    lists: [Cell<*mut Waiting>; BINS],
}

impl QuickFit {
    pub(super) const fn new() -> Self {
        Self { lists: [const { Cell::new(null_mut()) }; BINS] }
    }

    #[inline(always)]
    fn list(&self, size: usize) -> &Cell<*mut Waiting> {
        debug_assert!(bin_of(size) < BINS);
        // SAFETY: `bin_of` gives numbers below BINS for the sizes up to BINNED.
        unsafe { self.lists.get_unchecked(bin_of(size)) }
    }

    /// A block of `size` bytes, at most `BINNED`, that waits here.
    #[inline(always)]
    pub(super) fn pop(&self, size: usize) -> Option<Block> {
        let list = self.list(size);
        let first = list.get();
        if first.is_null() {
            return None;
        }
        let first = ptr::untagged(first, NUMBER);
        // SAFETY: What is on a list is no live block, belongs to this allocator, and begins with
        // the link that `push` wrote.
        list.set(unsafe { (*first).next });
        // SAFETY: `push` was given it as a block, which nobody uses; its pointer is as it was then.
        Some(unsafe { Block::at(first.cast()) })
    }

    /// Keeps a block of `size` bytes, at most `BINNED`, here; `false` where there are enough. The
    /// block is the caller's to give up, in a span that stays held while the block is here.
    #[inline(always)]
    pub(super) fn push(&self, block: Block, size: usize) -> bool {
        let list = self.list(size);
        let next = list.get();
        let number = next.addr() & NUMBER;
        if number >= MOST {
            return false;
        }
        let first = block.start().cast::<Waiting>();
        // SAFETY: The block's maker vouches that nobody else uses it; a granule holds a link and is
        // aligned for it.
        unsafe { first.write(Waiting { next }) };
        list.set(ptr::tagged(first, number + 1));
        true
    }

    /// How many blocks of a size wait.
    #[inline(always)]
    pub(super) fn waiting(&self, size: usize) -> usize {
        self.list(size).get().addr() & NUMBER
    }

    /// Calls `f` with the sizes of which blocks wait.
    #[inline(always)]
    pub(super) fn for_each_size(&self, mut f: impl FnMut(usize)) {
        // Nearly all lists are empty, so several are looked at in one.
        const GROUP: usize = 8;
        for (group, lists) in self.lists.chunks(GROUP).enumerate() {
            if lists.iter().fold(0, |bits, list| bits | list.get().addr()) == 0 {
                continue;
            }
            for (number, list) in (group * GROUP..).zip(lists) {
                if !list.get().is_null() {
                    f(size_of_bin(number));
                }
            }
        }
    }

    /// Where the first block of a size that waits is; 0 if there is none.
    pub(super) fn first_address(&self, size: usize) -> usize {
        self.list(size).get().addr() & !NUMBER
    }

    /// Whether the list of a size is one that [`push`](Self::push) made: its numbers count down to
    /// 0, so that it does not lead in a circle.
    #[inline(always)]
    pub(super) fn is_sound(&self, size: usize) -> bool {
        let mut link = self.list(size).get();
        while !link.is_null() {
            let number = link.addr() & NUMBER;
            // SAFETY: As in `pop`. Each number is one less than the last, so that there are at most
            // `MOST`.
            let next = unsafe { (*ptr::untagged(link, NUMBER)).next };
            if next.addr() & NUMBER != number.wrapping_sub(1) || next.is_null() != (number == 1) {
                return false;
            }
            link = next;
        }
        true
    }

    /// Calls `f` with each block and its size; the lists are sound.
    pub(super) fn for_each(&self, mut f: impl FnMut(Block, usize)) {
        self.for_each_size(|size| {
            let mut next = self.list(size).get();
            while !next.is_null() {
                let first = ptr::untagged(next, NUMBER);
                // SAFETY: As in `pop`.
                f(unsafe { Block::at(first.cast()) }, size);
                // SAFETY: As in `pop`.
                next = unsafe { (*first).next };
            }
        });
    }

    /// Forgets all blocks.
    pub(super) fn clear(&self) {
        self.lists.iter().for_each(|list| list.set(null_mut()));
    }
}
