//! A panic in a heap with a small limit: the backtrace's symbols take tens of megabytes, under a
//! lock of the standard library.

#![forbid(unsafe_code)]

use context_allocator::switch::{RecommendedTiers, RefusingPolicy, recommended_tiers};
use std::panic::{AssertUnwindSafe, catch_unwind};

context_allocator::global_thread_and_coroutine_switchable_allocator!(
    static ALLOC: RecommendedTiers<RefusingPolicy> = recommended_tiers()
);

/// Fills the heap to its limit.
fn fill() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = Vec::new();
    all.try_reserve(10_000).expect("room for a list");
    for size in [100_000, 1000, 8] {
        loop {
            let mut block = Vec::new();
            if all.len() == all.capacity() || block.try_reserve_exact(size).is_err() {
                break;
            }
            all.push(block);
        }
    }
    all
}

fn main() {
    let limit: usize = std::env::args().nth(1).and_then(|limit| limit.parse().ok()).expect("a limit in MiB");
    // A plain panic, with a heap that has room; then one with a message, in a heap that has none.
    for full in [false, true] {
        let heap = ALLOC.heap_with_limit(limit << 20).expect("memory for a heap");
        let caught = catch_unwind(AssertUnwindSafe(|| {
            heap.enter(|| {
                let all = if full { fill() } else { Vec::new() };
                panic!("bad request: {} blocks", all.len());
            })
        }));
        let message = caught.expect_err("it panicked").downcast::<String>().expect("a message");
        assert!(message.starts_with("bad request"));
        drop(message);
        drop(heap);
    }
    let statistics = ALLOC.statistics();
    // The first words of the symbols' list may lie in the region that the heap had; the rest does
    // not.
    assert!(statistics.heap_bytes <= 256 << 10, "{statistics:?}");
    // After the panic the limit holds again.
    let heap = ALLOC.heap_with_limit(1 << 20).expect("memory for a heap");
    heap.enter(|| assert!(Vec::<u8>::new().try_reserve_exact(2 << 20).is_err()));
    println!("{} orphans hold {} bytes", statistics.orphans, statistics.heap_bytes);
}
