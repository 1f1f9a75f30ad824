//! A switchable allocator in the global tier of another: each knows whose heaps are
//! its own, by an page map of its own.

use std::sync::Mutex;

use crate::support::layout;
use crate::support::ledger::{Held, Ledger, Taking, Way};
use context_allocator::adapt::AllocatorAdaptor;
use context_allocator::size::U16384;
use context_allocator::source::PooledSource;
use context_allocator::switch::NoTier;
use context_allocator::{
    ArenaSource, Builder, BumpAllocator, MmapSource, SlabAllocator, SwitchableAllocator, Tiers,
};

context_allocator::switchable_allocator!(static INNER);

type Inner = AllocatorAdaptor<&'static SwitchableAllocator<INNER>>;

context_allocator::switchable_allocator!(
    static OUTER: Tiers<BumpAllocator<ArenaSource<MmapSource, U16384>>, NoTier, Inner> = Builder::new()
        .coroutine_tier(BumpAllocator::new(ArenaSource::new_in(MmapSource::new())))
        .without_thread_tier()
        .global_tier_allocator(&INNER)
        .build();
);

/// The statistics of both are compared, so one test at a time.
static ONE: Mutex<()> = Mutex::new(());

const SIZES: [usize; 6] = [1, 100, 5000, 30_000, 100_000, 3 << 20];

fn allocate_all(ledger: &mut Ledger<'_>) {
    for size in SIZES {
        ledger.allocate(layout(size, 8)).unwrap();
        ledger.allocate_zeroed(layout(size, 64)).unwrap();
    }
}

fn free_all(blocks: Vec<Held>) {
    let mut ledger = Ledger::new(&OUTER);
    for held in blocks {
        let (address, old) = (held.address(), held.layout());
        ledger.put(held);
        let address = ledger.resize(address, layout(old.size() * 3, old.align()), Way::Grow).unwrap();
        ledger.resize(address, layout(old.size() / 2 + 1, old.align()), Way::Shrink).unwrap();
    }
    ledger.free_all();
}

#[test]
fn blocks_of_the_inner_thread_tier() {
    let _one = ONE.lock().unwrap();
    // So that this thread has a heap already, and does not adopt the other's.
    let mut mine = Ledger::new(&INNER);
    mine.allocate(layout(1, 1)).unwrap();
    for _ in 0..3 {
        let blocks = std::thread::spawn(|| {
            let mut ledger = Ledger::new(&OUTER);
            allocate_all(&mut ledger);
            // Blocks that the heap itself has back.
            let mut freed = Ledger::new(&INNER);
            (0..100).for_each(|_| assert!(freed.allocate(layout(1, 8)).is_ok()));
            freed.free_all();
            ledger.take_all()
        })
        .join()
        .unwrap();
        assert_eq!(INNER.statistics().thread_blocks, 1 + blocks.len());
        // Their heap is parked in the inner allocator; the last block empties it, and the next
        // thread adopts it.
        free_all(blocks);
        assert_eq!(INNER.statistics().thread_blocks, 1);
    }
    mine.free_all();
    assert_eq!(OUTER.statistics().heap_blocks, 0);
}

#[test]
fn blocks_of_the_inner_coroutine_tier() {
    let _one = ONE.lock().unwrap();
    let heap = INNER.heap().unwrap();
    let mut ledger = Ledger::new(&OUTER);
    heap.enter(|| allocate_all(&mut ledger));
    assert_eq!(heap.statistics().live_blocks, 2 * SIZES.len());
    drop(heap);
    assert_eq!(INNER.statistics().orphans, 1);
    free_all(ledger.take_all());
    assert_eq!((INNER.statistics().orphans, INNER.statistics().heap_blocks), (0, 0));
}

#[test]
fn blocks_of_the_outer_heap_grow_into_the_inner_tiers_and_back() {
    let _one = ONE.lock().unwrap();
    let (inner, outer) = (INNER.heap().unwrap(), OUTER.heap().unwrap());
    let mut ledger = Ledger::new(&OUTER);
    let mut address = outer.enter(|| ledger.allocate(layout(10, 8)).unwrap());
    for size in SIZES {
        address = inner.enter(|| ledger.resize(address, layout(size + 20, 8), Way::Grow).unwrap());
        address = outer.enter(|| ledger.resize(address, layout(size + 30, 8), Way::Grow).unwrap());
    }
    ledger.free_all();
    drop((inner, outer));
    assert_eq!((INNER.statistics().heap_blocks, OUTER.statistics().heap_blocks), (0, 0));
}

#[test]
fn zeroed_memory_is_zeroed_by_whoever_allocated_it() {
    let _one = ONE.lock().unwrap();
    let mut ledger = Ledger::new(&OUTER);
    for size in SIZES {
        for _ in 0..4 {
            let address = ledger.allocate_zeroed(layout(size, 8)).unwrap();
            ledger.free(address);
        }
    }
}

/// Both have slabs of the process's pool in their thread tiers: what one of them releases the other
/// obtains, on the same thread, which must then forget that it was its own.
#[test]
fn slabs_that_pass_from_one_to_the_other() {
    context_allocator::switchable_allocator!(
        static SLABS: Tiers<BumpAllocator<ArenaSource<MmapSource>>, SlabAllocator<PooledSource>, Inner> =
            Builder::new()
                .coroutine_tier(BumpAllocator::new(ArenaSource::new(MmapSource::new())))
                .thread_tier(SlabAllocator::new(PooledSource::new()))
                .global_tier_allocator(&INNER)
                .build()
    );
    let _one = ONE.lock().unwrap();
    let thread = std::thread::spawn(|| {
        let mut ledger = Ledger::new(&SLABS);
        let mut left = Vec::new();
        for round in 0..12 {
            // Fewer in each second round, so that slabs are left to the pool.
            let allocate = |ledger: &mut Ledger<'_>, count: usize| {
                for number in 0..count {
                    ledger.allocate(layout(16 + (number * 41 + round * 500) % 3000, 8)).unwrap();
                }
            };
            allocate(&mut ledger, 4000 * (round % 2) + 100);
            left.extend(ledger.take_all());
            SLABS.with_global(|| allocate(&mut ledger, 4000 * ((round + 1) % 2) + 100));
            ledger.verify();
            left.drain(..).for_each(|held: Held| ledger.put(held));
            ledger.free_all();
            assert_eq!(SLABS.statistics().thread_blocks, 0);
        }
    });
    thread.join().unwrap();
}
