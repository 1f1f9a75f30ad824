//! Ten thousand blocks allocated, then all of them freed: first the first, first the last, or at
//! random.

use std::ptr::NonNull;

use super::{Case, Tier};
use crate::block::{give, layout, take};
use crate::stopwatch;

const SIZE: usize = 64;
const BLOCKS: usize = 10_000;

/// In which order blocks are freed.
type Order = fn() -> Vec<u32>;

fn fifo() -> Vec<u32> {
    (0..BLOCKS as u32).collect()
}

fn lifo() -> Vec<u32> {
    (0..BLOCKS as u32).rev().collect()
}

fn random() -> Vec<u32> {
    let mut order = fifo();
    fastrand::Rng::with_seed(1).shuffle(&mut order);
    order
}

/// An iteration is one block, allocated and freed; each batch is a context.
fn batches<T: Tier>(iterations: u64, order: Order) {
    let order = order();
    let mut blocks = vec![NonNull::dangling(); BLOCKS];
    let layout = const { layout::<SIZE>() };
    stopwatch::timed(|| {
        for _ in 0..iterations.div_ceil(BLOCKS as u64) {
            T::within(|| {
                for block in &mut blocks {
                    *block = take(layout);
                }
                for &place in &order {
                    // SAFETY: `take` gave it with this layout, and each place occurs once in the
                    // order.
                    unsafe { give(blocks[place as usize], layout) };
                }
            });
        }
    });
}

/// The cases.
pub fn cases<T: Tier>() -> Vec<Case> {
    let case = |order: &str, run| {
        [1, 2, 4].map(|threads| {
            let name = format!("batch of 10,000, freed {order}");
            Case::new(name, T::NAME, T::ROLE, run).in_batches(BLOCKS as u64).on_threads(threads)
        })
    };
    [
        case("first in first out", |iterations| batches::<T>(iterations, fifo)),
        case("last in first out", |iterations| batches::<T>(iterations, lifo)),
        case("at random", |iterations| batches::<T>(iterations, random)),
    ]
    .into_iter()
    .flatten()
    .collect()
}
