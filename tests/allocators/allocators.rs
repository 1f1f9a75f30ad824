//! Every allocator against the conformance suite, the model and a source that refuses.

use std::hint::black_box;
use std::mem::MaybeUninit;
use std::thread;

use crate::support::CheckingSource;
use crate::support::conformance;
use crate::support::ledger::{Held, Ledger, Taking, Way};
use crate::support::model::{self, Profile};
use crate::support::{fault, layout};
use context_allocator::alloc::{LocalAllocator, Reset, SizeClassAllocator};
use context_allocator::size::{U65536, U262144};
use context_allocator::source::RegionSource;
use context_allocator::{Allocator, ArenaSource, BumpAllocator, Locked, MmapSource};

type Shared<A> = Locked<A>;

fn bump() -> BumpAllocator<MmapSource> {
    BumpAllocator::new(MmapSource::new())
}

fn size_class() -> SizeClassAllocator<MmapSource> {
    SizeClassAllocator::new(MmapSource::new())
}

fn shared<A: LocalAllocator<Source = MmapSource>>() -> Shared<A> {
    Locked::new(A::new_in(MmapSource::new()))
}

#[test]
fn bump_conforms() {
    conformance::local_allocator::<BumpAllocator<MmapSource>>();
    conformance::forwarded_allocator(bump);
    conformance::owns(bump);
    conformance::reset(bump);
    let (grown, shrunk) = conformance::resize_in_place(bump);
    assert!(grown > 1000 && shrunk > 1000, "the last block grows and shrinks in place: {grown} {shrunk}");
}

#[test]
fn size_class_conforms() {
    conformance::local_allocator::<SizeClassAllocator<MmapSource>>();
    conformance::forwarded_allocator(size_class);
    conformance::owns(size_class);
    conformance::reset(size_class);
    let (grown, shrunk) = conformance::resize_in_place(size_class);
    assert!(grown > 1000 && shrunk > 1000, "blocks stay in their class: {grown} {shrunk}");
}

#[test]
fn locked_conforms() {
    conformance::allocator(shared::<BumpAllocator<_>>);
    conformance::forwarded_allocator(shared::<SizeClassAllocator<_>>);
    conformance::owns(shared::<SizeClassAllocator<_>>);
    conformance::reset(shared::<SizeClassAllocator<_>>);
}

/// Every class fits a region of 64 KiB, the largest at its own alignment too: the default arena
/// serves a tier.
#[test]
fn size_class_serves_its_largest_from_blocks_of_64_kib() {
    let arena: ArenaSource<_> = ArenaSource::new(MmapSource::new());
    let allocator = SizeClassAllocator::new(&arena);
    let largest = SizeClassAllocator::<MmapSource>::LARGEST;
    let mut ledger = Ledger::new(&allocator);
    for align in (0..=15).map(|power| 1 << power) {
        for size in [1, 1000, largest / 2 + 1, largest] {
            ledger.allocate(layout(size, align)).expect("the size and the alignment are served");
        }
    }
    ledger.free_all();
}

#[test]
fn allocators_conform_over_an_arena() {
    let arena = ArenaSource::<_, U65536, U262144>::new_in(CheckingSource::new(MmapSource::new()));
    conformance::allocator(|| SizeClassAllocator::new(&arena));
    conformance::owns(|| BumpAllocator::new(&arena));
    conformance::reset(|| BumpAllocator::new(&arena));
    let usage = arena.usage();
    assert!(usage.obtained > 0);
    assert_eq!(usage.obtained, usage.unused, "an allocator kept a block of the arena");
}

/// Runs the model in rounds, with `reset` between them so that memory which is not reused stays
/// bounded, and checks that every region comes back.
fn model_of<A: LocalAllocator + Reset>(profile: Profile, rounds: usize)
where
    for<'a> A::WithSource<&'a CheckingSource<MmapSource>>: Reset,
{
    let source = CheckingSource::new(MmapSource::new());
    let mut allocator = A::WithSource::<&CheckingSource<MmapSource>>::new_in(&source);
    for round in 0..rounds {
        let part = profile.operations(profile.operations / rounds).seed(profile.seed + round as u64);
        model::run(&allocator, part);
        source.assert_sound();
        allocator.reset();
        assert!(source.counts().held <= 1, "reset keeps {:?}", source.counts());
    }
    drop(allocator);
    source.assert_all_released();
}

#[test]
fn bump_against_the_model() {
    model_of::<BumpAllocator<MmapSource>>(Profile::SMALL, 20);
    model_of::<BumpAllocator<MmapSource>>(Profile::MIXED.operations(100_000), 20);
    model_of::<BumpAllocator<MmapSource>>(Profile::LARGE, 20);
}

#[test]
fn size_class_against_the_model() {
    model_of::<SizeClassAllocator<MmapSource>>(Profile::SMALL, 2);
    model_of::<SizeClassAllocator<MmapSource>>(Profile::MIXED.operations(400_000), 2);
}

#[test]
fn locked_against_the_model() {
    let source = CheckingSource::new(MmapSource::new());
    let allocator: Shared<_> = Locked::new(SizeClassAllocator::new(&source));
    model::run(&allocator, Profile::SMALL);
    drop(allocator);
    source.assert_all_released();
}

#[test]
fn locked_against_the_model_on_four_threads() {
    let source = CheckingSource::new(MmapSource::new());
    let allocator: Shared<_> = Locked::new(SizeClassAllocator::new(&source));
    thread::scope(|scope| {
        for seed in 0..4 {
            let allocator = &allocator;
            scope.spawn(move || model::run(allocator, Profile::SMALL.operations(250_000).seed(seed)));
        }
    });
    drop(allocator);
    source.assert_all_released();
}

fn resize(ledger: &mut Ledger<'_>, address: usize, size: usize, way: Way) {
    ledger.resize(address, layout(size, 8), way).expect("the allocator serves this");
}

/// Each thread frees and resizes what another allocated.
#[test]
fn locked_blocks_pass_between_threads() {
    let allocator = shared::<SizeClassAllocator<_>>();
    let mut hands: Vec<Vec<Held>> = (0..4).map(|_| Vec::new()).collect();
    for round in 0..20 {
        hands.rotate_left(1);
        hands = thread::scope(|scope| {
            let work = hands.into_iter().map(|hand| {
                let allocator = &allocator;
                scope.spawn(move || {
                    let mut ledger = Ledger::new(allocator);
                    hand.into_iter().for_each(|held| ledger.put(held));
                    let addresses: Vec<usize> = ledger.iter().map(Held::address).collect();
                    for (number, address) in addresses.into_iter().enumerate() {
                        let old = ledger.get(address).layout();
                        match (number + round) % 3 {
                            0 => ledger.free(address),
                            1 => resize(&mut ledger, address, old.size() + 40, Way::Grow),
                            _ => resize(&mut ledger, address, 1, Way::Shrink),
                        }
                    }
                    for size in 1..200 {
                        ledger.allocate(layout(size, 8)).expect("the allocator serves this");
                    }
                    ledger.take_all()
                })
            });
            let running: Vec<_> = work.collect();
            running.into_iter().map(|thread| thread.join().expect("no check failed")).collect()
        });
    }
    let mut ledger = Ledger::new(&allocator);
    hands.into_iter().flatten().for_each(|held| ledger.put(held));
    assert!(ledger.len() > 1000);
    ledger.free_all();
}

#[test]
fn allocators_that_run_out_still_pass_the_model() {
    for (len, skew) in [(0, 0), (8, 1), (100, 3), (4096, 5), (200_000, 7)] {
        let mut bytes = vec![MaybeUninit::uninit(); len + skew];
        let bump = BumpAllocator::new(RegionSource::new(&mut bytes[skew..]));
        let mut ledger = Ledger::new(&bump);
        let served = (0..20_000).map_while(|_| ledger.allocate(layout(24, 8)).ok()).count();
        assert!(
            served * 24 <= len && (len < 4096 || served * 24 > len / 2),
            "{served} blocks in {len} bytes"
        );
        ledger.verify();
    }
    let mut bytes = vec![MaybeUninit::uninit(); 120_001];
    let size_class = SizeClassAllocator::new(RegionSource::new(&mut bytes[1..]));
    let tally =
        model::run(&size_class, Profile { live: 1000, ..Profile::SMALL.operations(200_000).refusals() });
    assert!(tally.refused > 0, "{tally:?}");
}

/// The most memory that blocks of one size take, beyond what they are asked for.
#[test]
fn waste_is_what_the_documentation_says() {
    let allocator = size_class();
    for size in 1..=32 * 1024 {
        let block = black_box(allocator.allocate(layout(size, 8))).expect("the allocator serves every size");
        let waste = block.len() - size;
        assert!(if size <= 1024 { waste <= 15 } else { waste * 5 <= block.len() }, "{waste} of {size}");
    }
}

#[test]
fn every_refusal_is_survived_behind_a_lock_and_an_arena() {
    let direct = fault::every_request(|source| {
        let allocator: Shared<_> = Locked::new(SizeClassAllocator::new(source.clone()));
        fault::work(&allocator, 32 * 1024);
    });
    assert!(direct >= 3);
    let through_an_arena = fault::every_request(|source| {
        let arena = ArenaSource::<_, U65536, U262144>::new_in(source.clone());
        let allocator = BumpAllocator::new(&arena);
        fault::work(&allocator, 32 * 1024);
        drop(allocator);
        assert_eq!(arena.usage().unused, arena.usage().obtained);
    });
    assert!(through_an_arena >= 3);
}
