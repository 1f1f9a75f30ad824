//! Blocks of 64 bytes, freed and allocated at random in a region that is partly full.

use std::alloc::Layout;

use super::{Direct, Live, fill, give, over_region, take, thin};
use crate::block::layout_of;
use crate::cases::Case;
use crate::stopwatch;

const BLOCK: usize = 64;
/// Bytes of a region of 262,144 blocks.
const REGION: usize = 262_144 * BLOCK;

/// Times `f` with an allocator over a region of which `percent` of what fits is live, at random. It
/// is given the allocator, the blocks, and random numbers.
fn timed_partly_full<D: Direct>(percent: usize, f: impl FnOnce(&mut D, &mut Vec<Live>, &mut fastrand::Rng)) {
    over_region::<D, _>(REGION, |allocator| {
        let mut random = fastrand::Rng::with_seed(1);
        let mut live = fill(allocator, || layout_of(BLOCK, 8));
        let left = live.len() * percent / 100;
        thin(allocator, &mut live, left, &mut random);
        stopwatch::timed(|| f(allocator, &mut live, &mut random));
    });
}

/// Frees a random block and allocates another, with `PERCENT` of what fits live.
fn partly_full<D: Direct, const PERCENT: usize>(iterations: u64) {
    let layout = layout_of(BLOCK, 8);
    timed_partly_full::<D>(PERCENT, |allocator, live, random| {
        for _ in 0..iterations {
            let place = random.usize(..live.len());
            // SAFETY: The block is live, and its place is taken by the next.
            unsafe { give(allocator, live[place]) };
            live[place] = take(allocator, layout).expect("as many were live before");
        }
    });
}

/// Frees a random block or allocates one, as a coin falls, with about `PERCENT` of what fits live;
/// an iteration is two coins.
fn by_coin<D: Direct, const PERCENT: usize>(iterations: u64) {
    let layout = layout_of(BLOCK, 8);
    timed_partly_full::<D>(PERCENT, |allocator, live, random| {
        for _ in 0..2 * iterations {
            let place = random.usize(..2 * live.len());
            if place < live.len() {
                // SAFETY: The block is live, and was just taken out of the list.
                unsafe { give(allocator, live.swap_remove(place)) };
            } else if let Some(block) = take(allocator, layout) {
                live.push(block);
            }
        }
    });
}

/// Blocks of a burst: more than an allocator that keeps recent frees apart may keep of a size.
const BURST: usize = 1024;

/// Frees random blocks and then allocates as many, `BURST` at a time, with `PERCENT` of what fits
/// live between the bursts. Most of what is allocated has to be searched for, and most of what is
/// freed to be noted where the search finds it. An iteration is one block.
fn bursts<D: Direct, const PERCENT: usize>(iterations: u64) {
    let layout = layout_of(BLOCK, 8);
    timed_partly_full::<D>(PERCENT, |allocator, live, random| {
        let left = live.len();
        for _ in 0..iterations / BURST as u64 {
            thin(allocator, live, left - BURST, random);
            while live.len() < left {
                live.push(take(allocator, layout).expect("as many were live before"));
            }
        }
    });
}

/// Frees a random block and allocates another, with so many live, whatever the room.
fn with_live<D: Direct, const LIVE: usize>(iterations: u64) {
    let layout = layout_of(BLOCK, 8);
    over_region::<D, _>(8 * REGION, |allocator| {
        let mut random = fastrand::Rng::with_seed(1);
        let mut live: Vec<_> = (0..2 * LIVE).filter_map(|_| take(allocator, layout)).collect();
        assert!(live.len() > LIVE, "the region is too small");
        thin(allocator, &mut live, LIVE, &mut random);
        stopwatch::timed(|| {
            for _ in 0..iterations {
                let place = random.usize(..live.len());
                // SAFETY: As above.
                unsafe { give(allocator, live[place]) };
                live[place] = take(allocator, layout).expect("as many were live before");
            }
        });
    });
}

/// Frees a random run of 1 to 16 blocks and allocates another of another length, with 80 % of what
/// fits live.
fn runs<D: Direct>(iterations: u64) {
    over_region::<D, _>(REGION, |allocator| {
        let mut random = fastrand::Rng::with_seed(1);
        let lengths: [Layout; 16] = std::array::from_fn(|index| layout_of((index + 1) * BLOCK, 8));
        let mut live = fill(allocator, || lengths[random.usize(..16)]);
        let mut random = fastrand::Rng::with_seed(2);
        let left = live.len() * 80 / 100;
        thin(allocator, &mut live, left, &mut random);
        stopwatch::timed(|| {
            for _ in 0..iterations {
                let place = random.usize(..live.len());
                // SAFETY: The block is live, and its place is taken by the next or given up.
                unsafe { give(allocator, live[place]) };
                match take(allocator, lengths[random.usize(..16)]) {
                    Some(block) => live[place] = block,
                    None => drop(live.swap_remove(place)),
                }
            }
        });
    });
}

/// The cases.
pub fn cases<D: Direct>() -> Vec<Case> {
    let case = |name: &str, run| Case::new(name, D::NAME, D::ROLE, run).of_blocks(4);
    vec![
        case("direct, random 64 B, 50 % full", partly_full::<D, 50>),
        case("direct, random 64 B, 95 % full", partly_full::<D, 95>),
        case("direct, coins 64 B, 50 % full", by_coin::<D, 50>),
        case("direct, coins 64 B, 95 % full", by_coin::<D, 95>),
        case("direct, bursts of random 64 B, 50 % full", bursts::<D, 50>).in_batches(BURST as u64),
        case("direct, bursts of random 64 B, 95 % full", bursts::<D, 95>).in_batches(BURST as u64),
        case("direct, runs of 1 to 16 blocks, 80 % full", runs::<D>),
        case("direct, random 64 B, 1,000 live", with_live::<D, 1_000>).only_counted(),
        case("direct, random 64 B, 100,000 live", with_live::<D, 100_000>).only_counted(),
        case("direct, random 64 B, 1,000,000 live", with_live::<D, 1_000_000>).only_counted(),
    ]
}
