//! Threads that replace blocks of a set at random for a while, then end and hand the set on to a
//! thread of the next generation: what a server does whose connections move between threads (P.
//! Larson and M. Krishnan, "Memory allocation for long-running server applications", 1998).

use std::alloc::Layout;
use std::sync::Mutex;
use std::thread;

use super::{Case, Tier};
use crate::block::{Live, random_layouts};
use crate::stopwatch;

/// Blocks in a set.
const LIVE: usize = 1_000;
/// Blocks that a thread replaces before it ends.
const GENERATION: u64 = 50_000;

/// Replaces blocks of the set at random.
fn replace(set: &mut [Live], layouts: &[Layout; 1024], times: u64, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..times {
        let place = &mut set[random.usize(..LIVE)];
        // SAFETY: The block is live, and its place is taken by the next.
        unsafe { place.give() };
        *place = Live::take(layouts[random.usize(..1024)]);
    }
}

fn larson<T: Tier, const THREADS: usize>(iterations: u64) {
    let layouts: [Layout; 1024] = random_layouts(&mut fastrand::Rng::with_seed(1), 16..=1024);
    let sets: [Mutex<Vec<Live>>; THREADS] = std::array::from_fn(|_| {
        Mutex::new(T::within(|| (0..LIVE).map(|index| Live::take(layouts[index])).collect()))
    });
    stopwatch::timed(|| {
        for generation in 0..iterations.div_ceil(GENERATION) {
            thread::scope(|scope| {
                for number in 0..THREADS {
                    // The set that another thread had before.
                    let set = &sets[(number + generation as usize) % THREADS];
                    let (layouts, seed) = (&layouts, generation * THREADS as u64 + number as u64);
                    scope.spawn(move || {
                        let mut set = set.lock().expect("no thread panicked");
                        let times = GENERATION.min(iterations - generation * GENERATION);
                        T::within(|| replace(&mut set, layouts, times, seed));
                    });
                }
            });
        }
    });
    for set in sets {
        for block in set.into_inner().expect("no thread panicked") {
            // SAFETY: It is live, and not used again.
            unsafe { block.give() };
        }
    }
}

/// The cases; none where blocks are not to come and go for long.
pub fn cases<T: Tier>() -> Vec<Case> {
    let case = |threads, run| {
        let name = "larson, 1,000 live of 16 to 1024 B for each thread";
        Case::new(name, T::NAME, T::ROLE, run).starting_threads(threads).only_timed()
    };
    if !T::LASTING {
        return Vec::new();
    }
    vec![case(1, larson::<T, 1>), case(2, larson::<T, 2>), case(4, larson::<T, 4>)]
}
