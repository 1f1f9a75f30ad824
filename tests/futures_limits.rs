//! Tasks that allocate without end, beside others that do not notice: this library as the global
//! allocator under tokio.

#![cfg(feature = "std")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use context_allocator::switch::{FutureExt, HeapError};
use pending::once_pending;

#[path = "support/pending.rs"]
mod pending;

context_allocator::global_thread_and_coroutine_switchable_allocator!(static ALLOC);

const LIMIT: usize = 64 << 10;
const TASKS: usize = 10_000;
const NEIGHBOURS: usize = 100;

/// Allocates so many KiB, one at each poll.
async fn kibibytes(count: usize) -> usize {
    let mut all = Vec::new();
    for _ in 0..count {
        all.push(vec![1_u8; 1024]);
        once_pending().await;
    }
    all.len()
}

/// What a neighbour does again and again.
async fn request() -> usize {
    let words: Vec<String> = (0..100).map(|n| format!("word {n}")).collect();
    once_pending().await;
    words.iter().map(String::len).sum()
}

/// How long each request of a neighbour took, until it is told to stop.
async fn neighbour(stop: Arc<AtomicBool>) -> Vec<Duration> {
    let mut took = Vec::new();
    while !stop.load(Relaxed) {
        let start = Instant::now();
        let answer = request().in_heap_with(ALLOC.heap_options().limit(LIMIT)).await;
        took.push(start.elapsed());
        assert_eq!(answer, Ok(690));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    took
}

/// The 99th percentile of what 100 neighbours take while `beside` runs.
async fn p99_beside(beside: impl Future<Output = ()>) -> Duration {
    let stop = Arc::new(AtomicBool::new(false));
    let neighbours: Vec<_> = (0..NEIGHBOURS).map(|_| tokio::spawn(neighbour(Arc::clone(&stop)))).collect();
    beside.await;
    stop.store(true, Relaxed);
    let mut took = Vec::new();
    for neighbour in neighbours {
        took.extend(neighbour.await.unwrap());
    }
    took.sort_unstable();
    took[took.len() * 99 / 100]
}

/// Tasks in a row, each in a heap with that limit, of so many KiB; how many ended within it.
async fn in_a_row(count: usize) -> usize {
    let mut within = 0;
    for _ in 0..TASKS {
        let options = ALLOC.heap_options().limit(LIMIT);
        match ALLOC.spawn_in_with(options, kibibytes(count), tokio::spawn).await.unwrap() {
            Ok(all) => {
                assert_eq!(all, count);
                within += 1;
            }
            Err(HeapError::LimitExceeded(error)) => {
                // One poll allocates 1 KiB, or moves the list of them.
                assert!(error.held <= LIMIT + error.requested, "{error}");
                assert!(error.requested <= 4096, "{error}");
            }
            Err(error) => panic!("{error}"),
        }
    }
    within
}

fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("its resident memory");
    line.split_whitespace().nth(1).expect("a number").parse::<usize>().expect("a number") * 1024
}

#[test]
fn ten_thousand_runaways_are_stopped_and_nobody_notices() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        // Everything has run once.
        in_a_row(usize::MAX).await;
        ALLOC.trim();
        let before = resident();
        assert_eq!(in_a_row(usize::MAX).await, 0);
        ALLOC.trim();
        let after = resident();
        let (mut alone, mut behaved, mut runaways) = (Duration::MAX, Duration::MAX, Duration::MAX);
        for _ in 0..3 {
            alone = alone.min(p99_beside(tokio::time::sleep(Duration::from_millis(500))).await);
            behaved = behaved.min(p99_beside(async { assert_eq!(in_a_row(40).await, TASKS) }).await);
            runaways = runaways.min(p99_beside(async { assert_eq!(in_a_row(usize::MAX).await, 0) }).await);
        }
        println!(
            "{TASKS} runaways: resident {} KiB before, {} KiB after; p99 of {NEIGHBOURS} neighbours: \
             {alone:?} alone, {behaved:?} beside {TASKS} tasks within their limits, {runaways:?} beside \
             {TASKS} runaways",
            before >> 10,
            after >> 10,
        );
        // Loosely: others use the processors too.
        assert!(runaways < behaved * 5, "{runaways:?} beside runaways, {behaved:?} beside others");
        assert!(after < before + (512 << 10), "{before} bytes before, {after} after");
    });
    drop(runtime);
    let start = Instant::now();
    while ALLOC.statistics().orphans != 0 && start.elapsed() < Duration::from_secs(5) {
        std::thread::yield_now();
    }
    assert_eq!((ALLOC.statistics().orphans, ALLOC.heaps().len()), (0, 0));
}
