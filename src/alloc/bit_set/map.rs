//! Which blocks of a region are free, and where runs of them are.
//!
//! ```text
//!   bits      one bit a block, set = free                   W words (at most 4096: 262,144 blocks)
//!   longest   for each word, the longest run that begins in it     W bytes, 0 to 64, or unsettled
//!   rows      by length 1 to 64, the words whose longest run it is; row 0: unsettled words
//!               top     [65]       one bit a group of 64 words; up to 64 words, one bit a word
//!               groups  [65][G]    one bit a word
//!   present   the lengths of which there is a word, length 1 at bit 0
//! ```
//!
//! A word's longest run is that of its own bits, or the one that ends in the next word where it is
//! longer (64 where it is longer still). A single block that is freed makes its word *unsettled*:
//! what its longest run is, is found out when a search for a run does not find one elsewhere, so
//! that who allocates single blocks only does not pay for runs.
//!
//! Always, between two calls: `rows` and `present` say the same as `longest`; a word without a free
//! block has length 0 and is in no row; and every other settled word has a run of its length. It
//! has no longer one, unless that ends in an unsettled word. So a run of up to 64 blocks is found
//! by three loads and three `tzcnt`, the shortest that is long enough, if a settled word has one.
//! Otherwise unsettled words are settled until one does: one for each that single blocks unsettled
//! before. Only what follows looks at more words, and never at more than the region has: runs
//! beyond 64 blocks, and runs at multiples of more than one block where no run is so long that it
//! must hold one.

#![forbid(unsafe_code)]

use core::cell::Cell;

use super::bits::{Bits, Wanted};
use super::word::{self, BITS};

/// Rows of the summary: lengths 1 to 64, and row 0.
pub(super) const ROWS: usize = BITS + 1;
/// The longest run that is told from a longer one.
const LONG: usize = BITS;
/// The row of the unsettled words.
const UNSETTLED_ROW: usize = 0;
/// What stands for the length of an unsettled word; more than any length.
pub(super) const UNSETTLED: u8 = u8::MAX;

/// How many groups a row has in a map of `words` words.
pub(super) const fn row_groups(words: usize) -> usize {
    if words <= BITS { 0 } else { words.div_ceil(BITS) }
}

/// How many words the rows of a map of `words` words take.
pub(super) const fn row_words(words: usize) -> usize {
    ROWS + ROWS * row_groups(words)
}

/// The index of a region.
#[derive(Clone, Copy)]
pub(super) struct Map<'a> {
    pub(super) bits: Bits<'a>,
    pub(super) longest: &'a [Cell<u8>],
    pub(super) rows: &'a [Cell<u64>],
    pub(super) present: &'a Cell<u64>,
    /// How many groups a row has: 0 where there are no more than 64 words.
    pub(super) groups: usize,
}

impl Map<'_> {
    /// Makes the blocks from `from` to `to` free and all others used, whatever was there.
    pub(super) fn start_over(self, from: usize, to: usize) {
        self.bits.0.iter().for_each(|bits| bits.set(0));
        self.longest.iter().for_each(|longest| longest.set(0));
        self.rows.iter().for_each(|row| row.set(0));
        self.present.set(0);
        if from < to {
            let _none_was_free = self.give(from, to - from);
        }
    }

    /// Whether no block is free.
    #[inline(always)]
    pub(super) fn is_full(self) -> bool {
        self.present.get() == 0 && self.rows[UNSETTLED_ROW].get() == 0
    }

    /// The run to take for `wanted`.
    #[inline]
    pub(super) fn find(self, wanted: Wanted) -> Option<usize> {
        if wanted.step == 1 && wanted.len <= LONG {
            return self.find_short(wanted.len);
        }
        self.find_other(wanted)
    }

    /// The shortest run of at least `len` blocks, up to 64.
    #[inline]
    fn find_short(self, len: usize) -> Option<usize> {
        let mut lengths = self.present.get() >> (len - 1);
        while lengths == 0 {
            self.settle_word(self.first_in(UNSETTLED_ROW)?);
            lengths = self.present.get() >> (len - 1);
        }
        let word = self.first_in(len + word::lowest(lengths))?;
        let bits = self.bits.0[word].get();
        let starts = word::run_starts(bits, len);
        // Where the word alone has no such run, it ends in the next word.
        Some(word * BITS + if starts != 0 { word::lowest(starts) } else { BITS - word::suffix(bits) })
    }

    fn find_other(self, wanted: Wanted) -> Option<usize> {
        let Wanted { len, step, .. } = wanted;
        self.settle_all();
        if len <= LONG && step <= BITS {
            // A run of this length holds a place at such a multiple wherever it begins.
            let enough = len + step - 1;
            if enough <= LONG
                && let Some(at) = self.find_short(enough)
            {
                return Some(wanted.first_from(at));
            }
            return self.find_at_multiple(wanted);
        }
        if len <= LONG {
            return self.bits.find_at_distant_multiple(wanted);
        }
        self.bits.find_long(wanted, |word| self.next_in(LONG, word))
    }

    /// A run of up to 64 blocks at a multiple of up to 64: looks through the words that have a run
    /// of this length.
    fn find_at_multiple(self, wanted: Wanted) -> Option<usize> {
        for length in wanted.len..=LONG {
            let mut from = 0;
            while let Some(word) = self.next_in(length, from) {
                if let Some(at) = self.bits.find_from(word, wanted) {
                    return Some(at);
                }
                from = word + 1;
            }
        }
        None
    }

    /// The length of the longest run, if it is less than 64 blocks. No word is unsettled, as after
    /// a search in vain.
    pub(super) fn longest_short_run(self) -> Option<usize> {
        let known = BITS - self.present.get().leading_zeros() as usize;
        if known < LONG { Some(known) } else { None }
    }

    /// The length of the longest run of free blocks, in blocks. Looks at every word where that is
    /// beyond 64.
    pub(super) fn longest_run(self) -> usize {
        self.settle_all();
        if let Some(known) = self.longest_short_run() {
            return known;
        }
        let mut longest = LONG;
        let mut from = 0;
        // The word in which a run ends may be the one in which the next begins.
        while let Some(word) = self.next_in(LONG, from / BITS) {
            let start = self.bits.last_run(word);
            from = self.bits.end_of(start, usize::MAX);
            longest = longest.max(from - start);
        }
        longest
    }

    /// Makes `len` free blocks from `at` on used.
    #[inline]
    pub(super) fn take(self, at: usize, len: usize) {
        if at % BITS + len <= BITS {
            let (word, at) = (at / BITS, at % BITS);
            let bits = self.bits.0[word].get();
            debug_assert!(bits & word::mask(at, len) == word::mask(at, len), "only free blocks are taken");
            let bits = bits & !word::mask(at, len);
            self.bits.0[word].set(bits);
            self.settle_one(word, bits, at);
            return;
        }
        self.bits.take(at, len);
        self.settle(at, len);
    }

    /// Makes `len` used blocks from `at` on free. Does nothing and returns `false` if one is free
    /// already.
    #[inline]
    #[must_use]
    pub(super) fn give(self, at: usize, len: usize) -> bool {
        if at % BITS + len <= BITS {
            let (word, at) = (at / BITS, at % BITS);
            let bits = self.bits.0[word].get();
            let mask = word::mask(at, len);
            if bits & mask != 0 {
                return false;
            }
            self.bits.0[word].set(bits | mask);
            self.given(word, bits | mask, at);
        } else {
            if !self.bits.is_used(at, len) {
                return false;
            }
            self.bits.give(at, len);
            self.settle(at, len);
        }
        true
    }

    /// Settles the index after the run around bit `at` of `word`, whose bits are now `bits`, became
    /// longer.
    #[inline]
    pub(super) fn given(self, word: usize, bits: u64, at: usize) {
        let (up, down) = word::around(bits, at);
        let mut run = up + down - 1;
        if at + up == BITS {
            run += word::prefix(self.bits.get(word + 1));
        }
        self.raise(word, run);
        if down == at + 1 && word > 0 {
            let before = word::suffix(self.bits.0[word - 1].get());
            if before > 0 {
                self.raise(word - 1, before + up + at);
            }
        }
    }

    /// Takes every free block of `word`: its bits. If block 0 is one of them, the caller calls
    /// [`settle_before`](Self::settle_before) next.
    #[inline(always)]
    pub(super) fn take_word(self, word: usize) -> u64 {
        let bits = self.bits.0[word].replace(0);
        self.set_longest(word, 0);
        bits
    }

    /// Gives back the blocks `bits` of `word`, at least one.
    #[inline]
    pub(super) fn give_word(self, word: usize, bits: u64) {
        self.bits.0[word].set(self.bits.0[word].get() | bits);
        self.revive(word);
    }

    /// Notes that blocks of `word` became free.
    #[inline(always)]
    pub(super) fn revive(self, word: usize) {
        self.set_longest(word, UNSETTLED);
    }

    /// A word to take single blocks from: the next unsettled one from `from` on, else the first of
    /// all, else one whose longest run is the shortest.
    #[inline(always)]
    pub(super) fn next_for_single(self, from: usize) -> Option<usize> {
        if self.rows[UNSETTLED_ROW].get() != 0 {
            return self.next_in(UNSETTLED_ROW, from).or_else(|| self.first_in(UNSETTLED_ROW));
        }
        match self.present.get() {
            0 => None,
            present => self.first_in(word::lowest(present) + 1),
        }
    }

    fn settle_all(self) {
        while let Some(word) = self.first_in(UNSETTLED_ROW) {
            self.settle_word(word);
        }
    }

    /// Settles an unsettled word, and the one before as far as its run ends in this one.
    fn settle_word(self, word: usize) {
        self.change_longest(word, self.compute_longest(word));
        if self.bits.0[word].get() & 1 != 0 {
            self.settle_before(word);
        }
    }

    /// Computes the longest run of each word that the `len` blocks from `at` on touch, and of the
    /// word before.
    fn settle(self, at: usize, len: usize) {
        let (first, last) = (at / BITS, (at + len - 1) / BITS);
        for word in first + 1..=last {
            self.change_longest(word, self.compute_longest(word));
        }
        self.settle_one(first, self.bits.0[first].get(), at % BITS);
    }

    /// Computes the longest run of `word`, whose bits from `at` on changed to `bits`, and of the
    /// word before as far as it depends on it.
    #[inline]
    fn settle_one(self, word: usize, bits: u64, at: usize) {
        let was_unsettled = self.longest[word].get() == UNSETTLED;
        self.change_longest(word, self.compute_longest(word));
        // Where all blocks before these are free too, the word before may have a run that ends
        // here.
        if was_unsettled || word::prefix(bits) >= at {
            self.settle_before(word);
        }
    }

    /// Computes the longest run of the word before `word`, if that can depend on `word` and is
    /// settled.
    pub(super) fn settle_before(self, word: usize) {
        if word > 0
            && self.bits.0[word - 1].get() >> (BITS - 1) != 0
            && self.longest[word - 1].get() != UNSETTLED
        {
            self.set_longest(word - 1, self.compute_longest(word - 1));
        }
    }

    fn compute_longest(self, word: usize) -> u8 {
        let bits = self.bits.0[word].get();
        let own = word::longest_run(bits);
        let across = match word::suffix(bits) {
            0 => 0,
            suffix => suffix + word::prefix(self.bits.get(word + 1)),
        };
        own.max(across).min(LONG) as u8
    }

    fn raise(self, word: usize, run: usize) {
        let run = run.min(LONG) as u8;
        // Unsettled is more than any run.
        if run > self.longest[word].get() {
            self.change_longest(word, run);
        }
    }

    #[inline(never)]
    fn change_longest(self, word: usize, new: u8) {
        self.set_longest(word, new);
    }

    /// Inlined where single blocks are taken and given, whose new length is known.
    #[inline(always)]
    fn set_longest(self, word: usize, new: u8) {
        let old = self.longest[word].replace(new);
        if old == new {
            return;
        }
        match old {
            0 => {}
            UNSETTLED => _ = self.leave(UNSETTLED_ROW, word),
            run => {
                if self.leave(usize::from(run), word) {
                    self.present.set(self.present.get() & !(1 << (run - 1)));
                }
            }
        }
        match new {
            0 => {}
            UNSETTLED => self.enter(UNSETTLED_ROW, word),
            run => {
                self.enter(usize::from(run), word);
                self.present.set(self.present.get() | 1 << (run - 1));
            }
        }
    }

    #[inline(always)]
    fn enter(self, row: usize, word: usize) {
        let groups = self.groups;
        let mut place = word;
        if groups > 0 {
            let cell = &self.rows[ROWS + row * groups + word / BITS];
            cell.set(cell.get() | 1 << (word % BITS));
            place = word / BITS;
        }
        self.rows[row].set(self.rows[row].get() | 1 << place);
    }

    /// Takes the word off the row, and says whether the row has none now.
    #[inline(always)]
    fn leave(self, row: usize, word: usize) -> bool {
        let groups = self.groups;
        let mut place = word;
        if groups > 0 {
            let cell = &self.rows[ROWS + row * groups + word / BITS];
            cell.set(cell.get() & !(1 << (word % BITS)));
            if cell.get() != 0 {
                return false;
            }
            place = word / BITS;
        }
        let top = self.rows[row].get() & !(1 << place);
        self.rows[row].set(top);
        top == 0
    }

    /// The first word of the row.
    #[inline(always)]
    fn first_in(self, row: usize) -> Option<usize> {
        let top = self.rows[row].get();
        if top == 0 {
            return None;
        }
        let place = word::lowest(top);
        let groups = self.groups;
        if groups == 0 {
            return Some(place);
        }
        Some(place * BITS + word::lowest(self.rows[ROWS + row * groups + place].get()))
    }

    /// The first word of the row from `from` on.
    #[inline]
    fn next_in(self, row: usize, from: usize) -> Option<usize> {
        if from >= self.bits.0.len() {
            return None;
        }
        let top = self.rows[row].get();
        let groups = self.groups;
        if groups == 0 {
            let rest = top & u64::MAX << from;
            return if rest == 0 { None } else { Some(word::lowest(rest)) };
        }
        let group = from / BITS;
        let rest = self.rows[ROWS + row * groups + group].get() & u64::MAX << (from % BITS);
        if rest != 0 {
            return Some(group * BITS + word::lowest(rest));
        }
        // Shifted twice, because the last group has none behind it.
        let rest = top & u64::MAX << group << 1;
        if rest == 0 {
            return None;
        }
        let group = word::lowest(rest);
        Some(group * BITS + word::lowest(self.rows[ROWS + row * groups + group].get()))
    }
}

#[cfg(test)]
#[path = "map_tests.rs"]
mod tests;
