//! What a policy decides: what becomes of orphans, and what is counted.
//!
//! The policy that aborts does so in a process of its own: this binary again, told by an
//! environment variable.

use std::alloc::System;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::support::layout;
use crate::support::ledger::{Ledger, Way};
use context_allocator::alloc::SizeClassAllocator;
use context_allocator::switch::{CountingPolicy, Orphan, OrphanAction, Policy};
use context_allocator::{ArenaSource, Builder, BumpAllocator, MmapSource, Tiers};

macro_rules! policy {
    ($name:ident, $accounting:expr, $orphaned:expr) => {
        struct $name;
        impl Policy for $name {
            const ACCOUNTING: bool = $accounting;
            type Large = MmapSource;
            const LARGE: &'static MmapSource = &MmapSource::new();
            fn orphaned(orphan: Orphan) -> OrphanAction {
                $orphaned(orphan)
            }
        }
    };
}

type TiersWith<P> =
    Tiers<BumpAllocator<ArenaSource<MmapSource>>, SizeClassAllocator<ArenaSource<MmapSource>>, System, P>;

const fn tiers<P: Policy>() -> TiersWith<P> {
    Builder::new()
        .coroutine_tier(BumpAllocator::new(ArenaSource::new(MmapSource::new())))
        .thread_tier(SizeClassAllocator::new(ArenaSource::new(MmapSource::new())))
        .global_tier(System)
        .policy::<P>()
        .build()
}

static REPORTED: AtomicUsize = AtomicUsize::new(0);

fn retain(orphan: Orphan) -> OrphanAction {
    assert!(orphan.held_bytes >= 65_536);
    REPORTED.fetch_add(orphan.blocks, Relaxed);
    OrphanAction::Retain
}

policy!(Retaining, true, retain);
policy!(Leaking, false, |_| OrphanAction::Leak);
policy!(Aborting, false, |_| OrphanAction::Abort);

#[test]
fn retained_orphans_are_reported_and_freed_with_their_last_block() {
    context_allocator::switchable_allocator!(static ALLOC: TiersWith<Retaining> = tiers());
    let heap = ALLOC.heap().unwrap();
    let mut ledger = Ledger::of(&ALLOC);
    let addresses: Vec<_> =
        heap.enter(|| (1..=10).map(|size| ledger.allocate(layout(size * 100, 8)).unwrap()).collect());
    addresses[..3].iter().for_each(|&address| ledger.free(address));
    drop(heap);
    assert_eq!(REPORTED.load(Relaxed), 7);
    let statistics = ALLOC.statistics();
    assert_eq!((statistics.orphans, statistics.orphans_made, statistics.heaps_alive), (1, 1, 0));
    assert_eq!((statistics.escaped_blocks, statistics.heap_blocks), (7, 7));
    assert_eq!(statistics.coroutine.live_blocks(), 7);
    assert_eq!(statistics.escaped_bytes, 4900);
    ledger.free_all();
    let statistics = ALLOC.statistics();
    assert_eq!((statistics.orphans, statistics.orphans_made, statistics.heap_blocks), (0, 1, 0));
    assert_eq!(statistics.remote_frees, 10);
    // A heap whose blocks are all freed, here or elsewhere, is no orphan.
    let heap = ALLOC.heap().unwrap();
    let address = heap.enter(|| ledger.allocate(layout(1, 1)).unwrap());
    ledger.free(address);
    drop(heap);
    assert_eq!((ALLOC.statistics().orphans_made, REPORTED.load(Relaxed)), (1, 7));
    ALLOC.trim();
    assert_eq!(ALLOC.statistics().heap_bytes, 0);
}

#[test]
fn leaked_orphans_keep_their_memory() {
    context_allocator::switchable_allocator!(static ALLOC: TiersWith<Leaking> = tiers());
    let heap = ALLOC.heap().unwrap();
    let mut ledger = Ledger::of(&ALLOC);
    heap.enter(|| (0..5).for_each(|_| assert!(ledger.allocate(layout(100, 8)).is_ok())));
    drop(heap);
    let statistics = ALLOC.statistics();
    assert_eq!((statistics.orphans, statistics.escaped_blocks, statistics.heap_blocks), (1, 5, 5));
    ledger.free_all();
    ALLOC.trim();
    let statistics = ALLOC.statistics();
    assert_eq!((statistics.orphans, statistics.heap_blocks), (1, 0), "it stays for ever");
    assert!(statistics.heap_bytes >= 65_536);
    // Heaps that leave nothing behind are not leaked.
    let heap = ALLOC.heap().unwrap();
    heap.enter(|| {
        let address = ledger.allocate(layout(100, 8)).unwrap();
        ledger.free(address);
    });
    drop(heap);
    assert_eq!(ALLOC.statistics().orphans, 1);
}

#[test]
fn an_orphan_aborts_the_process() {
    context_allocator::switchable_allocator!(static ALLOC: TiersWith<Aborting> = tiers());
    const CHILD: &str = "SWITCH_POLICY_CHILD";
    if let Ok(escapes) = std::env::var(CHILD) {
        let heap = ALLOC.heap().unwrap();
        let mut ledger = Ledger::of(&ALLOC);
        let address = heap.enter(|| ledger.allocate(layout(100, 8)).unwrap());
        if escapes == "no" {
            ledger.free(address);
        }
        drop(heap);
        return;
    }
    let child = |escapes| {
        let this = std::env::current_exe().unwrap();
        let test = crate::support::test_path(module_path!(), "an_orphan_aborts_the_process");
        Command::new(this)
            .args([test.as_str(), "--exact", "--test-threads=1"])
            .env(CHILD, escapes)
            .output()
            .unwrap()
            .status
    };
    assert!(child("no").success());
    assert_eq!(child("yes").signal(), Some(libc::SIGABRT));
}

#[test]
fn every_block_and_byte_is_counted() {
    context_allocator::switchable_allocator!(static ALLOC: TiersWith<CountingPolicy> = tiers());
    let heap = ALLOC.heap().unwrap();
    let (first, second) = (layout(1000, 8), layout(200_000, 8));
    let mut ledger = Ledger::of(&ALLOC);
    let mut two = || [ledger.allocate(first).unwrap(), ledger.allocate(second).unwrap()];
    let inside = heap.enter(&mut two);
    ALLOC.with_thread(&mut two);
    ALLOC.with_global(&mut two);
    let statistics = ALLOC.statistics();
    assert_eq!(statistics.heaps_made, 1);
    for tier in [statistics.coroutine, statistics.thread, statistics.global] {
        assert_eq!((tier.blocks_allocated, tier.blocks_freed, tier.live_blocks()), (2, 0, 2));
        assert_eq!(tier.live_bytes, 201_000);
        assert!((201_000 - 65_536..=201_000).contains(&tier.peak_live_bytes));
    }
    // In place, in the heap and from outside, and by a move to another tier.
    assert_eq!(heap.enter(|| ledger.resize(inside[0], layout(900, 8), Way::Shrink)), Ok(inside[0]));
    assert_eq!(ALLOC.statistics().coroutine.live_bytes, 200_900);
    assert_eq!(ledger.resize(inside[1], layout(190_000, 8), Way::Shrink), Ok(inside[1]));
    assert_eq!(ALLOC.statistics().coroutine.live_bytes, 190_900);
    ALLOC.with_global(|| ledger.resize(inside[0], layout(2000, 8), Way::Grow)).unwrap();
    let statistics = ALLOC.statistics();
    assert_eq!((statistics.coroutine.live_bytes, statistics.coroutine.live_blocks()), (190_000, 1));
    assert_eq!((statistics.global.live_bytes, statistics.global.live_blocks()), (203_000, 3));
    drop(heap);
    assert_eq!((ALLOC.statistics().escaped_blocks, ALLOC.statistics().escaped_bytes), (1, 190_000));
    std::thread::scope(|scope| scope.spawn(|| ledger.free_all()).join().unwrap());
    let statistics = ALLOC.statistics();
    for tier in [statistics.coroutine, statistics.thread, statistics.global] {
        assert_eq!((tier.blocks_allocated, tier.live_blocks(), tier.live_bytes), (tier.blocks_freed, 0, 0));
    }
    ALLOC.reset_peaks();
    assert_eq!(ALLOC.statistics().coroutine.peak_live_bytes, 0);
    assert_eq!((statistics.heaps_alive, statistics.orphans, statistics.orphans_made), (0, 0, 1));
}

/// A pool that is named once serves all that the declaration takes from the operating system, but
/// control blocks and the page map.
#[test]
fn a_pool_that_is_named_once() {
    use context_allocator::source::{OwnsRegions, Purge, RecordingSource, RunSource};
    use context_allocator::{Allocator, MmapSource};
    use std::ptr::NonNull;

    type Pool = RunSource<RecordingSource<MmapSource>>;
    static POOL: Pool =
        RunSource::for_static(&POOL, RecordingSource::new(MmapSource::new()), Purge::at_once());
    context_allocator::switchable_allocator!(
        /// With an attribute for both.
        #[cfg(all())]
        static POOLED from POOL: Pool
    );

    const SIZES: [usize; 5] = [1, 100, 5000, 100_000, 3 << 20];
    let blocks = |ledger: &mut Ledger<'_>| {
        for size in SIZES {
            let address = ledger.allocate(layout(size, 8)).expect("memory");
            assert!(POOL.source().owns(NonNull::from(&ledger.get(address).bytes()[0])), "{size}");
        }
    };
    std::thread::spawn(move || {
        let heap = POOLED.heap().expect("memory for a heap");
        let mut ledger = Ledger::new(&POOLED);
        blocks(&mut ledger);
        heap.enter(|| blocks(&mut ledger));
        ledger.free_all();
    })
    .join()
    .expect("no check failed");
    let global = POOLED.with_global(|| POOLED.allocate(layout(100, 8))).expect("memory");
    assert!(!POOL.source().owns(global.cast()), "the global tier is the system's");
    // SAFETY: Just allocated with this layout, and not used again.
    unsafe { POOLED.deallocate(global.cast(), layout(100, 8)) };
}
