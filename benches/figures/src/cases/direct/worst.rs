//! The slowest single allocation.

use std::time::{Duration, Instant};

use super::{Direct, fill, give, over_region, take, thin};
use crate::block::layout_of;
use crate::cases::Case;
use crate::stopwatch;

const BLOCK: usize = 64;
const REGION: usize = 262_144 * BLOCK;
/// Allocations that are looked at one by one.
const ALLOCATIONS: usize = 4096;
/// How often each is done: the fastest time of each counts, since the machine may have disturbed
/// the others.
const ROUNDS: usize = 30;

/// Allocates the last free blocks of a region that is almost full: each of them is timed by itself,
/// in rounds that do the same, and the slowest of the allocations counts. What reading the clock
/// takes is subtracted.
fn worst<D: Direct>(iterations: u64) {
    let layout = layout_of(BLOCK, 8);
    over_region::<D, _>(REGION, |allocator| {
        let mut random = fastrand::Rng::with_seed(1);
        let mut live = fill(allocator, || layout);
        random.shuffle(&mut live);
        let left = live.len() - ALLOCATIONS;
        let mut fastest = vec![Duration::MAX; ALLOCATIONS];
        let mut clock = Duration::MAX;
        for _ in 0..ROUNDS {
            thin(allocator, &mut live, left, &mut random);
            for fastest in &mut fastest {
                let start = Instant::now();
                let block = take(allocator, layout);
                *fastest = start.elapsed().min(*fastest);
                live.push(block.expect("as many were live before"));
                let start = Instant::now();
                clock = start.elapsed().min(clock);
            }
        }
        for block in live.drain(..) {
            // SAFETY: Each is live, and given back once.
            unsafe { give(allocator, block) };
        }
        let slowest = fastest.iter().max().copied().unwrap_or_default();
        // Of nothing, the harness would never have enough.
        let slowest = slowest.saturating_sub(clock).max(Duration::from_nanos(1));
        stopwatch::report(slowest * u32::try_from(iterations).unwrap_or(u32::MAX));
    });
}

/// The case.
pub fn case<D: Direct>() -> Case {
    Case::new("direct, slowest of 4,096 allocations, 262,144 blocks", D::NAME, D::ROLE, worst::<D>)
        .of_blocks(1000)
        .only_timed()
}
