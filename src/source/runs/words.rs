//! Runs of set bits in a word: which there are, and which is the best one to take from.
//!
//! Bit `i` stands for slice `i` of a chunk, so that a chunk has at most 64 of them.

#![forbid(unsafe_code)]

/// How many slices a chunk has at most.
pub(super) const MOST: usize = u64::BITS as usize;

/// How many classes of runs there are; see [`classes`].
pub(super) const CLASSES: usize = 8;
/// The class of words with four bits from a multiple of four on.
pub(super) const QUAD: usize = 6;
/// The class of words in which every slice of the chunk is set.
pub(super) const WHOLE: usize = 7;

/// `ALIGNED[k]`: the multiples of `1 << k`.
const ALIGNED: [u64; 7] = [
    u64::MAX,
    0x5555_5555_5555_5555,
    0x1111_1111_1111_1111,
    0x0101_0101_0101_0101,
    0x0001_0001_0001_0001,
    0x0000_0001_0000_0001,
    1,
];

/// The bits from `at` on, `len` of them; at least one, and none beyond the word.
pub(super) const fn mask(at: usize, len: usize) -> u64 {
    debug_assert!(len >= 1 && at + len <= MOST);
    (u64::MAX >> (MOST - len)) << at
}

/// Where a run of `len` set bits begins, from 1 to 64: each step doubles the length that is known
/// to be set.
const fn starts(word: u64, len: usize) -> u64 {
    let mut starts = word;
    let mut known = 1;
    while known < len {
        let step = if known < len - known { known } else { len - known };
        starts &= starts >> step;
        known += step;
    }
    starts
}

/// The classes of `word` in a chunk whose slices are `whole`, as a bit each: `k` up to 5 for a run
/// of `1 << k` or more, [`QUAD`], [`WHOLE`].
#[inline]
pub(super) const fn classes(word: u64, whole: u64) -> u16 {
    if word == 0 {
        return 0;
    }
    let two = word & word >> 1;
    let four = two & two >> 2;
    let eight = four & four >> 4;
    let sixteen = eight & eight >> 8;
    let half = sixteen & sixteen >> 16;
    1 | ((two != 0) as u16) << 1
        | ((four != 0) as u16) << 2
        | ((eight != 0) as u16) << 3
        | ((sixteen != 0) as u16) << 4
        | ((half != 0) as u16) << 5
        | ((four & ALIGNED[2] != 0) as u16) << QUAD
        | ((word == whole) as u16) << WHOLE
}

/// Where words lie that have a run of a length at an alignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fit {
    /// Every such word is of this class.
    pub(super) needed: usize,
    /// Every word of this class is such a word. Another class than `needed`: not the other way
    /// round.
    pub(super) enough: Option<usize>,
}

/// The classes for a run of `len` slices, 1 to 64, at a multiple of `align` slices, in a chunk of
/// `slices`.
#[inline]
pub(super) const fn fit(len: usize, align: usize, slices: usize) -> Fit {
    if len == 4 && align == 4 {
        return Fit { needed: QUAD, enough: Some(QUAD) };
    }
    if len == slices {
        return Fit { needed: WHOLE, enough: Some(WHOLE) };
    }
    let needed = len.ilog2() as usize;
    // Wherever a run of that length begins, a multiple of the alignment is near enough.
    let surely = len + align - 1;
    let enough = surely.next_power_of_two().ilog2() as usize;
    let enough = if enough < QUAD {
        Some(enough)
    } else if surely <= slices {
        Some(WHOLE)
    } else {
        None
    };
    Fit { needed, enough }
}

/// The first bit of the best run of `len` in `word`, at a multiple of `align`, a power of two: one
/// in the shortest run of set bits of `free` that has it, the lowest of those. All of `word` is in
/// `free`.
#[inline]
pub(super) const fn best(word: u64, free: u64, len: usize, align: usize) -> Option<usize> {
    let fitting = starts(word, len) & ALIGNED[align.trailing_zeros() as usize % ALIGNED.len()];
    if fitting == 0 {
        return None;
    }
    let behind = if len < MOST { free >> len } else { 0 };
    let exact = fitting & !(free << 1) & !behind;
    if exact != 0 {
        return Some(exact.trailing_zeros() as usize);
    }
    let mut left = fitting;
    let (mut chosen, mut shortest) = (0, usize::MAX);
    while left != 0 {
        let at = left.trailing_zeros() as usize;
        let end = at + (!(free >> at)).trailing_zeros() as usize;
        let begin = MOST - (!free & !(u64::MAX << at)).leading_zeros() as usize;
        if end - begin < shortest {
            (chosen, shortest) = (at, end - begin);
        }
        if end >= MOST {
            break;
        }
        left &= u64::MAX << end;
    }
    Some(chosen)
}

/// How many set bits follow from `at` on without a gap.
pub(super) const fn run_from(word: u64, at: usize) -> usize {
    if at >= MOST { 0 } else { (!(word >> at)).trailing_zeros() as usize }
}

/// The runs of a word, the lowest first: where each begins, and its length.
pub(super) fn runs(mut word: u64) -> impl Iterator<Item = (usize, usize)> {
    core::iter::from_fn(move || {
        if word == 0 {
            return None;
        }
        let at = word.trailing_zeros() as usize;
        let len = run_from(word, at);
        word &= !mask(at, len);
        Some((at, len))
    })
}

/// The highest `count` set bits of a word; all of them where there are no more.
pub(super) const fn highest(word: u64, count: usize) -> u64 {
    let mut chosen = word;
    let mut more = (word.count_ones() as usize).saturating_sub(count);
    while more > 0 {
        chosen &= chosen - 1;
        more -= 1;
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn words() -> impl Iterator<Item = u64> {
        let mut random = fastrand::Rng::with_seed(7);
        let mixed = (0..20_000).map(move |round| match round % 4 {
            0 => random.u64(..),
            1 => random.u64(..) | random.u64(..),
            2 => random.u64(..) & random.u64(..),
            _ => (0..random.usize(1..6)).fold(0, |word, _| {
                let at = random.usize(..64);
                word | mask(at, random.usize(1..=64 - at))
            }),
        });
        [0, 1, u64::MAX, 1 << 63, u64::MAX >> 1, u64::MAX << 1].into_iter().chain(mixed)
    }

    /// Each run of set bits by hand: where it begins and where it ends.
    fn naive_runs(word: u64) -> Vec<(usize, usize)> {
        let set = |bit: usize| bit < 64 && word >> bit & 1 == 1;
        let begins = (0..64).filter(|&bit| set(bit) && (bit == 0 || !set(bit - 1)));
        begins.map(|begin| (begin, (begin..).find(|&bit| !set(bit)).unwrap() - begin)).collect()
    }

    #[test]
    fn runs_and_classes_are_those_that_one_sees() {
        for word in words() {
            let naive = naive_runs(word);
            assert_eq!(runs(word).collect::<Vec<_>>(), naive);
            let longest = naive.iter().map(|run| run.1).max().unwrap_or(0);
            for class in 0..6 {
                assert_eq!(classes(word, u64::MAX) >> class & 1 == 1, longest >= 1 << class, "{word:x}");
            }
            let quad = (0..64).step_by(4).any(|at| word & mask(at, 4) == mask(at, 4));
            assert_eq!(classes(word, u64::MAX) >> QUAD & 1 == 1, quad);
            assert_eq!(classes(word, u64::MAX) >> WHOLE & 1 == 1, word == u64::MAX);
        }
    }

    #[test]
    fn the_best_run_is_the_shortest_that_fits_and_the_lowest_of_those() {
        for (index, word) in words().enumerate() {
            for (len, align) in [(1, 1), (2, 1), (4, 4), (3, 2), (5, 1), (1 + index % 64, 1 << (index % 7))] {
                let aligned = |&(begin, run): &(usize, usize)| {
                    let at = begin.next_multiple_of(align);
                    (at + len <= begin + run).then_some((run, at))
                };
                let best_by_hand = naive_runs(word).iter().filter_map(aligned).min().map(|(_, at)| at);
                assert_eq!(best(word, word, len, align), best_by_hand, "{word:x} {len} {align}");
                // Where only some of the free slices will do, the runs are those of all.
                let free = word | word << 3 | word >> 9;
                let free_run = |at: usize| {
                    let run = naive_runs(free).into_iter().find(|run| (run.0..run.0 + run.1).contains(&at));
                    run.expect("it is free").1
                };
                let fits = |at: &usize| at + len <= 64 && word & mask(*at, len) == mask(*at, len);
                let some_by_hand = (0..64).step_by(align).filter(fits).map(|at| (free_run(at), at)).min();
                assert_eq!(
                    best(word, free, len, align),
                    some_by_hand.map(|(_, at)| at),
                    "{word:x} {len} {align}"
                );
                let fit = fit(len, align, 64);
                let has = |class| classes(word, u64::MAX) >> class & 1 == 1;
                assert!(best_by_hand.is_none() || has(fit.needed), "{word:x} {len} {align}");
                assert!(
                    best_by_hand.is_some() || !fit.enough.is_some_and(has),
                    "{word:x} {len} {align} {fit:?}"
                );
            }
        }
    }

    #[test]
    fn the_highest_bits() {
        for word in words() {
            for count in [0, 1, 3, 64] {
                let chosen = highest(word, count);
                assert_eq!(chosen & !word, 0);
                assert_eq!(chosen.count_ones(), word.count_ones().min(count as u32));
                assert!(chosen == 0 || word & !chosen < 1 << chosen.trailing_zeros());
            }
        }
    }
}
