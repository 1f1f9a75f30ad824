//! With nightly's hook for allocations that fail, a request that a limit refuses unwinds: the task
//! ends, the process goes on. A program of its own, since the hook is the process's.

#![cfg(feature = "nightly")]
#![feature(alloc_error_hook)]

use std::alloc::{Layout, set_alloc_error_hook};
use std::panic::{AssertUnwindSafe, catch_unwind};

use context_allocator::switch::{Owner, RecommendedTiers, RefusingPolicy, recommended_tiers};

context_allocator::global_thread_and_coroutine_switchable_allocator!(
    static ALLOC: RecommendedTiers<RefusingPolicy> = recommended_tiers()
);

fn unwind_in_heaps(layout: Layout) {
    if matches!(ALLOC.current(), Owner::Heap(_)) {
        panic!("the heap's limit leaves no room for {} bytes", layout.size());
    }
}

#[test]
fn a_refused_push_unwinds_and_nothing_is_lost() {
    set_alloc_error_hook(unwind_in_heaps);
    for round in 0..100 {
        let heap = ALLOC.heap_with_limit(1 << 20).expect("memory for a heap");
        let endless = || -> usize {
            let mut lines = Vec::new();
            loop {
                lines.push(format!("line {} of round {round}", lines.len()));
            }
        };
        let panic = catch_unwind(AssertUnwindSafe(|| heap.enter(endless))).unwrap_err();
        let message = panic.downcast_ref::<String>().expect("the hook's message");
        assert!(message.starts_with("the heap's limit leaves no room for"), "{message}");
        assert!(heap.statistics().held_bytes <= 1 << 20);
        // What the panic made is elsewhere or goes with it; the heap serves what has room.
        drop(panic);
        assert_eq!(heap.enter(|| vec![round; 10].len()), 10);
    }
    // The first panic makes lists of the process: of symbols, and of what the test harness
    // captures.
    assert!(ALLOC.statistics().orphans <= 1);
}
