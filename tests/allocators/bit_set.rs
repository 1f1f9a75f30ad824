//! The bit-set allocators against the conformance suite, the model, refusing sources, and their own
//! documentation.

use std::mem::MaybeUninit;

use crate::support::CheckingSource;
use crate::support::conformance;
use crate::support::ledger::{Ledger, Way};
use crate::support::model::{self, Profile};
use crate::support::{fault, layout};
use context_allocator::alloc::{BlockCount, FixedBitSetAllocator, LocalAllocator, Owns, Reset};
use context_allocator::size::BlockSize;
use context_allocator::size::{U8, U16, U32, U64, U256, U4096, U16384, U65536, U262144};
use context_allocator::source::RegionSource;
use context_allocator::{Allocator, ArenaSource, BitSetAllocator, Locked, MemorySource, MmapSource};
use fastrand::Rng;

fn over_maps<B: BlockSize>() -> BitSetAllocator<MmapSource, B> {
    BitSetAllocator::new_in(MmapSource::new())
}

const fn sent<T: Send>() {}
const _: () = sent::<BitSetAllocator<ArenaSource<MmapSource>, U64>>();
const _: () = sent::<FixedBitSetAllocator<MmapSource, U64, U256>>();

fn conforms<B: BlockSize>() {
    conformance::allocator(over_maps::<B>);
    conformance::forwarded_allocator(over_maps::<B>);
    conformance::owns(over_maps::<B>);
    conformance::reset(over_maps::<B>);
    let (grown, shrunk) = conformance::resize_in_place(over_maps::<B>);
    assert!(grown > 1000 && shrunk > 1000, "runs grow and shrink in place: {grown} {shrunk}");
}

#[test]
fn blocks_of_8_bytes_conform() {
    conforms::<U8>();
}

#[test]
fn blocks_of_16_bytes_conform() {
    conformance::local_allocator::<BitSetAllocator<MmapSource, U16>>();
    conforms::<U16>();
}

#[test]
fn blocks_of_64_bytes_conform() {
    conformance::local_allocator::<BitSetAllocator<MmapSource, U64>>();
    conforms::<U64>();
}

#[test]
fn blocks_of_4096_bytes_conform() {
    conformance::local_allocator::<BitSetAllocator<MmapSource, U4096>>();
    conforms::<U4096>();
}

#[test]
fn it_conforms_over_an_arena() {
    let arena = ArenaSource::<_, U65536, U262144>::new_in(CheckingSource::new(MmapSource::new()));
    conformance::allocator(|| BitSetAllocator::new(&arena));
    conformance::owns(|| BitSetAllocator::<_, U32>::new_in(&arena));
    conformance::reset(|| BitSetAllocator::<_, U256>::new_in(&arena));
    let usage = arena.usage();
    assert!(usage.obtained > 0);
    assert_eq!(usage.obtained, usage.unused, "an allocator kept a block of the arena");
}

/// The name in the brief of the crate names a complete type.
#[test]
fn it_conforms_over_an_arena_of_its_own() {
    conformance::allocator(|| {
        BitSetAllocator::<ArenaSource<MmapSource>, U64>::new_in(ArenaSource::new(MmapSource::new()))
    });
}

/// Runs the model, and checks that the index agree with it and that every region comes back.
fn model_of<B: BlockSize>(profile: Profile) {
    let source = CheckingSource::new(MmapSource::new());
    let allocator = BitSetAllocator::<_, B>::new_in(&source);
    model::run(&allocator, profile);
    source.assert_sound();
    assert_eq!(allocator.free_blocks(), allocator.blocks(), "blocks were lost");
    assert_eq!(allocator.bytes_held(), source.counts().bytes);
    assert!(source.counts().held <= 2, "empty regions are kept: {:?}", source.counts());
    drop(allocator);
    source.assert_all_released();
}

#[test]
fn small_blocks_against_the_model() {
    model_of::<U64>(Profile::SMALL.operations(4_000_000));
    model_of::<U16>(Profile::SMALL.operations(2_000_000).seed(11));
}

#[test]
fn many_live_blocks_against_the_model() {
    model_of::<U8>(Profile { live: 20_000, largest: 96, ..Profile::SMALL.operations(2_000_000) });
}

#[test]
fn mixed_blocks_against_the_model() {
    model_of::<U64>(Profile::MIXED.operations(800_000));
    model_of::<U256>(Profile::MIXED.operations(200_000).seed(12));
    model_of::<U8>(Profile { live: 2000, largest: 2048, ..Profile::MIXED.operations(1_000_000) });
}

#[test]
fn large_blocks_against_the_model() {
    model_of::<U4096>(Profile::LARGE);
    model_of::<U64>(Profile { largest: 20 << 20, live: 6, ..Profile::LARGE.operations(300) });
}

/// Regions of one arena block each, so that there are hundreds of them.
#[test]
fn many_regions_against_the_model() {
    let arena = ArenaSource::<_, U4096, U65536>::new_in(MmapSource::new());
    let allocator = BitSetAllocator::<_, U16>::new_in(&arena);
    let profile = Profile { live: 3000, largest: 1024, most_align: 1024, ..Profile::SMALL };
    model::run(&allocator, profile.operations(300_000));
    assert_eq!(allocator.free_blocks(), allocator.blocks());
    assert!(allocator.bytes_held() <= 2 * 4096);
    drop(allocator);
    assert_eq!(arena.usage().unused, arena.usage().obtained);
}

#[test]
fn a_region_that_runs_out_against_the_model() {
    for (len, skew) in [(8_192, 0), (65_536, 8), (120_001, 3), (300_000, 40)] {
        let mut bytes = vec![MaybeUninit::uninit(); len + skew];
        let allocator = BitSetAllocator::<_, U16>::new_in(RegionSource::new(&mut bytes[skew..]));
        let profile = Profile { live: 1000, ..Profile::SMALL.operations(100_000).refusals() };
        let tally = model::run(&allocator, profile);
        assert!(tally.refused > 0 || len == 300_000, "{tally:?}");
        assert_eq!(allocator.free_blocks(), allocator.blocks());
        assert_eq!(allocator.longest_free_run(), allocator.blocks(), "runs were not joined");
    }
}

/// Fills what a source gives to the last block: how many there were, and what part of the bytes
/// held.
fn fill<S: MemorySource, B: BlockSize>(source: S, regions: usize) -> (usize, f64) {
    let allocator = BitSetAllocator::<S, B>::new_in(source);
    let mut ledger = Ledger::new(&allocator);
    let one = layout(B::BYTES, 8);
    ledger.allocate(one).expect("the first block");
    let first = allocator.bytes_held();
    while (allocator.free_blocks() > 0 || allocator.bytes_held() < regions * first)
        && ledger.allocate(one).is_ok()
    {}
    assert_eq!((allocator.free_blocks(), allocator.longest_free_run()), (0, 0));
    assert_eq!(ledger.len(), allocator.blocks(), "a block that it says to have was not to be had");
    let part = (ledger.len() * B::BYTES) as f64 / allocator.bytes_held() as f64;

    let addresses: Vec<usize> = ledger.iter().map(|held| held.address()).collect();
    let freed: Vec<usize> = addresses.iter().copied().filter(|address| address / B::BYTES % 2 == 0).collect();
    freed.iter().for_each(|&address| ledger.free(address));
    assert_eq!((allocator.free_blocks(), allocator.longest_free_run()), (freed.len(), 1));
    // No two neighbours are free, so a pair does not fit: the source is asked for more, or refuses.
    let held = allocator.bytes_held();
    assert!(ledger.allocate(layout(2 * B::BYTES, 8)).is_err() || allocator.bytes_held() > held);
    ledger.verify();
    ledger.free_all();
    assert_eq!(allocator.free_blocks(), allocator.blocks());
    (addresses.len(), part)
}

#[test]
fn a_region_is_filled_to_the_last_block() {
    let (blocks, part) = fill::<_, U64>(MmapSource::new(), 1);
    assert!(blocks > 4000 && part > 0.99, "{blocks} blocks are {part}");
    let (blocks, part) = fill::<_, U64>(MmapSource::new(), 85);
    assert!(blocks > 300_000 && part > 0.994, "{blocks} blocks are {part}");
    let arena = ArenaSource::new(MmapSource::new());
    let (_, part) = fill::<_, U64>(&arena, 5);
    assert!(part > 0.985, "{part}");
    let (_, part) = fill::<_, U8>(&arena, 5);
    assert!(part > 0.94, "{part}");
    let mut bytes = vec![MaybeUninit::uninit(); 65_536 + 8];
    let (_, part) = fill::<_, U64>(RegionSource::new(&mut bytes[8..]), 1);
    assert!(part > 0.98, "{part}");
}

/// What comes longer than a window is cut into several maps, none of it lost.
#[test]
fn a_region_of_several_windows_is_used_whole() {
    // Blocks of 8 bytes have windows of 2 MiB.
    let mut bytes = vec![MaybeUninit::uninit(); (5 << 20) + 24];
    let (blocks, part) = fill::<_, U8>(RegionSource::new(&mut bytes[8..]), 1);
    assert!(blocks * 8 > 5_000_000 && part > 0.96, "{blocks} blocks are {part}");
    let mut allocator = BitSetAllocator::<_, U8>::new_in(RegionSource::new(&mut bytes));
    for _ in 0..3 {
        let mut ledger = Ledger::new(&allocator);
        let sizes = [1 << 20, 900 << 10, 1 << 20, 3, 40_000, 800 << 10];
        for size in sizes {
            ledger.allocate(layout(size, 8)).expect("there are three maps");
        }
        ledger.verify();
        for held in ledger.iter() {
            assert!(allocator.owns(held.start()));
        }
        allocator.reset();
    }
}

/// A static range of odd length at an odd place.
#[test]
fn a_fixed_region_of_64_kib_serves_firmware() {
    let mut bytes = vec![MaybeUninit::uninit(); 65_536];
    for skew in [0, 1, 8, 63] {
        let allocator = BitSetAllocator::new(RegionSource::new(&mut bytes[skew..]));
        let mut ledger = Ledger::new(&allocator);
        ledger.allocate(layout(40_000, 8)).expect("more than half of the region");
        ledger.allocate(layout(100, 1024)).expect("an alignment of sixteen blocks");
        ledger.allocate(layout(1, 8192)).expect("an alignment beyond a word");
        assert!(ledger.allocate(layout(40_000, 8)).is_err());
        assert_eq!(allocator.bytes_held(), 65_536 - skew - (64 - (allocator.bytes_held() + skew) % 64) % 64);
        ledger.free_all();
        assert_eq!(allocator.longest_free_run(), allocator.blocks());
    }
}

#[test]
fn runs_fill_what_single_blocks_left() {
    let allocator = over_maps::<U64>();
    let mut ledger = Ledger::new(&allocator);
    let mut random = Rng::with_seed(5);
    let mut singles: Vec<usize> =
        (0..4000).map(|_| ledger.allocate(layout(64, 8)).expect("a block")).collect();
    random.shuffle(&mut singles);
    singles.drain(..2800).for_each(|address| ledger.free(address));
    let held = allocator.bytes_held();
    for len in (2..=40).rev() {
        while allocator.longest_free_run() >= len {
            let run = ledger.allocate(layout(64 * len, 8)).expect("there is such a run");
            assert_eq!(allocator.bytes_held(), held, "a run at {run:#x} came from elsewhere");
        }
    }
    assert!(allocator.longest_free_run() == 1);
    ledger.verify();
    ledger.free_all();
    assert_eq!(allocator.free_blocks(), allocator.blocks());
}

/// Single blocks take what short runs left, which wait to be wanted again, before a region more is
/// obtained; and each of them looks at one of those runs only, so that the others still wait.
#[test]
fn single_blocks_take_runs_that_wait() {
    let source = CheckingSource::new(MmapSource::new());
    let allocator = BitSetAllocator::<_>::new(&source);
    let mut ledger = Ledger::new(&allocator);
    let runs: Vec<_> =
        (2..=16).flat_map(|len| [len; 20]).map(|len| ledger.allocate(layout(64 * len, 8)).unwrap()).collect();
    while allocator.free_blocks() > 0 {
        ledger.allocate(layout(64, 8)).unwrap();
    }
    let regions = source.counts().obtained;
    let newest = runs.last().copied();
    runs.into_iter().for_each(|run| ledger.free(run));
    let free = allocator.free_blocks();
    assert_eq!(free, 20 * (2..=16).sum::<usize>());
    ledger.allocate(layout(64, 8)).unwrap();
    let longest = ledger.allocate(layout(64 * 16, 8)).unwrap();
    assert_eq!(Some(longest), newest);
    ledger.free(longest);
    (1..free).for_each(|_| _ = ledger.allocate(layout(64, 8)).unwrap());
    assert_eq!((allocator.free_blocks(), source.counts().obtained), (0, regions));
    ledger.allocate(layout(64, 8)).unwrap();
    assert_eq!(source.counts().obtained, regions + 1);
    ledger.free_all();
}

#[test]
fn runs_grow_over_free_neighbours_and_shrink_from_behind() {
    let allocator = over_maps::<U64>();
    let mut ledger = Ledger::in_place(&allocator);
    let first = ledger.allocate(layout(64 * 100, 8)).expect("a run");
    let single = ledger.allocate(layout(1, 1)).expect("a block");
    assert_ne!(first, single);
    ledger.resize_in_place(first, layout(64 * 30, 8), Way::Shrink).expect("it shrinks");
    let free = allocator.free_blocks();
    ledger.resize_in_place(first, layout(64 * 100, 8), Way::Grow).expect("it grows again");
    assert_eq!(allocator.free_blocks(), free - 70);
    let next = ledger.allocate(layout(64 * 3, 8)).expect("a run");
    assert!(ledger.resize_in_place(first, layout(64 * 4000, 8), Way::Grow).is_err());
    ledger.free(next);
    ledger.free_all();
    assert_eq!(allocator.longest_free_run(), allocator.blocks());
}

/// One region stays beside the one in use, whatever comes and goes.
#[test]
fn empty_regions_go_back_and_one_is_kept() {
    let source = CheckingSource::new(MmapSource::new());
    let allocator = BitSetAllocator::new(&source);
    let mut ledger = Ledger::new(&allocator);
    for round in 0..3 {
        let blocks: Vec<usize> =
            (0..100_000).map(|_| ledger.allocate(layout(64, 8)).expect("a block")).collect();
        assert!(source.counts().held >= if round == 0 { 3 } else { 2 });
        blocks.into_iter().for_each(|address| ledger.free(address));
        assert!(source.counts().held <= 2, "{:?}", source.counts());
    }
    let obtained = source.counts().obtained;
    for _ in 0..100 {
        let runs: Vec<usize> =
            (0..3).map(|_| ledger.allocate(layout(64 * 1000, 8)).expect("a run")).collect();
        runs.into_iter().for_each(|address| ledger.free(address));
    }
    assert!(source.counts().obtained <= obtained + 1, "a region comes and goes: {:?}", source.counts());
}

/// A region is obtained only if none that is held has the run, however many have not.
#[test]
fn regions_without_the_run_do_not_stand_in_the_way() {
    for runs in [2, 5, 17, 40, 100] {
        let arena = ArenaSource::new(MmapSource::new());
        let source = CheckingSource::new(&arena);
        let allocator = BitSetAllocator::new(&source);
        let mut ledger = Ledger::new(&allocator);
        while source.counts().held < 20 {
            ledger.allocate(layout(64, 8)).expect("maps");
        }
        let addresses: Vec<usize> = ledger.iter().map(|held| held.address()).collect();
        addresses.iter().step_by(2).for_each(|&address| ledger.free(address));
        // A thousand runs, and as many regions as they fill.
        let fit = 1000 / runs;
        for _ in 0..1000 {
            ledger.allocate(layout(64 * runs, 8)).expect("maps");
        }
        let (held, needed) = (source.counts().held - 20, 1000_usize.div_ceil(fit));
        assert!(held <= needed + 1, "{held} regions for 1,000 runs of {runs} blocks");
        ledger.verify();
        ledger.free_all();
    }
}

/// Where an alignment moves a run away from the index, the run may not fit a region of usual size;
/// then it gets its own.
#[test]
fn runs_as_long_as_a_region_are_served_at_every_alignment() {
    const WINDOW: usize = 16 << 20;
    let source = CheckingSource::new(MmapSource::new());
    let allocator = BitSetAllocator::new(&source);
    let mut ledger = Ledger::new(&allocator);
    for power in 3..=25 {
        for less in [0, 1, 60, 70, 71, 72, 73, 100, 128, 129, 1000, 1024].map(|less| less << 10) {
            let request = layout(WINDOW - less, 1 << power);
            let address = ledger.allocate(request).unwrap_or_else(|error| panic!("{request:?}: {error}"));
            ledger.free(address);
        }
    }
    drop(ledger);
    drop(allocator);
    source.assert_all_released();
}

#[test]
fn large_blocks_have_regions_of_their_own() {
    let source = CheckingSource::new(MmapSource::new());
    let allocator = BitSetAllocator::<_, U8>::new_in(&source);
    let mut ledger = Ledger::in_place(&allocator);
    for (size, align) in [(3 << 20, 8), (2 << 20, 4096), (1, 4 << 20), (5 << 20, 8 << 20)] {
        let before = source.counts().held;
        let address = ledger.allocate(layout(size, align)).expect("the source has this");
        assert_eq!(source.counts().held, before + 1);
        assert!(allocator.owns(ledger.get(address).start()));
        assert_eq!(allocator.bytes_held(), source.counts().bytes);
        ledger
            .resize_in_place(address, layout(ledger.get(address).len(), align), Way::Grow)
            .expect("its region");
        assert!(ledger.resize_in_place(address, layout(1, 8), Way::Shrink).is_err() || align > 1 << 20);
        ledger.resize(address, layout(1, 8), Way::Shrink).expect("it moves");
        assert_eq!(source.counts().held, 1);
    }
    ledger.free_all();
}

#[test]
fn every_refusal_is_survived() {
    let requests = fault::every_request(|source| {
        let allocator = BitSetAllocator::new(source.clone());
        fault::work(&allocator, 1 << 20);
        assert_eq!(allocator.free_blocks(), allocator.blocks());
    });
    assert!(requests >= 3);
    let requests = fault::every_request(|source| {
        let arena = ArenaSource::<_, U4096, U16384>::new_in(source.clone());
        let allocator = BitSetAllocator::<_, U16>::new_in(&arena);
        fault::work(&allocator, 2048);
        drop(allocator);
        assert_eq!(arena.usage().unused, arena.usage().obtained);
    });
    assert!(requests >= 3);
}

/// A region is obtained for the first allocation, and a smaller one where the preferred length is
/// refused.
#[test]
fn a_refused_region_is_asked_for_again_smaller() {
    let arena = ArenaSource::<_, U65536, U65536>::new_in(MmapSource::new());
    let allocator = BitSetAllocator::new(&arena);
    assert_eq!(allocator.bytes_held(), 0);
    let mut ledger = Ledger::new(&allocator);
    ledger.allocate(layout(60_000, 8)).expect("what a block of the arena holds");
    assert!(ledger.allocate(layout(65_536, 8)).is_err());
    assert_eq!(BitSetAllocator::<&ArenaSource<MmapSource>, U64>::LARGEST, 32_768);
    ledger.free_all();
}

fn fixed<B: BlockSize, N: BlockCount>() -> FixedBitSetAllocator<MmapSource, B, N> {
    FixedBitSetAllocator::new(MmapSource::new())
}

#[test]
fn fixed_conforms() {
    conformance::allocator(fixed::<U4096, U4096>);
    conformance::forwarded_allocator(fixed::<U4096, U4096>);
    conformance::owns(fixed::<U64, U4096>);
    conformance::reset(fixed::<U64, U4096>);
    let (grown, shrunk) = conformance::resize_in_place(fixed::<U64, U4096>);
    assert!(grown > 1000 && shrunk > 1000, "runs grow and shrink in place: {grown} {shrunk}");
}

fn fixed_model_of<B: BlockSize, N: BlockCount>(profile: Profile) {
    let source = CheckingSource::new(MmapSource::new());
    let mut allocator = FixedBitSetAllocator::<_, B, N>::new(&source);
    assert_eq!((source.counts().obtained, allocator.free_blocks()), (0, N::COUNT));
    let tally = model::run(&allocator, profile.refusals());
    assert!(tally.refused > 0, "{tally:?}");
    assert_eq!((allocator.free_blocks(), allocator.longest_free_run()), (N::COUNT, N::COUNT));
    assert_eq!(source.counts().obtained, 1);
    Ledger::new(&allocator).allocate(layout(B::BYTES, 1)).expect("a block");
    assert_eq!(allocator.free_blocks(), N::COUNT - 1);
    allocator.reset();
    assert_eq!(allocator.longest_free_run(), N::COUNT);
    drop(allocator);
    source.assert_all_released();
}

#[test]
fn fixed_against_the_model() {
    let small = Profile { live: 400, ..Profile::SMALL.operations(300_000) };
    fixed_model_of::<U64, typenum::U1000>(small);
    fixed_model_of::<U8, U4096>(Profile { live: 600, ..small });
    fixed_model_of::<U16, typenum::U1>(small.operations(50_000));
    fixed_model_of::<U16, typenum::U65>(small.operations(50_000));
    fixed_model_of::<U256, U4096>(Profile { live: 100, ..Profile::MIXED.operations(100_000) });
}

/// Every byte of the region is a block's, and bits behind the last block are none's.
#[test]
fn fixed_is_filled_to_the_last_block() {
    let mut bytes = vec![MaybeUninit::uninit(); 999 * 64 + 63];
    let allocator = FixedBitSetAllocator::<_, U64, typenum::U999>::new(RegionSource::new(&mut bytes));
    let mut ledger = Ledger::new(&allocator);
    let blocks: Vec<usize> = std::iter::from_fn(|| ledger.allocate(layout(64, 64)).ok()).collect();
    assert_eq!(blocks.len(), 999);
    assert_eq!((allocator.free_blocks(), allocator.longest_free_run()), (0, 0));
    blocks.iter().step_by(2).for_each(|&address| ledger.free(address));
    assert_eq!((allocator.free_blocks(), allocator.longest_free_run()), (500, 1));
    assert!(ledger.allocate(layout(65, 1)).is_err());
    assert!(ledger.allocate(layout(64 * 1000, 1)).is_err());
    ledger.verify();
    ledger.free_all();
    assert_eq!(allocator.longest_free_run(), 999);
    ledger.allocate(layout(64 * 999, 1)).expect("all of it");
    ledger.free_all();
}

#[test]
fn fixed_survives_every_refusal() {
    let requests = fault::every_request(|source| {
        let allocator = FixedBitSetAllocator::<_, U64, U4096>::new(source.clone());
        fault::work(&allocator, 4096);
    });
    assert_eq!(requests, 1, "there is one region");
}

/// It stands in a static, for many threads.
#[test]
fn fixed_in_a_static() {
    static SHARED: Locked<FixedBitSetAllocator<MmapSource, U64, U4096>> =
        Locked::new(FixedBitSetAllocator::new(MmapSource::new()));
    std::thread::scope(|scope| {
        for seed in 0..4 {
            scope.spawn(move || {
                let profile = Profile { live: 100, ..Profile::SMALL.operations(50_000).seed(seed) };
                model::run(&SHARED, profile.refusals())
            });
        }
    });
    assert!(SHARED.allocate(layout(4096 * 64, 8)).is_ok(), "blocks were lost");
}

/// The region that is emptied is the spare one, was used again, and the one at hand has nothing
/// live either: both go or stay, once each.
#[test]
fn the_spare_region_and_the_one_at_hand_are_empty_at_once() {
    let source = CheckingSource::new(MmapSource::new());
    let allocator = BitSetAllocator::new(&source);
    let mut ledger = Ledger::new(&allocator);
    let window = |address: usize| address & !((16 << 20) - 1);
    let mut first = vec![ledger.allocate(layout(64, 8)).expect("a block")];
    let big = ledger.allocate(layout(400 << 10, 8)).expect("a run");
    ledger.free(big);
    let mut second = Vec::new();
    while second.len() < 5000 {
        let block = ledger.allocate(layout(64, 8)).expect("a block");
        if window(block) == window(big) { second.push(block) } else { first.push(block) }
    }
    first.into_iter().for_each(|block| ledger.free(block));
    let run = ledger.allocate(layout(2000 * 64, 8)).expect("a run");
    second.into_iter().for_each(|block| ledger.free(block));
    ledger.free(run);
    drop(ledger);
    drop(allocator);
    source.assert_all_released();
}

/// Regions are filled, drained and kept in every order, by single blocks and by runs as long as
/// they are.
#[test]
fn regions_come_to_an_end_in_every_order() {
    for seed in 0..30 {
        let mut random = fastrand::Rng::with_seed(seed);
        let source = CheckingSource::new(MmapSource::new());
        let arena = ArenaSource::new(&source);
        let checked = CheckingSource::new(&arena);
        let (over_maps, over_blocks);
        let (mut ledger, longest): (Ledger<'_>, usize) = if seed % 2 == 0 {
            over_maps = BitSetAllocator::new(&source);
            (Ledger::new(&over_maps), 700 << 10)
        } else {
            over_blocks = BitSetAllocator::new(&checked);
            (Ledger::new(&over_blocks), 60 << 10)
        };
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for _ in 0..120 {
            match random.u8(..4) {
                0 if !groups.is_empty() => {
                    let mut group = groups.swap_remove(random.usize(..groups.len()));
                    if random.bool() {
                        group.reverse();
                    }
                    group.into_iter().for_each(|block| ledger.free(block));
                }
                1 => {
                    let size = random.usize(1..longest);
                    groups.push(vec![ledger.allocate(layout(size, 8)).expect("a run")]);
                }
                _ => {
                    let (count, size) = (random.usize(1..1500), 64 * random.usize(1..5));
                    let blocks = (0..count).map(|_| ledger.allocate(layout(size, 8)).expect("blocks"));
                    groups.push(blocks.collect());
                }
            }
        }
        groups.into_iter().flatten().for_each(|block| ledger.free(block));
    }
}
