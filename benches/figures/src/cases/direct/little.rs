//! Few blocks in a region of 2 MiB: one allocated and freed again and again, and 1,000 of random
//! sizes, replaced at random.

use std::alloc::Layout;

use super::{Direct, give, over_region, take};
use crate::block::{layout_of, random_layouts};
use crate::cases::Case;
use crate::stopwatch;

const REGION: usize = 2 << 20;
const LIVE: usize = 1_000;

fn pairs<D: Direct>(iterations: u64) {
    let layout = layout_of(64, 8);
    over_region::<D, _>(REGION, |allocator| {
        stopwatch::timed(|| {
            for _ in 0..iterations {
                let block = take(allocator, layout).expect("room");
                // SAFETY: It is live, and not used again.
                unsafe { give(allocator, block) };
            }
        });
    });
}

fn churn<D: Direct>(iterations: u64) {
    let mut random = fastrand::Rng::with_seed(1);
    let layouts: [Layout; 1024] = random_layouts(&mut random, 16..=256);
    over_region::<D, _>(REGION, |allocator| {
        let mut live: Vec<_> =
            (0..LIVE).map(|_| take(allocator, layouts[random.usize(..1024)]).expect("room")).collect();
        let mut replace = |times: u64| {
            for _ in 0..times {
                let place = random.usize(..LIVE);
                // SAFETY: The block is live, and its place is taken by the next.
                unsafe { give(allocator, live[place]) };
                live[place] = take(allocator, layouts[random.usize(..1024)]).expect("room");
            }
        };
        // As after a while.
        replace(4 * LIVE as u64);
        stopwatch::timed(|| replace(iterations));
    });
}

/// The cases.
pub fn cases<D: Direct>() -> Vec<Case> {
    vec![
        Case::new("direct, pair, 64 B", D::NAME, D::ROLE, pairs::<D>),
        Case::new("direct, churn, 1,000 live of 16 to 256 B", D::NAME, D::ROLE, churn::<D>),
    ]
}
