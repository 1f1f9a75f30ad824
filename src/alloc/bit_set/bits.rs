//! Words of free blocks in a row, wherever they stand: in a region's index, or in an allocator's
//! own value.

#![forbid(unsafe_code)]

use core::cell::Cell;

use super::word::{self, BITS};

/// What a run must be like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Blocks.
    pub(super) len: usize,
    /// Its first block's number leaves `remainder` when divided by this power of two.
    pub(super) step: usize,
    /// Less than `step`.
    pub(super) remainder: usize,
}

impl Wanted {
    /// A run of `size` bytes at a multiple of `align`, both known to be layouts', among blocks of
    /// `block` bytes from address `start` on.
    #[inline]
    pub(super) const fn new(size: usize, align: usize, block: usize, start: usize) -> Self {
        let len = size.div_ceil(block);
        if align <= block {
            return Self { len, step: 1, remainder: 0 };
        }
        let step = align / block;
        Self { len, step, remainder: (start / block).wrapping_neg() & (step - 1) }
    }

    /// The first block from `at` on at which the run may begin.
    #[inline]
    pub(super) const fn first_from(self, at: usize) -> usize {
        at + (self.remainder.wrapping_sub(at) & (self.step - 1))
    }
}

/// Words of free blocks: block `i` is free where bit `i % 64` of word `i / 64` is set.
#[derive(Clone, Copy)]
pub(super) struct Bits<'a>(pub(super) &'a [Cell<u64>]);

impl Bits<'_> {
    /// A word, or no free block where there is none.
    #[inline(always)]
    pub(super) fn get(self, word: usize) -> u64 {
        self.0.get(word).map_or(0, Cell::get)
    }

    /// Whether the `len` blocks from `at` on are free.
    pub(super) fn is_free(self, at: usize, len: usize) -> bool {
        pieces(at, len).all(|(word, mask)| self.get(word) & mask == mask)
    }

    /// Whether none of the `len` blocks from `at` on is free.
    pub(super) fn is_used(self, at: usize, len: usize) -> bool {
        pieces(at, len).all(|(word, mask)| self.get(word) & mask == 0)
    }

    /// Makes `len` free blocks from `at` on used.
    #[inline]
    pub(super) fn take(self, at: usize, len: usize) {
        for (word, mask) in pieces(at, len) {
            debug_assert!(self.get(word) & mask == mask, "only free blocks are taken");
            self.0[word].set(self.0[word].get() & !mask);
        }
    }

    /// Makes `len` used blocks from `at` on free.
    #[inline]
    pub(super) fn give(self, at: usize, len: usize) {
        debug_assert!(self.is_used(at, len), "only used blocks are given back");
        self.set(at, len);
    }

    /// Sets `len` bits from `at` on, whatever they were.
    pub(super) fn set(self, at: usize, len: usize) {
        for (word, mask) in pieces(at, len) {
            self.0[word].set(self.0[word].get() | mask);
        }
    }

    /// Where a run as wanted, of up to 64 blocks at a multiple of up to 64, begins in `word`; it
    /// may end in the next.
    #[inline]
    pub(super) fn find_from(self, word: usize, wanted: Wanted) -> Option<usize> {
        let starts = word::run_starts_across(self.get(word), self.get(word + 1), wanted.len)
            & word::every(wanted.step, wanted.remainder);
        if starts == 0 { None } else { Some(word * BITS + word::lowest(starts)) }
    }

    /// A run at a multiple beyond 64 blocks: looks at each such multiple.
    pub(super) fn find_at_distant_multiple(self, wanted: Wanted) -> Option<usize> {
        let end = self.0.len() * BITS;
        let mut at = wanted.remainder;
        while at < end && wanted.len <= end - at {
            if self.is_free(at, wanted.len) {
                return Some(at);
            }
            at += wanted.step;
        }
        None
    }

    /// A run beyond 64 blocks; `next` gives the next word from a word on in which a run begins that
    /// ends behind it.
    pub(super) fn find_long(self, wanted: Wanted, next: impl Fn(usize) -> Option<usize>) -> Option<usize> {
        let mut from = 0;
        while let Some(word) = next(from / BITS) {
            let start = self.last_run(word);
            let at = wanted.first_from(start);
            let end = self.end_of(start, at + wanted.len);
            if end >= at + wanted.len {
                return Some(at);
            }
            from = end.max((word + 1) * BITS);
        }
        None
    }

    /// Where the run that ends with the word's last block begins.
    pub(super) fn last_run(self, word: usize) -> usize {
        (word + 1) * BITS - word::suffix(self.get(word))
    }

    /// Where the run that has block `start` ends, or a block not before `enough` if it goes on
    /// there.
    pub(super) fn end_of(self, start: usize, enough: usize) -> usize {
        let mut word = start / BITS;
        let mut end = start + word::prefix(self.get(word) >> (start % BITS));
        while end == (word + 1) * BITS && end < enough {
            word += 1;
            end += word::prefix(self.get(word));
        }
        end
    }
}

/// The words that `len` blocks from `at` on touch, and which bits of them.
#[inline]
pub(super) fn pieces(at: usize, len: usize) -> impl Iterator<Item = (usize, u64)> {
    let end = at + len;
    (at / BITS..=(end - 1) / BITS).map(move |word| {
        let from = at.max(word * BITS);
        let to = end.min((word + 1) * BITS);
        (word, word::mask(from % BITS, to - from))
    })
}
