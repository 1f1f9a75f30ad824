//! Ten thousand live blocks of 16 to 4096 bytes, of which one after the other is replaced at
//! random.

use std::alloc::Layout;

use super::{Case, Tier};
use crate::block::{Live, random_layouts};
use crate::stopwatch;

const LIVE: usize = 10_000;

fn churn<T: Tier>(iterations: u64) {
    let mut random = fastrand::Rng::with_seed(1);
    // Drawn before the clock runs.
    let layouts: [Layout; 4096] = random_layouts(&mut random, 16..=4096);
    let mut live: Vec<Live> = Vec::with_capacity(LIVE);
    T::within(|| {
        live.extend((0..LIVE).map(|_| Live::take(layouts[random.usize(..4096)])));
        let mut replace = |times: u64| {
            for _ in 0..times {
                let place = &mut live[random.usize(..LIVE)];
                // SAFETY: The block is live, and its place is taken by the next.
                unsafe { place.give() };
                *place = Live::take(layouts[random.usize(..4096)]);
            }
        };
        // As after a while.
        replace(2 * LIVE as u64);
        stopwatch::timed(|| replace(iterations));
        for block in &live {
            // SAFETY: Each is live, and not used again.
            unsafe { block.give() };
        }
    });
}

/// The cases; none where blocks are not to come and go for long.
pub fn cases<T: Tier>() -> Vec<Case> {
    let case = |threads| {
        let name = "churn, 10,000 live of 16 to 4096 B";
        Case::new(name, T::NAME, T::ROLE, churn::<T>).on_threads(threads)
    };
    if T::LASTING { [1, 2, 4].map(case).into() } else { Vec::new() }
}
