//! Figures are exact while other threads rest: what a resting thread has counted and not added to
//! the totals is in them.

#![cfg(feature = "std")]

use std::hint::black_box;
use std::sync::Barrier;

use context_allocator::switch::{CountingPolicy, RecommendedTiers, Statistics, recommended_tiers};

context_allocator::global_thread_and_coroutine_switchable_allocator!(
    static ALLOC: RecommendedTiers<CountingPolicy> = recommended_tiers::<CountingPolicy>()
);

const HEAPS: u64 = 100_000;
const WORKERS: u64 = 3;

fn check(before: &Statistics, after: &Statistics, kept: usize) {
    assert_eq!(after.heaps_made - before.heaps_made, WORKERS * HEAPS);
    let (old, new) = (&before.coroutine, &after.coroutine);
    assert_eq!(new.blocks_allocated - old.blocks_allocated, WORKERS * (HEAPS + 1));
    assert_eq!(new.blocks_freed - old.blocks_freed, WORKERS * HEAPS);
    assert_eq!(new.live_bytes - old.live_bytes, kept * WORKERS as usize);
    assert_eq!(new.live_blocks() - old.live_blocks(), WORKERS);
    assert!(new.peak_live_bytes >= new.live_bytes);
    assert_eq!(after.heaps_alive - before.heaps_alive, WORKERS as usize);
}

#[test]
fn figures_are_exact_while_threads_rest() {
    let barrier = Barrier::new(WORKERS as usize + 1);
    let before = ALLOC.statistics();
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                for _ in 1..HEAPS {
                    let heap = ALLOC.heap().expect("memory for a heap");
                    heap.enter(|| drop(black_box(String::from("a request"))));
                }
                let heap = ALLOC.heap().expect("memory for a heap");
                heap.enter(|| drop(black_box(String::from("a request"))));
                let kept = heap.enter(|| black_box(vec![1_u8; 100]));
                barrier.wait();
                // At rest: somebody else reads the figures.
                barrier.wait();
                drop(kept);
                drop(heap);
            });
        }
        barrier.wait();
        let after = ALLOC.statistics();
        check(&before, &after, 100);
        // A child of a fork has the figures of the threads that it has not.
        // SAFETY: The child reads figures and ends.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let inherited = ALLOC.statistics();
            let same = inherited.heaps_made == after.heaps_made
                && inherited.coroutine.blocks_allocated == after.coroutine.blocks_allocated
                && inherited.coroutine.live_bytes == after.coroutine.live_bytes;
            // SAFETY: Always callable.
            unsafe { libc::_exit(i32::from(!same)) };
        }
        let mut status = 0;
        // SAFETY: The status is writable.
        unsafe { libc::waitpid(child, &raw mut status, 0) };
        assert_eq!(status, 0, "the child has other figures");
        barrier.wait();
    });
    let ended = ALLOC.statistics();
    assert_eq!(ended.heaps_made - before.heaps_made, WORKERS * HEAPS);
    assert_eq!(ended.coroutine.live_blocks(), before.coroutine.live_blocks());
    assert_eq!(ended.coroutine.live_bytes, before.coroutine.live_bytes);
}
