//! Ten million generated operations on each allocator that its own tests give fewer: run by `.ci/run`, and by
//! `cargo test --features full --test long_model -- --ignored`.

#![cfg(feature = "std")]

mod support;

use context_allocator::size::{U64, U4096};
use context_allocator::{
    Allocator, BumpAllocator, ContextAllocator, FixedBitSetAllocator, Lifetime, Locked, MmapAllocator,
    MmapSource, Reset, SizeClassAllocator, SpinFutexLock,
};
use support::model::{self, Profile};
use support::sources::CountingSource;

const OPERATIONS: usize = 10_000_000;

/// In rounds, with all memory given back between them.
fn in_rounds<A: Allocator + Reset>(mut allocator: A, rounds: u64, profile: Profile) -> A {
    let part = profile.operations(OPERATIONS / rounds as usize);
    for seed in 1..=rounds {
        model::run(&allocator, part.seed(seed));
        allocator.reset();
    }
    allocator
}

#[test]
#[ignore = "ten million operations"]
fn bump() {
    let source = CountingSource::new(MmapSource::new());
    drop(in_rounds(BumpAllocator::new(&source), 100, Profile::SMALL));
    source.assert_all_released();
}

#[test]
#[ignore = "ten million operations"]
fn size_class() {
    let source = CountingSource::new(MmapSource::new());
    drop(in_rounds(SizeClassAllocator::new(&source), 5, Profile::SMALL));
    source.assert_all_released();
}

#[test]
#[ignore = "ten million operations"]
fn locked() {
    let source = CountingSource::new(MmapSource::new());
    let shared: Locked<SpinFutexLock, _> = Locked::new(SizeClassAllocator::new(&source));
    drop(in_rounds(shared, 5, Profile { largest: 8192, ..Profile::SMALL }));
    source.assert_all_released();
}

#[test]
#[ignore = "ten million operations for each lifetime"]
fn context() {
    for lifetime in [Lifetime::Short, Lifetime::Medium, Lifetime::Long] {
        let source = CountingSource::new(MmapSource::new());
        drop(in_rounds(ContextAllocator::new(&source, lifetime), 100, Profile::SMALL));
        source.assert_all_released();
    }
}

#[test]
#[ignore = "ten million operations"]
fn fixed_bit_set() {
    let source = CountingSource::new(MmapSource::new());
    let fixed = FixedBitSetAllocator::<_, U64, U4096>::new(&source);
    drop(in_rounds(fixed, 5, Profile::SMALL.refusals()));
    source.assert_all_released();
}

#[test]
#[ignore = "ten million operations"]
fn memory_maps() {
    let source = CountingSource::new(MmapSource::new());
    model::run(
        &MmapAllocator::new_in(&source),
        Profile { live: 100, ..Profile::SMALL.operations(OPERATIONS) },
    );
    source.assert_all_released();
}
