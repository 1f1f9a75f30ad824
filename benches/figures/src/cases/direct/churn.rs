//! Blocks of random sizes, replaced at random.

use std::alloc::Layout;

use super::{Direct, give, over_region, take};
use crate::block::layout_of;
use crate::cases::Case;
use crate::stopwatch;

/// Frees a random block and allocates one of another size, from 16 to `LARGEST` bytes, with `LIVE`
/// live in a region of `MIB` MiB.
fn churn<D: Direct, const LIVE: usize, const LARGEST: usize, const MIB: usize>(iterations: u64) {
    over_region::<D, _>(MIB << 20, |allocator| {
        let mut random = fastrand::Rng::with_seed(1);
        // Drawn before the clock runs.
        let layouts: Vec<Layout> = (0..4096).map(|_| layout_of(random.usize(16..=LARGEST), 8)).collect();
        let mut live: Vec<_> =
            (0..LIVE).map(|_| take(allocator, layouts[random.usize(..4096)]).expect("room")).collect();
        let mut replace = |times: usize| {
            for _ in 0..times {
                let place = random.usize(..LIVE);
                // SAFETY: The block is live, and its place is taken by the next.
                unsafe { give(allocator, live[place]) };
                live[place] = take(allocator, layouts[random.usize(..4096)]).expect("room");
            }
        };
        // As after a while.
        replace(2 * LIVE);
        stopwatch::timed(|| replace(iterations as usize));
    });
}

/// The cases.
pub fn cases<D: Direct>() -> Vec<Case> {
    let case = |name: &str, run| Case::new(name, D::NAME, D::ROLE, run).of_blocks(4);
    vec![
        case("direct, churn, 10,000 live of 16 to 4096 B", churn::<D, 10_000, 4096, 64>),
        case("direct, churn, 100,000 live of 16 to 256 B", churn::<D, 100_000, 256, 512>).only_counted(),
        case("direct, churn, 1,000,000 live of 16 to 256 B", churn::<D, 1_000_000, 256, 512>).only_counted(),
    ]
}
