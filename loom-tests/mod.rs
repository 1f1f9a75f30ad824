//! Loom models of the protocols that threads share.
//!
//! A model runs a few threads on the crate's own code in every interleaving that loom finds, with
//! every value that the memory model lets a load return. It fails if memory is accessed without
//! order, and if at the end some block is not accounted for exactly once: see
//! [`Place`](ground::Place) and [`Ground`](ground::Ground).
//!
//! The switch needs a static and thread-locals, which loom cannot make anew for each interleaving.
//! So its models call the functions that touch what threads share (entering, leaving, dropping a
//! handle, returning and collecting blocks, sending a batch, retiring, parking, the hooks), in the
//! order in which the switch calls them; each such step is one function of the crate.
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test --release --lib --features collections loom_tests -- \
//!     --nocapture
//! ```
//!
//! prints each model with the number of interleavings explored. With `LOOM_LONG=1`, models of up to
//! three threads are explored without a bound on the preemptions, larger ones with a bound one
//! higher; those with a lock then take very long, so that `LOOM_MAX_DURATION` (seconds for each
//! model) should end them. `loom-tests/weaken.sh` shows that each ordering matters.

mod accounts;
mod arena;
mod balance;
#[cfg(feature = "collections")]
mod counts;
mod forks;
mod free_list;
mod ground;
mod handshake;
mod heap;
mod hooks;
mod lock;
mod locked;
mod page_map;
mod parking;
mod region;
mod remote;
mod returned;
mod runs;
mod sharded;
mod small_regions;

use std::boxed::Box;
use std::string::String;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use loom::model::Builder;
use loom::thread;

/// Explores the interleavings of a model of that many threads, the first one included, and prints
/// how many there were.
fn explore(name: &str, threads: usize, model: impl Fn() + Send + Sync + 'static) {
    let long = std::env::var_os("LOOM_LONG").is_some();
    let mut builder = Builder::new();
    builder.max_threads = threads;
    builder.max_branches = 10_000;
    builder.preemption_bound = match (threads, long) {
        (..=3, true) => None,
        (..=3, false) => Some(4),
        (_, true) => Some(3),
        (_, false) => Some(2),
    };
    let explored = Arc::new(AtomicU64::new(0));
    let count = explored.clone();
    let start = Instant::now();
    builder.check(move || {
        count.fetch_add(1, Relaxed);
        model();
    });
    let (explored, time) = (explored.load(Relaxed), start.elapsed());
    let bound = match builder.preemption_bound {
        _ if builder.max_duration.is_some_and(|most| time >= most) => String::from("not finished"),
        Some(bound) => std::format!("bound {bound}"),
        None => String::from("all"),
    };
    std::println!(
        "{name}: {explored} interleavings ({threads} threads, {bound}, {:.1} s)",
        time.as_secs_f32()
    );
}

/// Runs `main` and `others` at the same time on one value, each on a thread of its own, and returns
/// it when all have ended.
fn together<T: Sync + 'static, const OTHERS: usize>(value: T, main: fn(&T), others: [fn(&T); OTHERS]) -> T {
    struct Lent<T>(*const T);
    // SAFETY: `T: Sync`, and the threads only make shared references of it.
    unsafe impl<T: Sync> Send for Lent<T> {}

    let value = Box::into_raw(Box::new(value));
    let threads = others.map(|run| {
        let lent = Lent(value);
        thread::spawn(move || {
            let lent = lent;
            // SAFETY: The value lives until all threads were joined, and is not changed before but
            // through shared references.
            run(unsafe { &*lent.0 });
        })
    });
    // SAFETY: As above.
    main(unsafe { &*value });
    for thread in threads {
        thread.join().expect("loom reports a thread's panic itself");
    }
    // SAFETY: `into_raw` gave the pointer, and the threads that used it have ended.
    *unsafe { Box::from_raw(value) }
}
