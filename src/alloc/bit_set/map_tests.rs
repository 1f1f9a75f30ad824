//! The map against one that looks at every bit.

use core::cell::Cell;
use std::vec::Vec;

use super::{Bits, Map, ROWS, UNSETTLED, Wanted, row_groups, row_words};
use crate::alloc::bit_set::word::BITS;

struct Index {
    bits: Vec<Cell<u64>>,
    longest: Vec<Cell<u8>>,
    rows: Vec<Cell<u64>>,
    present: Cell<u64>,
    blocks: usize,
}

impl Index {
    fn new(from: usize, blocks: usize) -> Self {
        let words = blocks.div_ceil(BITS);
        let index = Self {
            bits: (0..words).map(|_| Cell::new(3)).collect(),
            longest: (0..words).map(|_| Cell::new(3)).collect(),
            rows: (0..row_words(words)).map(|_| Cell::new(3)).collect(),
            present: Cell::new(3),
            blocks,
        };
        index.map().start_over(from, blocks);
        index
    }

    fn map(&self) -> Map<'_> {
        Map {
            bits: Bits(&self.bits),
            longest: &self.longest,
            rows: &self.rows,
            present: &self.present,
            groups: row_groups(self.bits.len()),
        }
    }

    fn naive(&self) -> Vec<bool> {
        (0..self.blocks).map(|at| self.bits[at / BITS].get() >> (at % BITS) & 1 != 0).collect()
    }

    /// Makes a used block free as the allocator does with single ones.
    fn give_single(&self, at: usize) {
        let bits = &self.bits[at / BITS];
        assert_eq!(bits.get() >> (at % BITS) & 1, 0);
        bits.set(bits.get() | 1 << (at % BITS));
        self.map().revive(at / BITS);
    }

    /// Takes a word's free blocks as the allocator does.
    fn take_word(&self, word: usize) -> u64 {
        let bits = self.map().take_word(word);
        if bits & 1 != 0 {
            self.map().settle_before(word);
        }
        bits
    }

    /// Every line of the head comment's "always", first with the unsettled words as they are.
    fn check(&self) {
        let unsettled: Vec<bool> = self.longest.iter().map(|longest| longest.get() == UNSETTLED).collect();
        for (word, bits) in self.bits.iter().enumerate() {
            assert_eq!(self.map().next_in(0, word) == Some(word), unsettled[word]);
            assert_eq!(self.longest[word].get() == 0, bits.get() == 0, "word {word}");
        }
        let before: Vec<u8> = self.longest.iter().map(Cell::get).collect();
        self.map().settle_all();
        for (word, &before) in before.iter().enumerate() {
            let after = self.longest[word].get();
            let exact = unsettled.get(word + 1) != Some(&true);
            assert!(unsettled[word] || before == after || before < after && !exact, "word {word}");
        }
        self.check_settled();
    }

    fn check_settled(&self) {
        let free = self.naive();
        let mut run = 0;
        let runs: Vec<usize> = free
            .iter()
            .rev()
            .map(|&free| {
                run = if free { run + 1 } else { 0 };
                run
            })
            .collect();
        let run_at = |at: usize| runs[self.blocks - 1 - at];
        let words = self.bits.len();
        let mut present = 0;
        for word in 0..words {
            let longest =
                (word * BITS..((word + 1) * BITS).min(self.blocks)).map(run_at).max().unwrap_or(0).min(64);
            assert_eq!(usize::from(self.longest[word].get()), longest, "word {word}");
            if longest > 0 {
                present |= 1_u64 << (longest - 1);
            }
            for row in 0..ROWS {
                let expected = row > 0 && row == longest;
                let map = self.map();
                assert_eq!(map.next_in(row, word) == Some(word), expected, "row {row}, word {word}");
            }
        }
        assert_eq!(self.present.get(), present);
        for row in 0..ROWS {
            let first = (0..words).find(|&word| self.map().next_in(row, word) == Some(word));
            assert_eq!(self.map().first_in(row), first);
        }
        assert_eq!(self.map().longest_run(), runs.iter().copied().max().unwrap_or(0));
    }
}

/// Whether there is a run as wanted, by looking at every bit.
fn naive_has(free: &[bool], wanted: Wanted) -> bool {
    (wanted.remainder..free.len())
        .step_by(wanted.step)
        .any(|at| at + wanted.len <= free.len() && free[at..at + wanted.len].iter().all(|&free| free))
}

fn check_find(index: &Index, free: &[bool], wanted: Wanted) -> Option<usize> {
    let found = index.map().find(wanted);
    assert_eq!(found.is_some(), naive_has(free, wanted), "{wanted:?}");
    let at = found?;
    assert!(at % wanted.step == wanted.remainder, "{wanted:?} was put at {at}");
    assert!(free[at..at + wanted.len].iter().all(|&free| free), "{wanted:?} at {at} is not free");
    Some(at)
}

fn any_wanted(random: &mut fastrand::Rng, blocks: usize) -> Wanted {
    let len = match random.u8(0..8) {
        0 => 1,
        1..4 => random.usize(1..=16),
        4..6 => random.usize(1..=70),
        6 => random.usize(60..=300),
        _ => random.usize(1..=blocks),
    };
    let step = if random.u8(0..3) > 0 { 1 } else { 1 << random.u32(0..=9) };
    Wanted { len, step, remainder: random.usize(..step) }
}

/// Runs of random lengths at random multiples are taken and given back; each search is compared,
/// each line of the index checked.
#[test]
fn searches_agree_with_looking_at_every_bit() {
    for (seed, from, blocks) in
        [(1, 0, 64), (2, 3, 61), (3, 13, 1024), (4, 0, 4095), (5, 70, 4160), (6, 300, 9001)]
    {
        let mut random = fastrand::Rng::with_seed(seed);
        let index = Index::new(from, blocks);
        index.check();
        let mut taken: Vec<(usize, usize)> = Vec::new();
        for number in 0..3_000 {
            let free = index.naive();
            let wanted = any_wanted(&mut random, blocks);
            let found = check_find(&index, &free, wanted);
            // The number of runs wanders, so that maps are seen at all densities.
            let filling = number / 500 % 2 == 0 || random.bool();
            match found {
                Some(at) if filling => {
                    index.map().take(at, wanted.len);
                    taken.push((at, wanted.len));
                }
                _ if !taken.is_empty() => {
                    let (at, len) = taken.swap_remove(random.usize(..taken.len()));
                    // Half of them a block at a time.
                    if random.bool() {
                        assert!(index.map().give(at, len));
                        assert!(!index.map().give(at + len - 1, 1), "a free block was given back");
                    } else {
                        (at..at + len).for_each(|at| index.give_single(at));
                    }
                }
                _ => {}
            }
            if number % 16 == 0 {
                index.check();
            }
        }
        taken.drain(..).for_each(|(at, len)| assert!(index.map().give(at, len)));
        index.check();
        assert_eq!(index.map().longest_run(), blocks - from);
    }
}

/// Whole words are taken and given back as single blocks are.
#[test]
fn words_at_a_time() {
    let mut random = fastrand::Rng::with_seed(9);
    for blocks in [640, 64 * 70 + 5] {
        let index = Index::new(5, blocks);
        let mut single: Vec<usize> = Vec::new();
        let mut from = 0;
        for number in 0..4_000 {
            if number / 700 % 2 == 0 {
                if let Some(word) = index.map().next_for_single(from) {
                    let mut bits = index.take_word(word);
                    assert_ne!(bits, 0);
                    from = word + 1;
                    if random.u8(0..4) == 0 {
                        index.map().give_word(word, bits);
                        bits = 0;
                    }
                    single.extend((0..64).filter(|at| bits >> at & 1 != 0).map(|at| word * BITS + at));
                } else {
                    assert!(index.map().is_full() && index.naive().iter().all(|free| !free));
                }
            } else {
                for _ in 0..20 {
                    if !single.is_empty() {
                        index.give_single(single.swap_remove(random.usize(..single.len())));
                    }
                }
            }
            if number % 20 == 0 {
                index.check();
            }
        }
    }
}

#[test]
fn a_full_map_and_an_empty_one() {
    let index = Index::new(64, 64);
    index.check();
    assert!(index.map().is_full());
    assert_eq!(index.map().find(Wanted { len: 1, step: 1, remainder: 0 }), None);
    assert_eq!(index.map().next_for_single(0), None);
    let index = Index::new(0, 262_144);
    index.check();
    assert_eq!(index.map().find(Wanted { len: 262_144, step: 1, remainder: 0 }), Some(0));
    assert_eq!(index.map().find(Wanted { len: 262_144, step: 2, remainder: 1 }), None);
}
