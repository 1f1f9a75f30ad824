//! What happens at a heap's limit, for each action that a policy may choose, and that nothing is
//! lost by it.

use std::alloc::System;
use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::support::layout;
use crate::support::ledger::{Ledger, Way};
use context_allocator::source::{LimitSource, PooledSource};
use context_allocator::switch::{
    LimitAction, LimitReached, NoTier, Owner, Policy, RecommendedTiers, RefusingPolicy, recommended_tiers,
};
use context_allocator::{Builder, BumpAllocator, Heap, MmapSource, SwitchableAllocator, Tiers};

/// A declaration of its own for each test: figures are compared.
macro_rules! declare {
    ($policy:ty) => {
        context_allocator::switchable_allocator!(
            static ALLOC: RecommendedTiers<$policy> = recommended_tiers()
        );
    };
    () => {
        context_allocator::switchable_allocator!(static ALLOC);
    };
}

macro_rules! policy {
    ($name:ident, $limit_reached:expr) => {
        struct $name;
        impl Policy for $name {
            type Large = PooledSource;
            const LARGE: &'static PooledSource = &PooledSource::new();
            fn limit_reached(reached: LimitReached) -> LimitAction {
                $limit_reached(reached)
            }
        }
    };
}

const LIMIT: usize = 16 * 1024;

fn limited<D: context_allocator::HasCoroutineTier>(allocator: &SwitchableAllocator<D>) -> Heap<D> {
    allocator.heap_with_limit(LIMIT).expect("memory for a heap")
}

/// Blocks of 100 bytes, so that the last of them is the first that passes the limit.
fn fill<D: context_allocator::HasCoroutineTier>(ledger: &mut Ledger<'_>, heap: &Heap<D>) -> usize {
    let mut blocks = 0;
    heap.enter(|| {
        while heap.check().is_ok() {
            ledger.allocate(layout(100, 8)).expect("memory");
            blocks += 1;
        }
    });
    blocks
}

#[test]
fn a_heap_that_spills_is_marked_and_charged_until_it_ends() {
    declare!();
    let heap = limited(&ALLOC);
    let mut ledger = Ledger::new(&ALLOC);
    let blocks = fill(&mut ledger, &heap);
    assert!((140..=158).contains(&blocks), "{blocks} blocks of 104 bytes in 16 KiB");
    let error = heap.check().unwrap_err();
    assert_eq!((error.limit, error.requested, error.account.as_str()), (LIMIT, 100, ""));
    let statistics = heap.statistics();
    assert!(error.held == statistics.held_bytes && statistics.held_bytes <= LIMIT + 100);
    // The one that passed the limit is the thread's.
    assert_eq!(statistics.live_blocks, blocks - 1);
    // The first request stays the one that is named; others are charged too.
    heap.enter(|| {
        assert_eq!(ALLOC.check(), heap.check());
        ledger.allocate(layout(5000, 8)).expect("memory");
        ledger.allocate(layout(1 << 20, 8)).expect("memory");
        let other = ALLOC.heap().expect("memory for a heap");
        other.enter(|| assert_eq!(ALLOC.check(), Ok(())));
    });
    let after = heap.check().unwrap_err();
    assert_eq!((after.requested, after.held), (100, error.held + 5000 + (1 << 20)));
    let totals = ALLOC.statistics();
    assert_eq!((totals.spilled_blocks, totals.spilled_bytes, totals.refused), (3, 5100 + (1 << 20), 0));
    ledger.verify();
    heap.enter(|| ledger.free_all());
    assert_eq!(heap.statistics().live_blocks, 0);
    assert!(heap.check().is_err());
    drop(heap);
    let totals = ALLOC.statistics();
    assert_eq!((totals.orphans, totals.heap_bytes - totals.free_heap_bytes), (0, 0));
    // The control block serves the next heap as if nothing had been.
    let next = limited(&ALLOC);
    assert_eq!((next.check(), next.statistics().held_bytes), (Ok(()), 0));
}

#[test]
fn spilled_blocks_grow_and_shrink_and_outlive_the_heap() {
    declare!();
    let heap = limited(&ALLOC);
    let mut ledger = Ledger::new(&ALLOC);
    fill(&mut ledger, &heap);
    let mut kept = heap.enter(|| ledger.allocate(layout(200, 8)).expect("memory"));
    assert_eq!(ALLOC.statistics().thread_blocks, 2);
    let mut before = 200;
    for size in [300, 100, 100_000, 50, 2 << 20, 4096] {
        let way = if size > before { Way::Grow } else { Way::Shrink };
        kept = heap.enter(|| ledger.resize(kept, layout(size, 8), way)).expect("memory");
        before = size;
        ledger.verify();
    }
    drop(heap);
    ledger.verify();
    ledger.free_all();
    let totals = ALLOC.statistics();
    assert_eq!((totals.orphans, totals.heap_blocks, totals.thread_blocks), (0, 0, 0));
}

#[test]
fn zeroed_requests_that_spill_are_zero() {
    declare!();
    let heap = limited(&ALLOC);
    let mut ledger = Ledger::new(&ALLOC);
    fill(&mut ledger, &heap);
    for size in [8, 100, 5000, 100_000, 3 << 20] {
        heap.enter(|| ledger.allocate_zeroed(layout(size, 8))).expect("memory");
    }
    ledger.free_all();
}

#[test]
fn a_refused_request_fails_and_marks_nothing() {
    declare!(RefusingPolicy);
    let heap = limited(&ALLOC);
    let mut ledger = Ledger::new(&ALLOC);
    let mut refused = 0;
    heap.enter(|| {
        while ledger.allocate(layout(100, 8)).is_ok() {}
        refused += 1;
        for size in [100, 5000, 1 << 20] {
            refused += 1;
            assert!(ledger.allocate(layout(size, 8)).is_err());
        }
    });
    assert_eq!(heap.check(), Ok(()));
    let statistics = ALLOC.statistics();
    assert_eq!((statistics.refused, statistics.spilled_blocks), (refused, 0));
    assert!(heap.statistics().held_bytes <= LIMIT);
    heap.enter(|| ledger.free_all());
}

const RESERVE: usize = 8 * 1024;
policy!(Reserving, |_| LimitAction::Reserve(RESERVE));

#[test]
fn a_reserve_is_bounded_and_the_heap_s_own() {
    declare!(Reserving);
    let heap = limited(&ALLOC);
    let mut ledger = Ledger::new(&ALLOC);
    let within = fill(&mut ledger, &heap);
    assert_eq!(heap.statistics().live_blocks, within, "the heap served all of them");
    let mut beyond = 1;
    heap.enter(|| {
        while ledger.allocate(layout(100, 8)).is_ok() {
            beyond += 1;
        }
        assert!(ledger.allocate(layout(1 << 20, 8)).is_err());
    });
    let statistics = heap.statistics();
    assert_eq!(statistics.live_blocks, within - 1 + beyond);
    assert!((LIMIT..=LIMIT + RESERVE).contains(&statistics.held_bytes), "{statistics:?}");
    assert!(beyond * 104 > RESERVE * 8 / 10, "{beyond} blocks of the reserve");
    let totals = ALLOC.statistics();
    assert_eq!((totals.spilled_blocks, totals.refused), (0, 2));
    assert_eq!(heap.check().unwrap_err().requested, 100);
    heap.enter(|| ledger.free_all());
    drop(heap);
    assert_eq!(ALLOC.statistics().orphans, 0);
}

thread_local! {
    /// What the callback may free, and what it was asked.
    static CACHE: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
    static ASKED: RefCell<Vec<LimitReached>> = const { RefCell::new(Vec::new()) };
}

context_allocator::switchable_allocator!(static CALLING: RecommendedTiers<Calling> = recommended_tiers());

policy!(Calling, |reached: LimitReached| {
    // A callback allocates where it likes, and not in the heap.
    assert_eq!(CALLING.current(), Owner::Thread);
    ASKED.with_borrow_mut(|asked| asked.push(reached));
    let freed = CACHE.with_borrow_mut(Vec::pop);
    match freed {
        Some(address) => {
            // SAFETY: The test allocated it here, with this layout, and does not use it.
            unsafe {
                context_allocator::Allocator::deallocate(
                    &CALLING,
                    std::ptr::NonNull::new(address as *mut u8).unwrap(),
                    context_allocator::NonZeroLayout::from_size_align(1 << 20, 8).unwrap(),
                );
            };
            LimitAction::Retry
        }
        None => LimitAction::Refuse,
    }
});

#[test]
fn a_callback_frees_something_and_the_request_is_served() {
    let heap = CALLING.heap_with_limit(4 << 20).expect("memory for a heap");
    let large = context_allocator::NonZeroLayout::from_size_align(1 << 20, 8).unwrap();
    let mut ledger = Ledger::new(&CALLING);
    heap.enter(|| {
        for _ in 0..3 {
            let block = context_allocator::Allocator::allocate(&CALLING, large).expect("memory");
            CACHE.with_borrow_mut(|cache| cache.push(block.cast::<u8>().as_ptr().expose_provenance()));
        }
        // Each needs two of those that are cached.
        ledger.allocate(layout(2 << 20, 8)).expect("memory after two callbacks");
        assert_eq!(CACHE.with_borrow(Vec::len), 1);
        assert!(ledger.allocate(layout(2 << 20, 8)).is_err());
    });
    let asked = ASKED.with_borrow_mut(std::mem::take);
    assert_eq!(asked.iter().map(|asked| asked.retries).collect::<Vec<_>>(), [0, 1, 0, 1]);
    assert!(asked.iter().all(|asked| asked.requested == 2 << 20 && asked.limit == 4 << 20));
    assert!(CACHE.with_borrow(Vec::is_empty));
    assert_eq!(heap.check(), Ok(()));
    heap.enter(|| ledger.free_all());
    assert_eq!(heap.statistics().held_bytes, 0);
}

static RETRIED: AtomicUsize = AtomicUsize::new(0);
policy!(Stubborn, |_| {
    RETRIED.fetch_add(1, Relaxed);
    LimitAction::Retry
});

#[test]
fn a_policy_that_only_retries_spills_in_the_end() {
    declare!(Stubborn);
    let heap = limited(&ALLOC);
    let mut ledger = Ledger::new(&ALLOC);
    fill(&mut ledger, &heap);
    assert_eq!(RETRIED.load(Relaxed), 9);
    assert_eq!(ALLOC.statistics().spilled_blocks, 1);
    ledger.free_all();
}

#[test]
fn a_raised_limit_clears_the_mark() {
    declare!();
    let heap = limited(&ALLOC);
    let mut ledger = Ledger::new(&ALLOC);
    fill(&mut ledger, &heap);
    heap.set_limit(LIMIT / 2);
    assert_eq!(heap.check().unwrap_err().limit, LIMIT / 2);
    heap.set_limit(1 << 20);
    assert_eq!(heap.check(), Ok(()));
    let before = ALLOC.statistics().spilled_blocks;
    heap.enter(|| ledger.allocate(layout(1000, 8)).expect("memory"));
    assert_eq!(ALLOC.statistics().spilled_blocks, before);
    ledger.free_all();
}

/// A block of a heap that is full grows in the tier that is current; the heap is not asked for
/// more.
#[test]
fn what_grows_in_another_tier_does_not_mark_the_heap() {
    declare!();
    let heap = limited(&ALLOC);
    let mut ledger = Ledger::new(&ALLOC);
    heap.enter(|| {
        let mut block = ledger.allocate(layout(1000, 8)).expect("memory");
        block = ALLOC.with_thread(|| ledger.resize(block, layout(1 << 20, 8), Way::Grow)).expect("memory");
        assert_eq!((heap.check(), heap.statistics().live_blocks), (Ok(()), 0));
        let again = ledger.allocate(layout(1000, 8)).expect("memory");
        ALLOC.with_global(|| ledger.resize(again, layout(1 << 20, 8), Way::Grow)).expect("memory");
        assert_eq!((heap.check(), heap.statistics().live_blocks), (Ok(()), 0));
        ledger.free(block);
    });
    ledger.free_all();
}

static SOURCE: LimitSource<MmapSource> = LimitSource::new(MmapSource::new(), 1 << 20);

/// A limit of the tier's source is no limit of the heap: the policy is not asked.
#[test]
fn what_a_source_refuses_does_not_spill() {
    type Tier = Tiers<BumpAllocator<&'static LimitSource<MmapSource>>, NoTier, System>;
    context_allocator::switchable_allocator!(
        static ALLOC: Tier = Builder::new()
            .coroutine_tier(BumpAllocator::new(&SOURCE))
            .without_thread_tier()
            .global_tier(System)
            .build();
    );
    let heap = ALLOC.heap_with_limit(1 << 30).expect("memory for a heap");
    let mut ledger = Ledger::new(&ALLOC);
    let mut blocks = 0;
    heap.enter(|| {
        while blocks < 10_000 && ledger.allocate(layout(1000, 8)).is_ok() {
            blocks += 1;
        }
    });
    assert!((900..=1040).contains(&blocks), "{blocks} blocks of 1000 bytes in 1 MiB");
    let statistics = ALLOC.statistics();
    assert_eq!((heap.check(), statistics.spilled_blocks, statistics.refused), (Ok(()), 0, 0));
    heap.enter(|| ledger.free_all());
}

/// Many heaps in a row that allocate without end: each is stopped, and nothing stays.
#[test]
fn ten_thousand_heaps_in_a_row_go_over_and_leave_nothing() {
    declare!();
    let mut ledger = Ledger::new(&ALLOC);
    let mut held = Vec::new();
    for round in 0..10_000 {
        let heap = limited(&ALLOC);
        fill(&mut ledger, &heap);
        let over = heap.check().unwrap_err();
        assert!(over.held <= LIMIT + 100, "stopped at the first request beyond the limit");
        heap.enter(|| ledger.free_all());
        drop(heap);
        if round % 1000 == 999 {
            let statistics = ALLOC.statistics();
            assert_eq!((statistics.orphans, statistics.heap_blocks, statistics.thread_blocks), (0, 0, 0));
            held.push(statistics.heap_bytes + statistics.thread_bytes);
        }
    }
    assert!(held.iter().all(|&bytes| bytes == held[0]), "{held:?}");
}
