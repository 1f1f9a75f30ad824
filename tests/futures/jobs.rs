//! Jobs of a pool that runs others while it waits.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use rayon::prelude::*;

use crate::*;

/// Jobs that belong to nobody, spawned on the pool; how many of them ran inside a heap.
fn unrelated(pool: &rayon::ThreadPool, inside: &'static AtomicUsize, jobs: usize) {
    for _ in 0..jobs {
        pool.spawn(move || {
            std::hint::black_box(vec![1_u8; 100]);
            if current().is_some() {
                inside.fetch_add(1, SeqCst);
            }
        });
    }
}

fn sum(from: u64, to: u64) -> u64 {
    if to - from < 100 {
        std::thread::sleep(Duration::from_micros(20));
        return (from..to).sum();
    }
    let middle = from.midpoint(to);
    let (low, high) = rayon::join(|| sum(from, middle), || sum(middle, to));
    low + high
}

#[test]
fn no_unrelated_job_runs_in_a_heap_that_waits_outside() {
    alone(|| {
        static INSIDE: AtomicUsize = AtomicUsize::new(0);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        for way in 0..3 {
            let (heap, pool) = (heap(), &pool);
            let id = heap.id();
            pool.install(move || {
                unrelated(pool, &INSIDE, 100);
                heap.enter(|| {
                    let kept = vec![1_u64, 2, 3];
                    let total = ALLOC.outside(|| {
                        assert_eq!(current(), None);
                        unrelated(pool, &INSIDE, 100);
                        match way {
                            0 => sum(0, 10_000),
                            1 => (0..10_000_u32).into_par_iter().with_max_len(10).map(u64::from).sum(),
                            _ => {
                                let total = AtomicUsize::new(0);
                                rayon::scope(|scope| {
                                    for part in 0..100 {
                                        let total = &total;
                                        scope.spawn(move |_| {
                                            let part: u64 = (part * 100..(part + 1) * 100).sum();
                                            total.fetch_add(part as usize, SeqCst);
                                        });
                                    }
                                });
                                total.into_inner() as u64
                            }
                        }
                    });
                    assert_eq!(total, 49_995_000);
                    assert_eq!(current(), Some(id), "the heap is current again");
                    assert_eq!(ALLOC.owner_of(kept.as_slice()), Owner::Heap(id));
                });
                assert_eq!(heap.statistics().live_blocks, 0);
            });
        }
        drop(pool);
        assert_eq!(INSIDE.load(SeqCst), 0);
    });
}

// Not the global allocator, so that the pool leaves nothing in its heaps.
context_allocator::switchable_allocator!(static OTHER);

/// One of two threads waits for the other, which waits for 200 jobs of nobody: so the first runs
/// all of them meanwhile. How many ran in its heap.
fn run_while_waiting(wait: impl FnOnce(&(dyn Fn() + Sync)) + Send) -> usize {
    const JOBS: usize = 200;
    let (begun, run, inside) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let until = |done: &dyn Fn() -> bool| {
        while !done() {
            std::thread::yield_now();
        }
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    let heap = OTHER.heap().expect("memory for a heap");
    std::thread::scope(|threads| {
        threads.spawn(|| {
            until(&|| begun.load(SeqCst));
            pool.scope(|scope| {
                for _ in 0..JOBS {
                    scope.spawn(|_| {
                        inside.fetch_add(usize::from(OTHER.current() != Owner::Thread), SeqCst);
                        run.fetch_add(1, SeqCst);
                    });
                }
            });
        });
        let join = || {
            let this = || until(&|| begun.load(SeqCst));
            let other = || {
                begun.store(true, SeqCst);
                until(&|| run.load(SeqCst) == JOBS);
            };
            rayon::join(this, other);
        };
        pool.install(move || heap.enter(|| wait(&join)));
    });
    inside.into_inner()
}

#[test]
fn jobs_of_nobody_run_in_a_heap_unless_it_waits_outside() {
    let inside = run_while_waiting(|join| join());
    assert!(inside > 100, "the test finds what it looks for: {inside} of 200");
    assert_eq!(run_while_waiting(|join| OTHER.outside(join)), 0);
}

/// The same with a panic in what is waited for.
#[test]
fn a_panic_outside_comes_back_into_the_heap() {
    alone(|| {
        let heap = heap();
        heap.enter(|| {
            assert!(panics(|| ALLOC.outside(|| rayon::join(|| (), || panic!("as it should")))));
            assert_eq!(current(), Some(heap.id()));
        });
    });
}
