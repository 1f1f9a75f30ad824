//! The tree allocator against the conformance suites, the model, sources that refuse, and its own
//! promises.

use std::mem::MaybeUninit;
use std::ptr::NonNull;

use crate::support::CheckingSource;
use crate::support::conformance;
use crate::support::ledger::{Ledger, Way};
use crate::support::model::{self, Profile};
use crate::support::{fault, layout};
use context_allocator::alloc::{KeepApart, LocalAllocator, MergeAdjacent, Reset};
use context_allocator::size::{U4096, U65536, U262144, U1048576};
use context_allocator::source::RegionSource;
use context_allocator::{
    Allocator, ArenaSource, Locked, MemorySource, MmapSource, MultipleBinarySearchTreeAllocator,
    NonZeroLayout,
};
use fastrand::Rng;
use typenum::{U1, U32};

type Tree<S = MmapSource> = MultipleBinarySearchTreeAllocator<S>;
type Merged<S = MmapSource> = MultipleBinarySearchTreeAllocator<S, U32, MergeAdjacent>;

const _: () = {
    const fn sent<T: Send>() {}
    sent::<Tree>();
    sent::<Merged>();
};

fn tree() -> Tree {
    Tree::new(MmapSource::new())
}

fn merged() -> Merged {
    Merged::new_in(MmapSource::new())
}

#[test]
fn it_conforms() {
    conformance::local_allocator::<Tree>();
    conformance::local_allocator::<MultipleBinarySearchTreeAllocator<MmapSource, U1>>();
    conformance::forwarded_allocator(tree);
    conformance::owns(tree);
    conformance::reset(tree);
    let (grown, shrunk) = conformance::resize_in_place(tree);
    assert!(grown > 1000 && shrunk > 5000, "blocks grow into what is free behind them: {grown} {shrunk}");
}

#[test]
fn it_conforms_with_merging() {
    conformance::allocator(merged);
    conformance::forwarded_allocator(merged);
    conformance::owns(merged);
    conformance::reset(merged);
    conformance::resize_in_place(merged);
}

#[test]
fn it_conforms_over_an_arena() {
    let arena = ArenaSource::<_, U65536, U262144>::new_in(CheckingSource::new(MmapSource::new()));
    conformance::allocator(|| Tree::new(&arena));
    conformance::owns(|| Tree::new(&arena));
    conformance::reset(|| Tree::new(&arena));
    let usage = arena.usage();
    assert!(usage.obtained > 0);
    assert_eq!(usage.obtained, usage.unused, "the allocator kept a block of the arena");
}

#[test]
fn it_conforms_in_a_fixed_region() {
    let mut bytes = vec![MaybeUninit::uninit(); 9 << 20];
    let source = RegionSource::new(&mut bytes[1..]);
    conformance::allocator(|| Tree::new(&source));
    conformance::reset(|| Tree::new(&source));
    conformance::resize_in_place(|| Tree::new(&source));
    let mut allocator = Tree::new(&source);
    for seed in 0..3 {
        model::run(&allocator, Profile::MIXED.operations(100_000).seed(seed));
        assert_eq!(allocator.free_bytes(), allocator.largest_free_block(), "all is one block again");
        allocator.reset();
    }
}

/// Runs the model and checks that every region comes back.
fn model_over<S: MemorySource, M>(source: S, profile: Profile)
where
    M: for<'a> context_allocator::alloc::Merging<&'a CheckingSource<S>>,
{
    let source = CheckingSource::new(source);
    let mut allocator = MultipleBinarySearchTreeAllocator::<&CheckingSource<S>, U32, M>::new_in(&source);
    for round in 0..2 {
        model::run(&allocator, profile.operations(profile.operations / 2).seed(profile.seed + round));
        source.assert_sound();
        // Of the regions that were needed, one is left, without a `reset`.
        assert!(source.counts().held <= 1, "{:?}", source.counts());
        assert_eq!(allocator.free_bytes(), allocator.largest_free_block());
        allocator.reset();
    }
    drop(allocator);
    source.assert_all_released();
}

#[test]
fn against_the_model_small() {
    model_over::<_, KeepApart>(MmapSource::new(), Profile::SMALL.operations(4_000_000));
}

#[test]
fn against_the_model_mixed() {
    model_over::<_, KeepApart>(MmapSource::new(), Profile::MIXED.operations(2_000_000));
}

#[test]
fn against_the_model_large() {
    model_over::<_, KeepApart>(MmapSource::new(), Profile::LARGE);
}

#[test]
fn against_the_model_in_other_shapes() {
    let profile = Profile::SMALL.operations(1_000_000);
    let arena = ArenaSource::<_, U4096, U1048576>::new_in(MmapSource::new());
    model::run(&Tree::new(&arena), Profile { largest: 1024, ..profile });
    let one = MultipleBinarySearchTreeAllocator::<_, U1>::new_in(MmapSource::new());
    model::run(&one, profile);
    model::run(&merged(), profile);
    model::run(&merged(), Profile::MIXED);
    let shared: Locked<Tree> = Locked::new(tree());
    model::run(&shared, Profile::SMALL.operations(500_000));
}

#[test]
fn a_region_that_runs_out_is_used_to_the_last() {
    for (len, skew) in [(0, 0), (8, 1), (100, 3), (200, 5), (4096, 7), (64 << 10, 9)] {
        let mut bytes = vec![MaybeUninit::uninit(); len + skew];
        let allocator = Tree::new(RegionSource::new(&mut bytes[skew..]));
        let mut ledger = Ledger::new(&allocator);
        let served = (0..20_000).map_while(|_| ledger.allocate(layout(24, 8)).ok()).count();
        assert!(served * 32 <= len && (len < 4096 || served * 32 > len * 95 / 100), "{served} in {len}");
        ledger.verify();
        ledger.free_all();
        assert_eq!(allocator.free_bytes(), allocator.largest_free_block());
    }
    let mut bytes = vec![MaybeUninit::uninit(); 120_001];
    let allocator = Tree::new(RegionSource::new(&mut bytes[1..]));
    let profile = Profile { live: 1000, ..Profile::SMALL.operations(500_000).refusals() };
    let tally = model::run(&allocator, profile);
    assert!(tally.refused > 1000, "{tally:?}");
}

#[test]
fn every_refusal_is_survived() {
    let direct = fault::every_request(|source| {
        let allocator = Locked::new(Tree::new(source.clone()));
        fault::work(&allocator, 512 * 1024);
    });
    assert!(direct >= 8, "{direct}");
    let through_an_arena = fault::every_request(|source| {
        let arena = ArenaSource::<_, U65536, U262144>::new_in(source.clone());
        let allocator = Tree::new(&arena);
        fault::work(&allocator, 32 * 1024);
        drop(allocator);
        assert_eq!(arena.usage().unused, arena.usage().obtained);
    });
    assert!(through_an_arena >= 3);
    let small = fault::every_request(|source| {
        let mut allocator = Tree::new(source.clone());
        fault::work(&allocator, 2 << 20);
        allocator.recycle();
        assert!(source.counts().held <= 1);
        fault::work(&allocator, 1024);
    });
    assert!(small >= 10);
}

/// What one block needs a region for is obtained once, however often it is allocated and freed.
#[test]
fn a_region_at_its_edge_is_kept() {
    let source = CheckingSource::new(MmapSource::new());
    let allocator = Tree::new(&source);
    let mut ledger = Ledger::new(&allocator);
    for round in 0..100 {
        // Whatever is live, some block is the first of its region.
        ledger.allocate(layout(100_000, 8)).unwrap();
        let before = source.counts().obtained;
        for _ in 0..100 {
            let address = ledger.allocate(layout(40_000, 8)).unwrap();
            ledger.free(address);
        }
        let obtained = source.counts().obtained - before;
        assert!(obtained <= 1, "{obtained} regions in round {round}");
    }
    ledger.free_all();
}

/// Random sizes from 16 bytes to 4 KiB, allocated and freed at random until a request fails: live
/// bytes by bytes of the region.
fn usable<A: Allocator>(allocator: &A, region: usize, seed: u64) -> f64 {
    let mut random = Rng::with_seed(seed);
    let mut blocks: Vec<(NonNull<u8>, NonZeroLayout)> = Vec::new();
    let mut live = 0;
    loop {
        // Two are allocated for one that is freed.
        if blocks.is_empty() || random.u8(0..3) > 0 {
            let layout = layout(random.usize(16..=4096), 8);
            let Ok(block) = allocator.allocate(layout) else { break };
            blocks.push((block.cast(), layout));
            live += layout.size();
        } else {
            let (block, layout) = blocks.swap_remove(random.usize(..blocks.len()));
            // SAFETY: Allocated above with this layout, and forgotten here.
            unsafe { allocator.deallocate(block, layout) };
            live -= layout.size();
        }
    }
    live as f64 / region as f64
}

#[test]
fn nearly_all_of_a_region_can_be_live() {
    const REGION: usize = 16 << 20;
    let mut bytes = vec![MaybeUninit::uninit(); REGION];
    let seeds = 3;
    let mean =
        (0..seeds).map(|seed| usable(&Tree::new(RegionSource::new(&mut bytes)), REGION, seed)).sum::<f64>()
            / seeds as f64;
    assert!(mean >= 0.93, "{mean}");
    let allocator = Tree::new(RegionSource::new(&mut bytes));
    let blocks = (0..).map_while(|_| allocator.allocate(layout(64, 8)).ok()).count();
    let of_64 = (blocks * 64) as f64 / REGION as f64;
    assert!(of_64 >= 0.99, "{of_64}");
    println!("random sizes {mean:.4}, 64 bytes {of_64:.4}");
}

#[test]
fn blocks_beyond_a_region_have_their_own_and_give_it_back() {
    let source = CheckingSource::new(MmapSource::new());
    let allocator = Tree::new(&source);
    let mut ledger = Ledger::new(&allocator);
    let small = ledger.allocate(layout(100, 8)).unwrap();
    let before = source.counts().bytes;
    for (size, align) in [(100 << 20, 8), (70 << 20, 1 << 20), (1000, 32 << 20)] {
        let large = ledger.allocate(layout(size, align)).unwrap();
        let taken = source.counts().bytes - before;
        assert!(taken < (size + align) * 102 / 100 + 8192, "{taken} for {size}");
        let grown = ledger.resize(large, layout(size + 10, align), Way::Grow).unwrap();
        ledger.free(grown);
        assert!(source.counts().bytes <= before + (1 << 20), "{:?}", source.counts());
    }
    ledger.free(small);
    assert!(source.counts().held <= 1);
}

#[test]
fn what_was_needed_once_is_given_back() {
    let source = CheckingSource::new(MmapSource::new());
    let allocator = Tree::new(&source);
    for _ in 0..3 {
        let mut ledger = Ledger::new(&allocator);
        for number in 0..60_000 {
            ledger.allocate(layout(100 + number % 900, 8)).unwrap();
        }
        assert!(source.counts().held > 5);
        ledger.free_all();
        assert!(source.counts().held <= 1, "{:?}", source.counts());
        assert!(source.counts().bytes <= 1 << 20, "{:?}", source.counts());
    }
    assert_eq!(allocator.bytes_held(), source.counts().bytes);
}

#[test]
fn statistics_add_up() {
    let mut bytes = vec![MaybeUninit::uninit(); 64 << 10];
    let allocator = Tree::new(RegionSource::new(&mut bytes));
    assert_eq!((allocator.bytes_held(), allocator.free_bytes(), allocator.largest_free_block()), (0, 0, 0));
    let mut ledger = Ledger::new(&allocator);
    let first = ledger.allocate(layout(5000, 8)).unwrap();
    ledger.allocate(layout(100, 8)).unwrap();
    let (held, free) = (allocator.bytes_held(), allocator.free_bytes());
    assert!(held > 65_500 && held - free - 5008 - 112 < 700, "{held} {free}");
    assert_eq!(free, allocator.largest_free_block());
    ledger.free(first);
    assert_eq!(allocator.free_bytes(), free + 5008);
    assert_eq!(allocator.largest_free_block(), free);
    ledger.free_all();
}

/// A hole that fits an aligned request exactly is found, however many misaligned holes of its size
/// there are, and in whatever bin or tree.
#[test]
fn aligned_holes_are_found() {
    let cases =
        [(8192, 4096, 1), (8192, 4096, 300), (4096, 4096, 200), (1024, 256, 100), (20_000, 8192, 150)];
    for (size, align, others) in cases {
        let region = vec![std::mem::MaybeUninit::uninit(); 16 << 20].leak();
        let source = CheckingSource::new(RegionSource::new(region));
        let tree = MultipleBinarySearchTreeAllocator::<_, U32>::new_in(&source);
        let (aligned, odd, small) = (layout(size, align), layout(size, 8), layout(16, 8));
        let hole = tree.allocate(aligned).expect("memory");
        tree.allocate(small).expect("memory");
        let mut misaligned = Vec::new();
        while misaligned.len() < others {
            let block = tree.allocate(odd).expect("memory");
            tree.allocate(small).expect("memory");
            if !block.addr().get().is_multiple_of(align) {
                misaligned.push(block);
            }
        }
        for size in [1 << 20, 65_536, 4096, 64, 16] {
            while tree.allocate(layout(size, 8)).is_ok() {}
        }
        // SAFETY: Allocated above with this layout, and not used again.
        unsafe { tree.deallocate(hole.cast(), aligned) };
        for block in &misaligned {
            // SAFETY: As above.
            unsafe { tree.deallocate(block.cast(), odd) };
        }
        assert!(tree.allocate(aligned).is_ok(), "{size} at {align} among {others}");
    }
}

/// A program that frees and takes an aligned and another block of one size in turn does not grow.
#[test]
fn aligned_blocks_that_come_again_take_no_more_memory() {
    let source = CheckingSource::new(MmapSource::new());
    let tree = MultipleBinarySearchTreeAllocator::<_, U32>::new_in(&source);
    let (page, odd, small) = (layout(8192, 4096), layout(8192, 8), layout(16, 8));
    let mut held = Vec::new();
    let round = |held: &mut Vec<_>| {
        let blocks = [tree.allocate(odd), tree.allocate(page)].map(|block| block.expect("memory"));
        tree.allocate(small).expect("memory");
        held.push(blocks);
        if held.len() > 5 {
            let [odd_block, page_block] = held.remove(0);
            // SAFETY: Allocated above with this layout, and not used again.
            unsafe { tree.deallocate(page_block.cast(), page) };
            // SAFETY: As above.
            unsafe { tree.deallocate(odd_block.cast(), odd) };
        }
    };
    (0..2000).for_each(|_| round(&mut held));
    // 12 blocks of 8 KiB, and 2,000 of 16 bytes.
    assert!(source.counts().bytes <= 512 << 10, "{:?}", source.counts());
}
