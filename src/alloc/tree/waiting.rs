//! How small blocks come to wait in [`QuickFit`](super::quick_fit::QuickFit), and how they are
//! merged with their neighbours.
//!
//! ```text
//!   a block in a tree      | live | waits | waits | ... | rest, in a tree |     cut at once
//!   lists that are full    | waits | waits | ... | waits | freed |              merged at once
//! ```
//!
//! To cut from a tree, and to merge into one, takes some hundred instructions. So blocks that are
//! taken one behind the other are cut several at a time, and blocks that are freed in the order of
//! their addresses, up or down, are merged as one when their list is full.

use core::ptr::NonNull;

use super::block::Block;
use super::count::BINNED;
use super::heap::FREED_TWICE;
use super::merge::Merging;
use super::quick_fit::most;
use super::span::Span;
use super::{MultipleBinarySearchTreeAllocator, TreeCount};
use crate::misuse::check;
use crate::ptr;
use crate::source::MemorySource;

/// Bytes of small blocks of one size that are cut at once from a block in a tree.
const CUT_AHEAD: usize = 1024;
/// They are at most one part in so many of that block: in a small region they would be in the way.
const CUT_SHARE: usize = 16;
const _: () = assert!(CUT_AHEAD <= BINNED);

/// Whether blocks of `size` bytes are cut several at a time.
#[inline(always)]
pub(super) const fn may_cut_ahead(size: usize) -> bool {
    size <= CUT_AHEAD / 2
}

impl<S, T, M> MultipleBinarySearchTreeAllocator<S, T, M>
where
    S: MemorySource,
    T: TreeCount,
    M: Merging<S>,
{
    /// Takes a block of `size` bytes from the trees, and lets those behind it wait, which makes
    /// `CUT_AHEAD` bytes at most, and a `CUT_SHARE`th of the block that they are cut from. No block
    /// of that size waits; then half as many do as may, so that neither the next block that is
    /// freed nor the next that is taken goes beyond the list.
    pub(super) fn take_run(&self, size: usize) -> Option<NonNull<u8>> {
        let (block, found) = self.free.take_best_of_trees(size)?;
        let fit = CUT_AHEAD.min(found / CUT_SHARE) / size;
        let behind = fit.saturating_sub(1).min(most(size) / 2);
        let bytes = behind * size;
        let (start, _) = self.keep_of_tree(block, found, size + bytes);
        // SAFETY: The block was just taken. What waits is not counted.
        unsafe { self.span_of(start.addr().get()) }.sub_used(bytes);
        // SAFETY: What lies behind the first block belongs to what was taken, and is nobody's.
        let first = unsafe { Block::at(ptr::up(start.as_ptr(), size)) };
        self.quick.push_run(first, size, behind);
        Some(start)
    }

    /// The range of a block of `size` bytes that is given up, at most `BINNED`, and of the blocks
    /// that wait at the head of its list, as far as each adjoins those before: blocks that are
    /// freed in the order of their addresses are merged at once. They wait no more.
    #[inline(always)]
    pub(super) fn run_of(&self, span: Span, block: usize, size: usize) -> (usize, usize) {
        check(!span.bitmap().has(block), FREED_TWICE, block);
        let (mut start, mut end) = (block, block + size);
        loop {
            let first = self.quick.first_address(size);
            if first == end {
                end += size;
            } else if first != 0 && first + size == start {
                start = first;
            } else {
                return (start, end);
            }
            // A span begins with its header, so the block is the same span's.
            check(!span.bitmap().has(first), FREED_TWICE, first);
            self.quick.pop(size);
        }
    }

    /// Ends the process if the blocks of a size that wait were misused.
    #[inline(never)]
    fn check_quick(&self, size: usize) {
        check(self.quick.is_sound(size), FREED_TWICE, self.quick.first_address(size));
    }

    /// Merges what waits with its neighbours; whether there was any.
    pub(super) fn flush_quick(&self) -> bool {
        self.flush_for(usize::MAX)
    }

    /// The same, the smallest first, and no more once a free block has `enough` bytes.
    #[inline(never)]
    pub(super) fn flush_for(&self, enough: usize) -> bool {
        let mut any = false;
        self.quick.each_size_while(|size| {
            any = true;
            self.flush_list(size) < enough
        });
        any
    }

    /// Merges what waits of a size; there is some. Returns the size of the largest free block that
    /// came of it.
    #[inline(always)]
    fn flush_list(&self, size: usize) -> usize {
        self.check_quick(size);
        let mut largest = 0;
        while let Some(block) = self.quick.pop(size) {
            let start = block.address();
            let span = self.span_of_live(start);
            // SAFETY: The block was given up, and its bits are clear, as those of a live one.
            largest = largest.max(unsafe { self.give_back(span, start, start + size) });
        }
        largest
    }

    /// Calls `f` with each block that waits and its size.
    pub(super) fn for_each_waiting(&self, f: impl FnMut(Block, usize)) {
        self.quick.each_size_while(|size| {
            self.check_quick(size);
            true
        });
        self.quick.for_each(f);
    }
}
