//! Generated operations against a model.
//!
//! The model is the [`Ledger`]: what is allocated, where, how long, and each byte of it. Operations
//! follow from the profile's seed alone, so a failure repeats.

use std::hint::black_box;
use std::vec::Vec;

use crate::alloc::Allocator;
use crate::error::AllocError;
use crate::layout::NonZeroLayout;
use fastrand::Rng;

use super::layout;
use super::ledger::{Ledger, Way};

/// What is asked of an allocator, and how often.
#[derive(Clone, Copy, Debug)]
pub struct Profile {
    /// Operations in all.
    pub operations: usize,
    /// About how many blocks are live at a time.
    pub live: usize,
    /// The largest size in bytes. Sizes are spread evenly over powers of two, and every eighth is a
    /// power of two or one more.
    pub largest: usize,
    /// The largest alignment in bytes. Most alignments are 8, the rest is spread evenly over powers
    /// of two.
    pub most_align: usize,
    /// Whether the allocator may refuse.
    pub refusals: bool,
    /// Where the generator starts.
    pub seed: u64,
}

impl Profile {
    /// Many small blocks: strings, nodes, small vectors.
    pub const SMALL: Self =
        Self { operations: 1_000_000, live: 500, largest: 512, most_align: 64, refusals: false, seed: 1 };
    /// Blocks of up to 32 KiB.
    pub const MIXED: Self = Self {
        operations: 1_000_000,
        live: 200,
        largest: 32 << 10,
        most_align: 4096,
        refusals: false,
        seed: 2,
    };
    /// Few blocks of up to 4 MiB.
    pub const LARGE: Self = Self {
        operations: 2_000,
        live: 12,
        largest: 4 << 20,
        most_align: 64 << 10,
        refusals: false,
        seed: 3,
    };

    /// The same profile with another number of operations.
    #[must_use]
    pub const fn operations(self, operations: usize) -> Self {
        Self { operations, ..self }
    }

    /// The same profile with another seed.
    #[must_use]
    pub const fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// The same profile for an allocator that may refuse.
    #[must_use]
    pub const fn refusals(self) -> Self {
        Self { refusals: true, ..self }
    }
}

/// How often each thing happened in [`run`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Blocks allocated.
    pub allocated: usize,
    /// Blocks grown.
    pub grown: usize,
    /// Blocks shrunk.
    pub shrunk: usize,
    /// Blocks freed.
    pub freed: usize,
    /// Requests refused.
    pub refused: usize,
}

/// Runs generated operations and frees what they left. Everything that a [`Ledger`] checks is
/// checked, a whole block before each free and resize, and all blocks now and then.
pub fn run(allocator: &dyn Allocator, profile: Profile) -> Tally {
    run_watched(allocator, profile, |_| {})
}

/// As [`run`]; after each operation `watch` is called with the bytes that are live, by real length.
pub fn run_watched(allocator: &dyn Allocator, profile: Profile, mut watch: impl FnMut(usize)) -> Tally {
    let mut model = Model {
        ledger: Ledger::new(allocator),
        addresses: Vec::new(),
        random: Rng::with_seed(profile.seed),
        tally: Tally::default(),
        profile,
    };
    for number in 1..=profile.operations {
        model.step();
        watch(model.ledger.bytes());
        if number.is_multiple_of(50_000) {
            model.ledger.verify();
        }
    }
    model.ledger.verify();
    while !model.addresses.is_empty() {
        model.free();
        watch(model.ledger.bytes());
    }
    let tally = model.tally;
    assert_eq!(model.ledger.len(), 0);
    assert_eq!(tally.allocated, tally.freed);
    if !profile.refusals {
        assert_eq!(tally.refused, 0);
        assert!(tally.allocated > profile.operations / 8, "{tally:?}");
        assert!(tally.grown.min(tally.shrunk) > profile.operations / 16, "{tally:?}");
    }
    black_box(tally)
}

struct Model<'a> {
    ledger: Ledger<'a>,
    addresses: Vec<usize>,
    random: Rng,
    tally: Tally,
    profile: Profile,
}

impl Model<'_> {
    fn step(&mut self) {
        // The number of live blocks wanders between none and twice the profile's.
        let full = self.addresses.len() * 100 / (2 * self.profile.live);
        let roll = self.random.usize(0..200);
        if self.addresses.is_empty() || roll < 100usize.saturating_sub(full) {
            self.allocate(roll.is_multiple_of(4));
        } else if roll < 100 {
            self.free();
        } else if roll < 150 {
            self.grow(if roll.is_multiple_of(4) { Way::GrowZeroed } else { Way::Grow });
        } else {
            self.shrink();
        }
    }

    fn allocate(&mut self, zeroed: bool) {
        let layout = layout(self.size(), self.align());
        let block = if zeroed { self.ledger.allocate_zeroed(layout) } else { self.ledger.allocate(layout) };
        if let Some(address) = self.accept(block) {
            self.addresses.push(address);
            self.tally.allocated += 1;
        }
    }

    fn free(&mut self) {
        let index = self.random.usize(..self.addresses.len());
        self.ledger.free(self.addresses.swap_remove(index));
        self.tally.freed += 1;
    }

    fn grow(&mut self, way: Way) {
        let index = self.pick();
        let old = self.ledger.get(self.addresses[index]).layout();
        let new = layout(self.size().max(old.size()), self.realigned(old));
        if self.resize(index, new, way) {
            self.tally.grown += 1;
        }
    }

    fn shrink(&mut self) {
        let index = self.pick();
        let old = self.ledger.get(self.addresses[index]).layout();
        let new = layout(self.size().min(old.size()), self.realigned(old));
        if self.resize(index, new, Way::Shrink) {
            self.tally.shrunk += 1;
        }
    }

    fn resize(&mut self, index: usize, new: NonZeroLayout, way: Way) -> bool {
        let block = self.ledger.resize(self.addresses[index], new, way);
        match self.accept(block) {
            Some(address) => self.addresses[index] = address,
            None => return false,
        }
        true
    }

    fn accept(&mut self, block: Result<usize, AllocError>) -> Option<usize> {
        match block {
            Ok(address) => Some(address),
            Err(error) => {
                assert!(self.profile.refusals, "refused: {error}");
                self.tally.refused += 1;
                None
            }
        }
    }

    /// The newest block half of the time, since allocators treat the last one specially; else any.
    fn pick(&mut self) -> usize {
        let len = self.addresses.len();
        if self.random.bool() { len - 1 } else { self.random.usize(..len) }
    }

    fn size(&mut self) -> usize {
        let power = 1 << self.random.u32(0..=self.profile.largest.ilog2());
        let size = match self.random.u8(0..16) {
            0 => power,
            1 => power + 1,
            _ => self.random.usize(power..2 * power),
        };
        size.min(self.profile.largest)
    }

    fn align(&mut self) -> usize {
        if self.random.u8(0..4) > 0 { 8 } else { 1 << self.random.u32(0..=self.profile.most_align.ilog2()) }
    }

    fn realigned(&mut self, old: NonZeroLayout) -> usize {
        if self.random.u8(0..4) > 0 { old.align() } else { self.align() }
    }
}
