//! Blocks of other threads' heaps that a thread keeps back: how many, and when it sends them.

use std::alloc::System;
use std::sync::mpsc;
use std::thread;

use crate::support::layout;
use crate::support::ledger::{Ledger, Taking};
use context_allocator::alloc::SizeClassAllocator;
use context_allocator::switch::Declaration;
use context_allocator::{
    ArenaSource, Builder, BumpAllocator, MmapSource, SlabAllocator, SwitchableAllocator, Tiers,
};

type Contexts = BumpAllocator<ArenaSource<MmapSource>>;

/// A thread frees blocks of a heap whose thread ended, and after each of the steps others look how
/// many are not counted as freed.
fn sends<D: Declaration>(allocator: &'static SwitchableAllocator<D>) {
    let (to_other, work) = mpsc::sync_channel::<Box<dyn FnOnce(&mut Ledger<'_>) + Send>>(0);
    thread::scope(|scope| {
        let (done, is_done) = mpsc::channel();
        let other = scope.spawn(move || {
            let mut ledger = Ledger::new(allocator);
            for job in work {
                job(&mut ledger);
                done.send(()).unwrap();
            }
            ledger.free_all();
        });
        let step = |job| {
            to_other.send(job).unwrap();
            is_done.recv().unwrap();
            allocator.statistics().parked_blocks
        };
        // It has a heap of its own.
        step(Box::new(|ledger| {
            ledger.allocate(layout(100, 8)).expect("memory");
        }));
        let blocks = |count| {
            let mut ledger = Ledger::new(allocator);
            for _ in 0..count {
                ledger.allocate(layout(100, 8)).expect("memory");
            }
            ledger.take_all()
        };
        let mut held = thread::scope(|scope| scope.spawn(|| blocks(200)).join().unwrap());
        assert_eq!(allocator.statistics().parked_blocks, 200);
        let mut free = |count| {
            let some: Vec<_> = held.drain(..count).collect();
            step(Box::new(move |ledger| some.iter().for_each(|held| ledger.free_as(held, 100))))
        };
        assert_eq!(free(10), 200, "kept back");
        assert_eq!(free(60), 136, "a batch of 64 was sent, and 6 are kept back");
        let after_a_need = step(Box::new(|ledger| {
            for number in 0..1000 {
                ledger.allocate(layout(100 + number, 8)).expect("memory");
            }
        }));
        assert_eq!(after_a_need, 130, "all are sent when the thread needs memory");
        assert_eq!(free(5), 130);
        drop(to_other);
        // A scope does not wait for the destructors of keys, joining does.
        other.join().unwrap();
    });
}

#[test]
fn with_slabs() {
    context_allocator::switchable_allocator!(
        static ALLOC: Tiers<Contexts, SlabAllocator<MmapSource>, System> = Builder::new()
            .coroutine_tier(BumpAllocator::new(ArenaSource::new(MmapSource::new())))
            .thread_tier(SlabAllocator::new(MmapSource::new()))
            .global_tier(System)
            .build()
    );
    sends(&ALLOC);
    // What was kept back when the thread ended was sent.
    assert_eq!(ALLOC.statistics().thread_blocks, 125);
}

#[test]
fn with_size_classes() {
    type Threads = SizeClassAllocator<ArenaSource<MmapSource>>;
    context_allocator::switchable_allocator!(
        static ALLOC: Tiers<Contexts, Threads, System> = Builder::new()
            .coroutine_tier(BumpAllocator::new(ArenaSource::new(MmapSource::new())))
            .thread_tier(SizeClassAllocator::new(ArenaSource::new(MmapSource::new())))
            .global_tier(System)
            .build()
    );
    sends(&ALLOC);
    assert_eq!(ALLOC.statistics().thread_blocks, 125);
}
