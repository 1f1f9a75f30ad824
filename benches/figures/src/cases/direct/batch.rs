//! Ten thousand blocks of 64 bytes allocated, then all of them freed: first the first, first the
//! last, or at random.

use super::{Direct, give, over_region, take};
use crate::block::layout_of;
use crate::cases::Case;
use crate::stopwatch;

const BLOCK: usize = 64;
const BLOCKS: usize = 10_000;
const REGION: usize = 2 << 20;

/// Puts the numbers of the blocks in the order in which they are freed.
type Order = fn(&mut [usize]);

/// An iteration is one block, allocated and freed.
fn batches<D: Direct>(iterations: u64, order: Order) {
    let layout = layout_of(BLOCK, 8);
    let mut numbers: Vec<_> = (0..BLOCKS).collect();
    order(&mut numbers);
    over_region::<D, _>(REGION, |allocator| {
        let mut live = Vec::with_capacity(BLOCKS);
        let mut batch = || {
            live.extend((0..BLOCKS).map(|_| take(allocator, layout).expect("room")));
            for &number in &numbers {
                // SAFETY: The block was just allocated, and each number occurs once.
                unsafe { give(allocator, live[number]) };
            }
            live.clear();
        };
        // As after a while.
        batch();
        stopwatch::timed(|| (0..iterations.div_ceil(BLOCKS as u64)).for_each(|_| batch()));
    });
}

/// The cases.
pub fn cases<D: Direct>() -> Vec<Case> {
    let case = |order: &str, run| {
        let name = format!("direct, batch of 10,000 of 64 B, freed {order}");
        Case::new(name, D::NAME, D::ROLE, run).in_batches(BLOCKS as u64)
    };
    vec![
        case("first in first out", |iterations| batches::<D>(iterations, |_| ())),
        case("last in first out", |iterations| batches::<D>(iterations, |numbers| numbers.reverse())),
        case("at random", |iterations| {
            batches::<D>(iterations, |numbers| fastrand::Rng::with_seed(1).shuffle(numbers));
        }),
    ]
}
