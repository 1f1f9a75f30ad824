//! Free blocks in a word: bit `i` is set where block `i` of the word's 64 is free.
//!
//! What is here sees numbers only. The lowest set bit is found and removed by `trailing_zeros` and
//! `word & (word - 1)`, which are one instruction each with BMI1 (`tzcnt`, `blsr`) and two or three
//! without; `scripts/show-bits.sh` shows both.

#![forbid(unsafe_code)]

/// Blocks in a word.
pub(super) const BITS: usize = u64::BITS as usize;

/// The number of the lowest set bit, 64 where there is none.
#[inline(always)]
pub(super) const fn lowest(word: u64) -> usize {
    word.trailing_zeros() as usize
}

/// The word without its lowest set bit.
#[inline(always)]
pub(super) const fn without_lowest(word: u64) -> u64 {
    word & word.wrapping_sub(1)
}

/// `len` set bits from bit `at` on; `len` is at least 1 and `at + len` at most 64.
#[inline(always)]
pub(super) const fn mask(at: usize, len: usize) -> u64 {
    debug_assert!(len >= 1 && at + len <= BITS);
    (u64::MAX >> (BITS - len)) << at
}

/// How many bits are set from bit 0 up to the first clear one.
#[inline(always)]
pub(super) const fn prefix(word: u64) -> usize {
    word.trailing_ones() as usize
}

/// How many bits are set from bit 63 down to the first clear one.
#[inline(always)]
pub(super) const fn suffix(word: u64) -> usize {
    word.leading_ones() as usize
}

/// The run of set bits around bit `at`, which is set: how many from `at` upward, and how many from
/// `at` downward, bit `at` counted in both.
#[inline(always)]
pub(super) const fn around(word: u64, at: usize) -> (usize, usize) {
    debug_assert!(word & 1 << at != 0);
    (prefix(word >> at), suffix(word << (BITS - 1 - at)))
}

/// The bits at which `len` set bits begin, `len` from 1 to 64: the word is met with itself,
/// shifted, and each step doubles what is known, so that there are `ceil(log2 len)` of them (H.
/// Warren, Hacker's Delight, section 6-2).
#[inline(always)]
pub(super) const fn run_starts(word: u64, len: usize) -> u64 {
    debug_assert!(len >= 1 && len <= BITS);
    let mut starts = word;
    let mut known = 1;
    while 2 * known <= len {
        starts &= starts >> known;
        known *= 2;
    }
    starts & starts >> (len - known)
}

/// As [`run_starts`], for runs that begin in `word` and may end in `next`, the word behind it.
#[inline(always)]
pub(super) const fn run_starts_across(word: u64, next: u64, len: usize) -> u64 {
    debug_assert!(len >= 1 && len <= BITS);
    let mut starts = word as u128 | (next as u128) << BITS;
    let mut known = 1;
    while 2 * known <= len {
        starts &= starts >> known;
        known *= 2;
    }
    (starts & starts >> (len - known)) as u64
}

/// The length of the longest run of set bits: doubling up as [`run_starts`], then by bisection; at
/// most 11 steps.
#[inline]
pub(super) const fn longest_run(word: u64) -> usize {
    if word == 0 || word == u64::MAX {
        return word.count_ones() as usize;
    }
    // `doubled[j]` are the bits at which 2^j set bits begin.
    let mut doubled = [word; 6];
    let mut power = 0;
    while power < 5 {
        let next = doubled[power] & doubled[power] >> (1 << power);
        if next == 0 {
            break;
        }
        power += 1;
        doubled[power] = next;
    }
    let mut starts = doubled[power];
    let mut len = 1 << power;
    while power > 0 {
        power -= 1;
        let longer = starts & doubled[power] >> len;
        if longer != 0 {
            starts = longer;
            len += 1 << power;
        }
    }
    len
}

/// The bits whose number leaves `remainder` when divided by `step`, a power of two up to 64;
/// `remainder` is less.
#[inline(always)]
pub(super) const fn every(step: usize, remainder: usize) -> u64 {
    debug_assert!(step.is_power_of_two() && step <= BITS && remainder < step);
    // All bits divided by as many as one step has: 1 in each step.
    (u64::MAX / (u64::MAX >> (BITS - step))) << remainder
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bit(word: u64, at: usize) -> bool {
        word >> at & 1 != 0
    }

    fn naive_run_at(word: u64, next: u64, at: usize) -> usize {
        (at..128).take_while(|&at| if at < 64 { bit(word, at) } else { bit(next, at - 64) }).count()
    }

    /// Words of all densities, with long runs among them.
    fn words() -> impl Iterator<Item = u64> {
        let mut random = fastrand::Rng::with_seed(7);
        let edges = [0, 1, 1 << 63, u64::MAX, u64::MAX >> 1, u64::MAX << 1, 0x5555_5555_5555_5555];
        edges.into_iter().chain((0..20_000).map(move |_| {
            let word = random.u64(..);
            match random.u8(0..5) {
                0 => word,
                1 => word & random.u64(..) & random.u64(..),
                2 => word | random.u64(..) | random.u64(..),
                3 => word | word << 1 | word << 2,
                _ => {
                    mask(random.usize(..32), random.usize(1..=32))
                        ^ random.u64(..) & random.u64(..) & random.u64(..)
                }
            }
        }))
    }

    #[test]
    fn runs_are_those_that_counting_finds() {
        let mut next = 0;
        for word in words() {
            let longest = (0..64).map(|at| naive_run_at(word, 0, at)).max();
            assert_eq!(Some(longest_run(word)), longest, "{word:#x}");
            assert_eq!(prefix(word), naive_run_at(word, 0, 0));
            for len in [1, 2, 3, 5, 8, 13, 16, 31, 33, 63, 64] {
                let starts = (0..64).filter(|&at| naive_run_at(word, 0, at) >= len);
                assert_eq!(run_starts(word, len), starts.fold(0, |set, at| set | 1 << at), "{word:#x} {len}");
                let starts = (0..64).filter(|&at| naive_run_at(word, next, at) >= len);
                assert_eq!(run_starts_across(word, next, len), starts.fold(0, |set, at| set | 1 << at));
            }
            for at in (0..64).filter(|&at| bit(word, at)) {
                let (up, down) = around(word, at);
                assert_eq!(up, naive_run_at(word, 0, at));
                assert_eq!(down, (0..=at).rev().take_while(|&at| bit(word, at)).count());
            }
            next = word;
        }
    }

    #[test]
    fn the_lowest_bit_and_the_word_without_it() {
        for word in words() {
            let naive = (0..64).find(|&at| bit(word, at)).unwrap_or(64);
            assert_eq!(lowest(word), naive);
            let rest = (naive + 1..64).filter(|&at| bit(word, at));
            assert_eq!(without_lowest(word), rest.fold(0, |set, at| set | 1 << at));
        }
    }

    #[test]
    fn masks_and_steps() {
        for at in 0..64 {
            for len in 1..=64 - at {
                assert_eq!(mask(at, len), (at..at + len).fold(0, |set, at| set | 1 << at));
            }
        }
        for power in 0..=6 {
            let step = 1 << power;
            for remainder in 0..step {
                let expected = (0..64).filter(|at| at % step == remainder).fold(0, |set, at| set | 1 << at);
                assert_eq!(every(step, remainder), expected, "{step} {remainder}");
            }
        }
    }
}
