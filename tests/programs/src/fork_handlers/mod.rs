//! Another library's fork handlers allocate in all tiers, before and after each fork; or they wait
//! for a thread that allocates.

use std::hint::black_box;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

context_allocator::global_thread_and_coroutine_switchable_allocator!(static ALLOC);

unsafe extern "C" {
    fn set_on_fork(function: Option<extern "C" fn(i32)>);
}

static CALLS: AtomicUsize = AtomicUsize::new(0);
/// The lock of the other library, which it holds while it allocates, and around a fork.
static LOCK: AtomicBool = AtomicBool::new(false);
static WAITS: AtomicBool = AtomicBool::new(false);

fn lock() {
    while LOCK.compare_exchange(false, true, std::sync::atomic::Ordering::Acquire, Relaxed).is_err() {
        std::thread::yield_now();
    }
}

fn unlock() {
    LOCK.store(false, std::sync::atomic::Ordering::Release);
}

/// Allocates in all tiers, small and large, so that every lock is taken.
fn work(number: usize) {
    let words: Vec<String> =
        (0..40).map(|word| black_box(format!("{word:>width$}", width = 10 + number % 300))).collect();
    let large = black_box(vec![1_u8; 400_000 + number % 7 * 100_000]);
    let heaps: Vec<_> = (0..40).map(|_| ALLOC.heap().expect("memory for a heap")).collect();
    for heap in &heaps {
        heap.enter(|| drop(black_box(vec![number; 2000])));
    }
    ALLOC.with_global(|| drop(black_box(vec![2_u8; 1000])));
    drop((words, large, heaps));
    ALLOC.trim();
}

extern "C" fn on_fork(when: i32) {
    CALLS.fetch_add(1, Relaxed);
    if !WAITS.load(Relaxed) {
        work(when as usize);
    } else if when == 0 {
        lock();
    } else {
        unlock();
    }
}

pub fn main() {
    let waits = std::env::args().nth(1).expect("allocates or waits") == "waits";
    WAITS.store(waits, Relaxed);
    let stop = AtomicBool::new(false);
    // SAFETY: The function may be called from here on, on any thread.
    unsafe { set_on_fork(Some(on_fork)) };
    let done = Mutex::new(0_usize);
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let (stop, done) = (&stop, &done);
            scope.spawn(move || {
                let mut number = thread;
                while !stop.load(Relaxed) {
                    // Threads that come and go park and adopt heaps.
                    std::thread::scope(|inner| {
                        inner.spawn(|| {
                            if waits {
                                lock();
                            }
                            work(number);
                            if waits {
                                unlock();
                            }
                        });
                    });
                    number += 3;
                    *done.lock().unwrap() += 1;
                }
            });
        }
        for number in 0..150 {
            // SAFETY: The child allocates, frees and ends.
            let child = unsafe { libc::fork() };
            if child == 0 {
                work(number);
                // SAFETY: Always callable.
                unsafe { libc::_exit(0) };
            }
            let mut status = 0;
            // SAFETY: The status is writable.
            unsafe { libc::waitpid(child, &raw mut status, 0) };
            assert_eq!(status, 0, "the child failed");
        }
        stop.store(true, Relaxed);
    });
    println!("{} calls, {} threads", CALLS.load(Relaxed), done.lock().unwrap());
    assert_eq!(CALLS.load(Relaxed), 300, "the handlers are called twice for each fork in the parent");
}
