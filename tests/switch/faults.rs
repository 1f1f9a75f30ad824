//! Sources that refuse, under both tiers and for large objects: each request of a workload in turn,
//! alone and with all that follow.
//!
//! What must hold: an allocation that has no memory fails, nothing is lost or changed by it, when
//! the sources give again everything works, and in the end every region is back.

use std::alloc::System;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::support::CheckingSource;
use crate::support::layout;
use crate::support::ledger::{Held, Ledger, Taking, Way};
use context_allocator::alloc::LocalAllocator;
use context_allocator::alloc::SizeClassAllocator;
use context_allocator::error::SourceError;
use context_allocator::size::{U16384, U65536};
use context_allocator::switch::TierSet;
use context_allocator::switch::{Declaration, Policy};
use context_allocator::{
    ArenaSource, Builder, BumpAllocator, MemorySource, MmapSource, NonZeroLayout, SlabAllocator,
    SwitchableAllocator, Tiers,
};

/// Memory maps, of which the requests from `FIRST` on and before `BEHIND` are refused.
#[derive(Debug)]
struct Refusing(MmapSource);

static REQUESTS: AtomicUsize = AtomicUsize::new(0);
static FIRST: AtomicUsize = AtomicUsize::new(usize::MAX);
static BEHIND: AtomicUsize = AtomicUsize::new(usize::MAX);

fn refuse(from: usize, behind: usize) {
    REQUESTS.store(0, Relaxed);
    FIRST.store(from, Relaxed);
    BEHIND.store(behind, Relaxed);
}

// SAFETY: Regions are those of the memory maps, passed on as they are.
unsafe impl MemorySource for Refusing {
    const ZEROED: bool = true;
    const MIN_ALIGN: usize = MmapSource::MIN_ALIGN;

    fn obtain(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, SourceError> {
        let number = REQUESTS.fetch_add(1, Relaxed);
        if number >= FIRST.load(Relaxed) && number < BEHIND.load(Relaxed) {
            return Err(SourceError::Exhausted);
        }
        self.0.obtain(layout)
    }

    unsafe fn release(&self, region: NonNull<[u8]>, layout: NonZeroLayout) {
        // SAFETY: The caller's promises; every region came from the memory maps.
        unsafe { self.0.release(region, layout) };
    }
}

/// All regions of all tiers and all large objects.
static SOURCE: CheckingSource<Refusing> = CheckingSource::new(Refusing(MmapSource::new()));

struct LargeToo;

impl Policy for LargeToo {
    type Large = CheckingSource<Refusing>;
    const LARGE: &'static Self::Large = &SOURCE;
}

type Source = &'static CheckingSource<Refusing>;

/// The requests are counted for the process, so one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One workload in one tier; what it could not allocate is counted, and what it could is checked.
struct Work<'a> {
    ledger: Ledger<'a>,
    names: Vec<usize>,
    failed: usize,
}

impl Work<'_> {
    fn allocate(&mut self, zeroed: bool, layout: NonZeroLayout) {
        let result = if zeroed { self.ledger.allocate_zeroed(layout) } else { self.ledger.allocate(layout) };
        match result {
            Ok(name) => self.names.push(name),
            Err(_) => self.failed += 1,
        }
    }

    fn resize_all(&mut self, size: impl Fn(usize) -> usize) {
        for name in &mut self.names {
            let old = self.ledger.get(*name).layout();
            let new = old.with_size(size(old.size())).unwrap();
            let way = if new.size() >= old.size() { Way::Grow } else { Way::Shrink };
            // A ledger looks whether a block that could not be resized is as it was.
            match self.ledger.resize(*name, new, way) {
                Ok(moved) => *name = moved,
                Err(_) => self.failed += 1,
            }
        }
    }

    /// Blocks of all kinds, several regions of them, and every second freed.
    fn run(&mut self) {
        for number in 0..40 {
            self.allocate(number % 3 == 0, layout(50 + number * 211, 8 << (number % 5)));
            if number % 13 == 0 {
                self.allocate(true, layout(100_000 + number * 9000, 64));
            }
        }
        self.resize_all(|size| size * 2);
        for index in (0..self.names.len()).rev().step_by(2) {
            self.ledger.free(self.names.swap_remove(index));
        }
        self.resize_all(|size| size / 3 + 1);
        self.ledger.verify();
    }
}

/// The workload in every tier, with heaps that are made, entered, and dropped before their blocks.
/// Gives the number of failures.
fn workload<D: Declaration>(allocator: &'static SwitchableAllocator<D>) -> usize
where
    <D::Tiers as TierSet>::Coroutine: LocalAllocator,
    <D::Tiers as TierSet>::Thread: LocalAllocator,
{
    let mut failed = 0;
    let mut left: Vec<Held> = Vec::new();
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let mut work = Work { ledger: Ledger::new(allocator), names: Vec::new(), failed: 0 };
            for _ in 0..2 {
                let heap = allocator.heap().expect("control blocks are no source's");
                heap.enter(|| {
                    work.run();
                    allocator.with_thread(|| work.run());
                });
                drop(heap);
            }
            // Blocks of the thread's heap and of heaps without a handle.
            (work.ledger.take_all(), work.failed)
        });
        (left, failed) = worker.join().unwrap();
    });
    assert_eq!(allocator.statistics().heap_blocks + allocator.statistics().thread_blocks, left.len());
    left.iter().for_each(Held::verify);
    let ledger = Ledger::new(allocator);
    left.iter().for_each(|held| ledger.free_as(held, held.layout().size()));
    failed
}

fn nothing_is_held<D: Declaration>(allocator: &SwitchableAllocator<D>) {
    let statistics = allocator.statistics();
    assert_eq!((statistics.heap_blocks, statistics.thread_blocks, statistics.orphans), (0, 0, 0));
    allocator.trim();
    let statistics = allocator.statistics();
    assert_eq!((statistics.heap_bytes, statistics.thread_bytes), (0, 0));
    SOURCE.assert_all_released();
}

fn every_request<D: Declaration>(allocator: &'static SwitchableAllocator<D>)
where
    <D::Tiers as TierSet>::Coroutine: LocalAllocator,
    <D::Tiers as TierSet>::Thread: LocalAllocator,
{
    refuse(usize::MAX, usize::MAX);
    assert_eq!(workload(allocator), 0);
    let requests = REQUESTS.load(Relaxed);
    nothing_is_held(allocator);
    for number in 0..requests {
        refuse(number, number + 1);
        workload(allocator);
        nothing_is_held(allocator);
        refuse(number, usize::MAX);
        assert!(workload(allocator) > 0, "request {number} of {requests} and all later ones were refused");
        // The sources give again, to a heap with blocks in it too.
        nothing_is_held(allocator);
    }
    refuse(usize::MAX, usize::MAX);
    assert_eq!(workload(allocator), 0);
    nothing_is_held(allocator);
}

#[test]
fn arenas_under_both_tiers() {
    type Contexts = BumpAllocator<ArenaSource<Source, U16384, U65536>>;
    type Threads = SizeClassAllocator<ArenaSource<Source, U65536, U65536>>;
    context_allocator::switchable_allocator!(
        static ALLOC: Tiers<Contexts, Threads, System, LargeToo> = Builder::new()
            .coroutine_tier(BumpAllocator::new(ArenaSource::new_in(&SOURCE)))
            .thread_tier(SizeClassAllocator::new(ArenaSource::new_in(&SOURCE)))
            .global_tier(System)
            .policy::<LargeToo>()
            .build()
    );
    let _alone = alone();
    every_request(&ALLOC);
}

#[test]
fn whole_regions_under_both_tiers() {
    context_allocator::switchable_allocator!(
        static ALLOC: Tiers<SizeClassAllocator<Source>, BumpAllocator<Source>, System, LargeToo> =
            Builder::new()
                .coroutine_tier(SizeClassAllocator::new(&SOURCE))
                .thread_tier(BumpAllocator::new(&SOURCE))
                .global_tier(System)
                .policy::<LargeToo>()
                .build()
    );
    let _alone = alone();
    every_request(&ALLOC);
}

#[test]
fn slabs_under_the_thread_tier() {
    context_allocator::switchable_allocator!(
        static ALLOC: Tiers<BumpAllocator<Source>, SlabAllocator<Source>, System, LargeToo> = Builder::new()
            .coroutine_tier(BumpAllocator::new(&SOURCE))
            .thread_tier(SlabAllocator::new(&SOURCE))
            .global_tier(System)
            .policy::<LargeToo>()
            .build()
    );
    let _alone = alone();
    every_request(&ALLOC);
}

#[test]
fn slabs_over_arenas_under_both_tiers() {
    type Arena = ArenaSource<Source, U65536, U65536>;
    context_allocator::switchable_allocator!(
        static ALLOC: Tiers<SlabAllocator<Arena>, SlabAllocator<Arena>, System, LargeToo> = Builder::new()
            .coroutine_tier(SlabAllocator::new_in(ArenaSource::new_in(&SOURCE)))
            .thread_tier(SlabAllocator::new_in(ArenaSource::new_in(&SOURCE)))
            .global_tier(System)
            .policy::<LargeToo>()
            .build()
    );
    let _alone = alone();
    every_request(&ALLOC);
}

#[test]
fn a_heap_with_blocks_in_it_goes_on_when_there_is_memory_again() {
    context_allocator::switchable_allocator!(
        static ALLOC: Tiers<BumpAllocator<Source>, SizeClassAllocator<Source>, System, LargeToo> =
            Builder::new()
                .coroutine_tier(BumpAllocator::new(&SOURCE))
                .thread_tier(SizeClassAllocator::new(&SOURCE))
                .global_tier(System)
                .policy::<LargeToo>()
                .build()
    );
    let _alone = alone();
    let heap = ALLOC.heap().unwrap();
    let mut work = Work { ledger: Ledger::new(&ALLOC), names: Vec::new(), failed: 0 };
    refuse(usize::MAX, usize::MAX);
    heap.enter(|| work.run());
    let before = work.failed;
    refuse(0, usize::MAX);
    // What fits in the regions that the heap has still succeeds; the rest fails.
    heap.enter(|| work.run());
    assert!(work.failed > before);
    let (before, live) = (work.failed, heap.statistics().live_blocks);
    assert_eq!(live, work.ledger.len());
    refuse(usize::MAX, usize::MAX);
    heap.enter(|| work.run());
    assert_eq!(work.failed, before);
    drop(heap);
    work.ledger.free_all();
    nothing_is_held(&ALLOC);
}
