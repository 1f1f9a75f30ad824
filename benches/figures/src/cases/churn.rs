//! Live blocks of sizes from a range, of which one after the other is replaced at random.

use std::alloc::Layout;

use super::{Case, Tier};
use crate::block::{Live, random_layouts};
use crate::stopwatch;

fn churn<T: Tier, const LIVE: usize, const LEAST: usize, const MOST: usize>(iterations: u64) {
    let mut random = fastrand::Rng::with_seed(1);
    // Drawn before the clock runs.
    let layouts: [Layout; 4096] = random_layouts(&mut random, LEAST..=MOST);
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
    if !T::LASTING {
        return Vec::new();
    }
    let case = |name, run| Case::new(name, T::NAME, T::ROLE, run);
    let few = [1, 2, 4].map(|threads| {
        case("churn, 10,000 live of 16 to 4096 B", churn::<T, 10_000, 16, 4096>).on_threads(threads)
    });
    // More slabs than a thread can know at a time.
    let many = [
        case("churn, 500,000 live of 64 B", churn::<T, 500_000, 64, 64>).only_counted(),
        case("churn, 500,000 live of 16 to 512 B", churn::<T, 500_000, 16, 512>).only_counted(),
    ];
    few.into_iter().chain(many).collect()
}
