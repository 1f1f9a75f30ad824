//! Sixteen live blocks of 64 KiB to 4 MiB, of which one after the other is replaced at random.

use std::alloc::Layout;

use super::{Case, Tier};
use crate::block::{Live, layout_of};
use crate::stopwatch;

const LIVE: usize = 16;

fn large<T: Tier>(iterations: u64) {
    let mut random = fastrand::Rng::with_seed(1);
    // As many of each power of two.
    let layouts: [Layout; 256] = std::array::from_fn(|_| {
        let least = (64 << 10) << random.u32(..6);
        layout_of(random.usize(least..=2 * least), 8)
    });
    let mut live: Vec<Live> = Vec::with_capacity(LIVE);
    T::within(|| {
        live.extend((0..LIVE).map(|index| Live::take(layouts[index])));
        stopwatch::timed(|| {
            for _ in 0..iterations {
                let place = &mut live[random.usize(..LIVE)];
                // SAFETY: The block is live, and its place is taken by the next.
                unsafe { place.give() };
                *place = Live::take(layouts[random.usize(..256)]);
            }
        });
        for block in &live {
            // SAFETY: Each is live, and not used again.
            unsafe { block.give() };
        }
    });
}

/// The cases.
pub fn cases<T: Tier>() -> Vec<Case> {
    let case = |threads| {
        let name = "large, 16 live of 64 KiB to 4 MiB";
        Case::new(name, T::NAME, T::ROLE, large::<T>).of_blocks(1_000).on_threads(threads)
    };
    [1, 2, 4].map(case).into()
}
