//! Tasks, streams, bodies and services in heaps of their own, on tokio's executors, with this
//! library as the global allocator.

#![cfg(feature = "std")]

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use context_allocator::Heap;
use context_allocator::switch::{HeapId, Owner};
use pending::once_pending;

#[cfg(feature = "http-body")]
mod bodies;
mod jobs;
#[path = "../support/pending.rs"]
mod pending;
#[cfg(feature = "tower")]
mod services;
mod spawned;
#[cfg(feature = "futures")]
mod streams;
mod tasks;

context_allocator::global_thread_and_coroutine_switchable_allocator!(static ALLOC);

const LIMIT: usize = 64 << 10;

fn heap() -> Heap<ALLOC> {
    ALLOC.heap().expect("memory for a heap")
}

fn limited() -> Heap<ALLOC> {
    ALLOC.heap_with_limit(LIMIT).expect("memory for a heap")
}

/// Runs `test` while no other test runs, and checks afterwards that no heap is left: neither
/// orphans nor forgotten ones.
fn alone(test: impl FnOnce()) {
    static ONE: Mutex<()> = Mutex::new(());
    let _one: MutexGuard<'_, ()> = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let before = ALLOC.heaps().len();
    test();
    // Threads of a runtime that was shut down may free something still.
    let start = Instant::now();
    while ALLOC.heaps().len() > before && start.elapsed() < Duration::from_secs(5) {
        std::thread::yield_now();
    }
    assert_eq!(ALLOC.heaps().len(), before, "{:#?}", ALLOC.heaps());
    assert_eq!(ALLOC.current(), Owner::Thread);
}

fn on_threads(workers: usize, future: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_time()
        .build()
        .expect("a runtime");
    runtime.block_on(future);
}

/// The heap that is current.
fn current() -> Option<HeapId> {
    match ALLOC.current() {
        Owner::Heap(id) => Some(id),
        _ => None,
    }
}

/// Allocates without end, 1 KiB at each poll.
async fn runaway() {
    let mut all = Vec::new();
    loop {
        all.push(vec![1_u8; 1024]);
        once_pending().await;
    }
}

/// Notes what is current when it is dropped.
struct SeenAtDrop<'a>(&'a Cell<Option<HeapId>>);

impl Drop for SeenAtDrop<'_> {
    fn drop(&mut self) {
        self.0.set(current());
    }
}

fn panics<R>(f: impl FnOnce() -> R) -> bool {
    catch_unwind(AssertUnwindSafe(f)).is_err()
}
