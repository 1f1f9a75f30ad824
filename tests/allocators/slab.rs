//! The slab allocator by itself: conformance, model, faults, and that memory goes back.

use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::thread;

use crate::support::CheckingSource;
use crate::support::ledger::{Held, Ledger, Taking};
use crate::support::model::{self, Profile};
use crate::support::{conformance, fault, layout};
use context_allocator::alloc::{LocalAllocator, Reset};
use context_allocator::size::{U4096, U65536, U262144, U4194304};
use context_allocator::source::RegionSource;
use context_allocator::{Allocator, ArenaSource, Locked, MmapSource, SlabAllocator};

type Slabs<S = MmapSource> = SlabAllocator<S>;
type Counting = CheckingSource<MmapSource>;

fn slabs() -> Slabs {
    SlabAllocator::new(MmapSource::new())
}

#[test]
fn conforms() {
    conformance::local_allocator::<Slabs>();
    conformance::forwarded_allocator(slabs);
    conformance::owns(slabs);
    conformance::reset(slabs);
    let (grown, shrunk) = conformance::resize_in_place(slabs);
    assert!(grown > 1000 && shrunk > 1000, "blocks stay in their class: {grown} {shrunk}");
}

#[test]
fn conforms_in_slabs_of_other_sizes() {
    conformance::allocator(|| SlabAllocator::<_, U262144>::new_in(MmapSource::new()));
    let arena = ArenaSource::<_, U262144, U262144>::new_in(CheckingSource::new(MmapSource::new()));
    conformance::allocator(|| SlabAllocator::<_, U262144>::new_in(&arena));
    conformance::allocator(|| Slabs::new(&arena));
    let usage = arena.usage();
    assert_eq!(usage.obtained, usage.unused, "an allocator kept a block of the arena");
}

/// Sizes that are no multiple of a power of two, and alignments larger than sizes.
#[test]
fn aligned_blocks_are_aligned() {
    let allocator = slabs();
    let mut ledger = Ledger::new(&allocator);
    for align in (0..=15).map(|power| 1 << power) {
        for size in [1, 24, 100, 1000, 1025, 5000, 16 * 1024 + 1, 32 * 1024] {
            for _ in 0..3 {
                ledger.allocate(layout(size, align)).expect("the size and the alignment are served");
            }
        }
    }
    ledger.verify();
    ledger.free_all();
    assert_eq!(allocator.live_blocks(), 0);
}

fn model_of<B: context_allocator::size::BlockSize>(profile: Profile) {
    let source = CheckingSource::new(MmapSource::new());
    let mut allocator = SlabAllocator::<_, B>::new_in(&source);
    for seed in 1..=2 {
        model::run(&allocator, profile.seed(seed));
        assert_eq!(allocator.live_blocks(), 0);
        source.assert_sound();
        let held = source.counts().held;
        assert!(held <= 5, "{held} slabs are kept: four and a long one");
        allocator.reset();
        assert!(source.counts().held <= 1, "reset keeps {:?}", source.counts());
    }
    drop(allocator);
    source.assert_all_released();
}

#[test]
fn against_the_model() {
    model_of::<U65536>(Profile::SMALL);
    model_of::<U65536>(Profile::MIXED.operations(200_000));
    model_of::<U4096>(Profile { largest: 2048, ..Profile::SMALL });
    model_of::<U262144>(Profile::SMALL.operations(200_000));
}

#[test]
fn regions_that_hold_several_slabs() {
    let arena = ArenaSource::<_, U4194304, U4194304>::new_in(CheckingSource::new(MmapSource::new()));
    let mut allocator = Slabs::new(&arena);
    for seed in 1..=3 {
        model::run(&allocator, Profile::SMALL.operations(200_000).seed(seed));
        allocator.reset();
    }
    drop(allocator);
    assert_eq!(arena.usage().unused, arena.usage().obtained);
    // One region that is all there is, at an odd address.
    let mut bytes = vec![MaybeUninit::uninit(); 1_200_001];
    let allocator = SlabAllocator::<_, U4096>::new_in(RegionSource::new(&mut bytes[1..]));
    let profile = Profile { live: 1000, largest: 2048, ..Profile::SMALL.operations(200_000) };
    let tally = model::run(&allocator, profile.refusals());
    assert!(tally.refused > 0, "{tally:?}");
}

#[test]
fn every_refusal_is_survived() {
    let requests = fault::every_request(|source| {
        let allocator = Locked::new(Slabs::new(source.clone()));
        fault::work(&allocator, 32 * 1024);
    });
    assert!(requests >= 3);
}

/// What one class has at hand serves another one when the source refuses.
#[test]
fn a_source_that_refuses_makes_classes_share() {
    let source = CheckingSource::new(MmapSource::new());
    let limited = context_allocator::source::LimitSource::new(&source, 4 * 65536);
    let allocator = Slabs::new(&limited);
    let mut ledger = Ledger::new(&allocator);
    for size in (16..=1024).step_by(16) {
        let address = ledger.allocate(layout(size, 8)).expect("there is room, once others have given back");
        ledger.free(address);
    }
}

/// Frees in random order what takes many slabs: all but a few go back, whatever was freed last.
#[test]
fn slabs_go_back_when_their_blocks_are_freed() {
    let source = Counting::new(MmapSource::new());
    let allocator = Slabs::new(&source);
    let mut ledger = Ledger::new(&allocator);
    let mut random = 1_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    for _ in 0..100_000 {
        ledger.allocate(layout(16 + (next() % 700) as usize, 8)).expect("memory");
    }
    let (most, requests) = (source.counts().bytes, source.counts().obtained);
    let mut held: Vec<Held> = ledger.take_all();
    for index in (1..held.len()).rev() {
        held.swap(index, (next() % (index as u64 + 1)) as usize);
    }
    let ledger = Ledger::new(&allocator);
    for block in held {
        ledger.free_as(&block, block.layout().size());
    }
    assert_eq!(source.counts().obtained, requests, "a free asks for no memory");
    // Each class may have a slab whose blocks it has at hand: no more than those, and what is kept.
    let rest = source.counts().bytes;
    assert!(rest < most / 4, "{rest} of {most} bytes are held, and no block is allocated");
    assert_eq!(allocator.live_blocks(), 0);
    let rest = source.counts().held;
    assert!(rest <= 5, "{rest} slabs are kept");
}

/// A pair at the edge of a slab does not take and give a slab each time.
#[test]
fn pairs_at_an_edge_do_not_reach_the_source() {
    let source = Counting::new(MmapSource::new());
    let allocator = Slabs::new(&source);
    for size in [16, 100, 1024, 4000, 30_000] {
        let layout = layout(size, 8);
        for live in [0, 1, 60, 63, 64, 65, 1000] {
            let held: Vec<_> = (0..live).map(|_| allocator.allocate(layout).expect("memory")).collect();
            let requests = source.counts().obtained;
            for _ in 0..5000 {
                let block = allocator.allocate(layout).expect("memory");
                // SAFETY: Just allocated with this layout, and not used again.
                unsafe { allocator.deallocate(block.cast(), layout) };
            }
            let more = source.counts().obtained - requests;
            assert!(more <= 1, "{more} requests for pairs of {size} bytes with {live} live");
            for block in held {
                // SAFETY: Allocated with this layout, and not used again.
                unsafe { allocator.deallocate(block.cast(), layout) };
            }
        }
    }
}

#[test]
fn no_two_blocks_overlap_however_they_come_back() {
    let allocator = slabs();
    let mut live: BTreeMap<usize, (NonNull<u8>, usize)> = BTreeMap::new();
    let mut random = 88_172_645_463_325_252_u64;
    let mut freed = 0;
    for _ in 0..200_000 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let number = (random >> 33) as usize;
        if number % 16 < 9 {
            let size = 1 + number / 16 % 3000;
            let block: NonNull<u8> = allocator.allocate(layout(size, 8)).expect("memory").cast();
            let start = block.addr().get();
            let below = live.range(..start + size).next_back();
            assert!(below.is_none_or(|(&other, &(_, len))| other + len <= start), "two blocks overlap");
            live.insert(start, (block, size));
        } else if let Some((&start, _)) = live.range(number << 12..).next().or_else(|| live.iter().next()) {
            let (block, size) = live.remove(&start).expect("it was just found");
            // SAFETY: Allocated with this layout, and not used again.
            unsafe { allocator.deallocate(block, layout(size, 8)) };
            freed += 1;
        }
    }
    assert!(freed > 50_000);
    assert_eq!(allocator.live_blocks(), live.len());
}

#[test]
fn behind_a_lock_on_four_threads() {
    let source = Counting::new(MmapSource::new());
    let allocator = Locked::new(Slabs::new(&source));
    thread::scope(|scope| {
        for seed in 0..4 {
            let allocator = &allocator;
            scope.spawn(move || model::run(allocator, Profile::SMALL.operations(200_000).seed(seed)));
        }
    });
    drop(allocator);
    source.assert_all_released();
}

#[test]
fn what_it_serves_is_what_the_documentation_says() {
    assert_eq!(<Slabs as LocalAllocator>::LARGEST, 32 * 1024);
    assert_eq!(<SlabAllocator<MmapSource, U4096> as LocalAllocator>::LARGEST, 2048);
    assert_eq!(<Slabs<ArenaSource<MmapSource, U65536>> as LocalAllocator>::LARGEST, 8192);
    assert!(slabs().allocate(layout(32 * 1024 + 1, 8)).is_err());
}
