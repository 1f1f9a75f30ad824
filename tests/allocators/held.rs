//! What each allocator holds for what is live, as its documentation says under "Held memory".

use std::alloc::System;

use crate::support::CheckingSource;
use crate::support::held::{self, Promise};
use crate::support::layout;
use crate::support::ledger::Ledger;
use crate::support::model::{self, Profile};
use context_allocator::alloc::{FixedBitSetAllocator, Lifetime, Sharded, SizeClassAllocator};
use context_allocator::size::{U16, U64, U4096, U65536};
use context_allocator::switch::NoTier;
use context_allocator::{
    Allocator, ArenaSource, BitSetAllocator, Builder, BumpAllocator, ContextAllocator, Locked, MmapAllocator,
    MmapSource, MultipleBinarySearchTreeAllocator, SlabAllocator, Tiers,
};
use typenum::U4;

type Source = CheckingSource<MmapSource>;

fn source() -> Source {
    CheckingSource::new(MmapSource::new())
}

const KIB: usize = 1 << 10;

/// Runs all workloads on an allocator that `make` makes, and the border on another.
fn keeps<'a, A: Allocator>(
    source: &'a Source,
    make: impl Fn(&'a Source) -> A,
    promise: Promise,
    largest: usize,
) {
    held::workloads(&make(source), source, promise, largest);
    source.assert_all_released();
    held::ping_pong(&make(source), source, &[24, 200, 1000, 5000].map(|size| size.min(largest)));
    source.assert_all_released();
}

#[test]
fn bit_set() {
    keeps(&source(), BitSetAllocator::<_, U64>::new, Promise::BIT_SET, usize::MAX);
    keeps(&source(), BitSetAllocator::<_, U16>::new_in, Promise::BIT_SET, usize::MAX);
}

/// Over blocks of an arena a region is one of them, and the arena's chunk is what the source is
/// asked for.
#[test]
fn bit_set_over_an_arena() {
    let arena = ArenaSource::new(MmapSource::new());
    let source = CheckingSource::new(&arena);
    let promise = Promise::BIT_SET_IN_BLOCKS;
    held::workloads(&BitSetAllocator::new(&source), &source, promise, 5_000);
    source.assert_all_released();
    held::ping_pong(&BitSetAllocator::new(&source), &source, &[24, 200, 1000, 5000]);
}

/// Blocks of 16 bytes and more, rounded up to them; fragmentation is what it is under other
/// allocators of one size.
#[test]
fn tree() {
    keeps(&source(), MultipleBinarySearchTreeAllocator::<_>::new, Promise::TREE, usize::MAX);
}

#[test]
fn slab() {
    keeps(&source(), SlabAllocator::<_, U65536>::new, Promise::SLAB, 32 * KIB);
}

#[test]
fn size_class() {
    keeps(&source(), SizeClassAllocator::new, Promise::SIZE_CLASS, 32 * KIB);
}

#[test]
fn locked() {
    keeps(&source(), |source| Shared::new(BitSetAllocator::new(source)), Promise::BIT_SET, usize::MAX);
}

type Shared<A> = Locked<A>;

#[test]
fn context() {
    for (lifetime, promise) in [(Lifetime::Medium, Promise::BIT_SET), (Lifetime::Long, Promise::TREE)] {
        keeps(&source(), |source| ContextAllocator::new(source, lifetime), promise, usize::MAX);
    }
    let source = source();
    held::workloads(&ContextAllocator::new(&source, Lifetime::Short), &source, Promise::BUMP, usize::MAX);
}

#[test]
fn bump() {
    let source = source();
    held::workloads(&BumpAllocator::new(&source), &source, Promise::BUMP, usize::MAX);
}

/// The heap of a coroutine holds what its allocator holds.
#[test]
fn bit_set_in_a_coroutine_heap() {
    type Bits = BitSetAllocator<ArenaSource<MmapSource>, U64>;
    context_allocator::switchable_allocator!(
        static ALLOC: Tiers<Bits, NoTier, System> = Builder::new()
            .coroutine_tier(BitSetAllocator::new(ArenaSource::new(MmapSource::new())))
            .without_thread_tier()
            .global_tier(System)
            .build()
    );
    for (count, size) in [(10_000, 1000), (10_000, 200), (5_000, 2_000)] {
        let heap = ALLOC.heap().expect("control blocks are no source's");
        let mut ledger = Ledger::new(&ALLOC);
        for number in 0..count {
            heap.enter(|| ledger.allocate(layout(size, 8))).expect("maps");
            if number % 16 == 0 {
                let held = heap.statistics().held_bytes;
                let most = ledger.bytes() / 100 * 125 + 192 * KIB;
                assert!(held <= most, "{held} bytes are held for {}", ledger.bytes());
            }
        }
        heap.enter(|| ledger.free_all());
    }
}

/// One region, whatever is asked for.
#[test]
fn fixed_bit_set() {
    let source = source();
    let fixed = FixedBitSetAllocator::<_, U64, U4096>::new(&source);
    let watch = |_live| assert_eq!((source.counts().obtained, source.counts().bytes), (1, 4096 * 64));
    fixed.allocate(layout(1, 8)).expect("the first block");
    model::run_watched(&fixed, Profile::SMALL.operations(100_000).refusals(), watch);
}

/// What one thread uses is in one shard, as in an allocator by itself; beside it are those of large
/// blocks.
#[test]
fn sharded() {
    let source = source();
    let shards = SlabAllocator::<&Source, U65536>::new_in(&source);
    let sharded = Sharded::<_, U4, _>::with_large(shards, MmapAllocator::new_in(&source));
    held::workloads(&sharded, &source, Promise::SLAB, usize::MAX);
    drop(sharded);
    source.assert_all_released();
}

#[test]
fn memory_maps() {
    let source = source();
    held::workloads(&MmapAllocator::new_in(&source), &source, Promise::MAPS, usize::MAX);
}
