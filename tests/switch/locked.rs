//! `Locked` over size classes in the global tier: all three tiers are from this library.

use std::thread;

use crate::support::layout;
use crate::support::ledger::{Held, Ledger, Taking, Way};
use context_allocator::adapt::AllocatorAdaptor;
use context_allocator::alloc::{LocalAllocator, SizeClassAllocator};
use context_allocator::{ArenaSource, Builder, BumpAllocator, Locked, MmapSource, Tiers};

type CoroutineTier = BumpAllocator<ArenaSource<MmapSource>>;
type ThreadTier = SizeClassAllocator<ArenaSource<MmapSource>>;
type GlobalTier = Locked<SizeClassAllocator<MmapSource>>;

// Size classes behind the lock: what they do not serve, the global tier does not.
context_allocator::switchable_allocator!(
    static CLASSES: Tiers<CoroutineTier, ThreadTier, AllocatorAdaptor<GlobalTier>> = Builder::new()
        .coroutine_tier(BumpAllocator::new(ArenaSource::new(MmapSource::new())))
        .thread_tier(SizeClassAllocator::new(ArenaSource::new(MmapSource::new())))
        .global_tier_allocator(Locked::new(SizeClassAllocator::new(MmapSource::new())))
        .build();
);

/// Blocks of all three tiers, freed by another thread than theirs, which ended.
#[test]
fn size_classes_behind_a_lock() {
    let largest = SizeClassAllocator::<MmapSource>::LARGEST;
    let sizes = [1, 16, 100, 3000, largest];
    let blocks = thread::spawn(move || {
        let heap = CLASSES.heap().expect("memory for a heap");
        let mut ledger = Ledger::new(&CLASSES);
        for _ in 0..100 {
            for size in sizes {
                let mut allocate = || ledger.allocate(layout(size, 8)).expect("each tier serves this");
                CLASSES.with_thread(&mut allocate);
                CLASSES.with_global(&mut allocate);
                heap.enter(allocate);
            }
        }
        let beyond = layout(largest + 1, 8);
        CLASSES.with_thread(|| ledger.allocate(beyond)).expect("a thread has large blocks of its own");
        let refused = CLASSES.with_global(|| ledger.allocate(beyond));
        assert!(refused.is_err(), "nothing stands behind the classes: {refused:?}");
        ledger.take_all()
    });
    let mut ledger = Ledger::new(&CLASSES);
    blocks.join().expect("no check failed").into_iter().for_each(|held| ledger.put(held));
    let addresses: Vec<usize> = ledger.iter().map(Held::address).collect();
    for address in addresses.into_iter().step_by(3) {
        let old = ledger.get(address).layout();
        let grown = layout(old.size().min(largest / 2) * 2, 8);
        let way = if grown.size() < old.size() { Way::Shrink } else { Way::Grow };
        CLASSES.with_global(|| ledger.resize(address, grown, way)).expect("the global tier serves this");
    }
    ledger.free_all();
    assert_eq!(CLASSES.statistics().orphans, 0);
}
