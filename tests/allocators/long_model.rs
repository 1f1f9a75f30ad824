//! Ten million generated operations on each allocator that its own tests give fewer: run by
//! `.ci/run`, and by `cargo test --features full --test allocators long_model -- --ignored`.

use crate::support::CheckingSource;
use crate::support::held::{Meter, Promise};
use crate::support::model::{self, Profile};
use context_allocator::alloc::{FixedBitSetAllocator, Lifetime, Reset, SizeClassAllocator};
use context_allocator::size::{U16, U64, U4096};
use context_allocator::{
    Allocator, BitSetAllocator, BumpAllocator, ContextAllocator, Locked, MmapAllocator, MmapSource,
    SlabAllocator,
};

const OPERATIONS: usize = 10_000_000;

type Source = CheckingSource<MmapSource>;

fn source() -> Source {
    CheckingSource::new(MmapSource::new())
}

/// In rounds, with all memory given back between them, and what is held within the promise after
/// each operation.
fn in_rounds<A: Allocator + Reset>(
    mut allocator: A,
    source: &Source,
    rounds: u64,
    profile: Profile,
    promise: Promise,
) {
    let part = profile.operations(OPERATIONS / rounds as usize);
    for seed in 1..=rounds {
        let counts = || source.counts();
        let mut meter = Meter::new(&counts, promise);
        model::run_watched(&allocator, part.seed(seed), |live| meter.check_most(live));
        allocator.reset();
    }
    drop(allocator);
    source.assert_all_released();
}

#[test]
#[ignore = "ten million operations"]
fn bump() {
    let source = source();
    in_rounds(BumpAllocator::new(&source), &source, 100, Profile::SMALL, Promise::BUMP);
}

#[test]
#[ignore = "ten million operations"]
fn size_class() {
    let source = source();
    in_rounds(SizeClassAllocator::new(&source), &source, 5, Profile::SMALL, Promise::SIZE_CLASS);
}

#[test]
#[ignore = "ten million operations"]
fn slab() {
    let source = source();
    in_rounds(SlabAllocator::new(&source), &source, 5, Profile::SMALL, Promise::SLAB);
}

#[test]
#[ignore = "ten million operations"]
fn locked() {
    let source = source();
    let shared = Locked::new(SizeClassAllocator::new(&source));
    in_rounds(shared, &source, 5, Profile { largest: 8192, ..Profile::SMALL }, Promise::SIZE_CLASS);
}

#[test]
#[ignore = "ten million operations for each lifetime"]
fn context() {
    for (lifetime, promise) in [
        (Lifetime::Short, Promise::BUMP),
        (Lifetime::Medium, Promise::BIT_SET),
        (Lifetime::Long, Promise::TREE),
    ] {
        let source = source();
        in_rounds(ContextAllocator::new(&source, lifetime), &source, 100, Profile::SMALL, promise);
    }
}

#[test]
#[ignore = "ten million operations"]
fn bit_set_of_many_blocks() {
    let source = source();
    let profile = Profile { live: 5_000, ..Profile::SMALL };
    in_rounds(BitSetAllocator::<_, U16>::new_in(&source), &source, 5, profile, Promise::BIT_SET);
}

#[test]
#[ignore = "ten million operations"]
fn fixed_bit_set() {
    let source = source();
    let fixed = FixedBitSetAllocator::<_, U64, U4096>::new(&source);
    // One region of so many bytes, whatever is live.
    let region = Promise { percent: 0, percent_of_most: 0, plus: 64 * 4096, ..Promise::MAPS };
    in_rounds(fixed, &source, 5, Profile::SMALL.refusals(), region);
}

#[test]
#[ignore = "ten million operations"]
fn memory_maps() {
    let source = source();
    let counts = || source.counts();
    let mut meter = Meter::new(&counts, Promise::MAPS);
    let profile = Profile { live: 100, ..Profile::SMALL.operations(OPERATIONS) };
    model::run_watched(&MmapAllocator::new_in(&source), profile, |live| meter.check_live(live));
    source.assert_all_released();
}
