//! Requests served by coroutines with stacks of their own, which move between threads, each in a
//! heap of its own.
//!
//! ```console
//! cargo run --release --example coroutines -- 10000
//! ```
//!
//! Four threads take whichever coroutine is ready. A coroutine enters the heap of its request and
//! stays in it while it is suspended; the scheduler calls `ALLOC.switch` before it resumes a
//! coroutine and after it was suspended, so that what is current belongs to the coroutine and not
//! to the thread.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use context_allocator::switch::SavedContext;
use corosensei::{Coroutine, CoroutineResult, Yielder};

context_allocator::global_thread_and_coroutine_switchable_allocator!(static ALLOC);

const THREADS: usize = 4;
/// Coroutines that are there at a time.
const AT_ONCE: usize = 64;
/// The most that a request may hold.
const LIMIT: usize = 1 << 20;

/// Waits for something: another thread may go on.
type Wait = Yielder<(), ()>;

/// Reads a document in parts, waiting for each, and counts its words.
fn answer(request: usize, wait: &Wait) -> String {
    let mut words: Vec<String> = Vec::new();
    for part in 0..5 {
        let text = format!("part {part} of the document of request #{request}");
        wait.suspend(());
        words.extend(text.split(' ').map(String::from));
    }
    words.sort();
    words.dedup();
    format!("request {request}: {} words", words.len())
}

/// A coroutine, and what is current in it.
struct Task {
    coroutine: Coroutine<(), (), String>,
    context: SavedContext<ALLOC>,
}

// SAFETY: The coroutine captures a number, and what lies on its stack while it is suspended (a
// heap's handle, strings, a vector) may all be sent. A task is in one queue or with one thread.
unsafe impl Send for Task {}

impl Task {
    fn new(request: usize) -> Self {
        let coroutine = Coroutine::new(move |wait: &Wait, ()| {
            let heap = ALLOC.heap_with_limit(LIMIT).expect("memory for a heap");
            let answer = heap.enter(|| {
                let answer = answer(request, wait);
                // The answer outlives the request, so it should not keep the heap's memory.
                ALLOC.with_thread(|| answer.clone())
            });
            let statistics = heap.statistics();
            assert_eq!(statistics.live_blocks, 0, "a block escaped: {statistics:?}");
            answer
        });
        Self { coroutine, context: SavedContext::default() }
    }

    /// Resumes the coroutine in its own context; the answer, if that was the end.
    fn resume(&mut self) -> Option<String> {
        let host = ALLOC.switch(std::mem::take(&mut self.context));
        let result = self.coroutine.resume(());
        self.context = ALLOC.switch(host);
        match result {
            CoroutineResult::Yield(()) => None,
            CoroutineResult::Return(answer) => Some(answer),
        }
    }
}

/// A thread: resumes whatever is ready until all requests are answered.
fn serve(
    ready: &Mutex<VecDeque<Task>>,
    started: &AtomicUsize,
    answered: &AtomicUsize,
    requests: usize,
) -> usize {
    let mut resumed = 0;
    while answered.load(Relaxed) < requests {
        let task = ready.lock().expect("no thread panicked").pop_front();
        let mut task = match task {
            Some(task) => task,
            None => {
                std::thread::yield_now();
                continue;
            }
        };
        resumed += 1;
        let next = match task.resume() {
            None => Some(task),
            Some(answer) => {
                assert!(answer.ends_with("11 words"), "{answer}");
                answered.fetch_add(1, Relaxed);
                let request = started.fetch_add(1, Relaxed);
                (request < requests).then(|| Task::new(request))
            }
        };
        if let Some(task) = next {
            ready.lock().expect("no thread panicked").push_back(task);
        }
    }
    resumed
}

fn main() {
    let requests: usize = match std::env::args().nth(1).map(|number| number.parse()) {
        None => 10_000,
        Some(Ok(number)) if number > 0 => number,
        Some(_) => {
            eprintln!("coroutines: the argument is a number of requests, at least 1");
            std::process::exit(2);
        }
    };
    let at_once = AT_ONCE.min(requests);
    let ready = Mutex::new((0..at_once).map(Task::new).collect());
    let (started, answered) = (AtomicUsize::new(at_once), AtomicUsize::new(0));
    let resumed: usize = std::thread::scope(|scope| {
        let serve = || serve(&ready, &started, &answered, requests);
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(serve)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no thread panicked")).sum()
    });
    drop(ready);
    let statistics = ALLOC.statistics();
    println!("{requests} requests answered, coroutines resumed {resumed} times on {THREADS} threads");
    println!("heaps alive: {}, orphans: {}", statistics.heaps_alive, statistics.orphans);
}
