//! How much of a region is live when the first request fails.

use super::{Direct, fill, give, over_region, take};
use crate::block::layout_of;
use serde::{Deserialize, Serialize};

/// Bytes of the region.
const REGION: usize = 64 << 20;
const SEEDS: u64 = 20;

/// What an allocator makes of a region of 64 MiB.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Share {
    /// What it is called.
    pub allocator: String,
    /// Live bytes of the region's when the first request fails: sizes from 16 B to 4 KiB at random,
    /// two allocated for each one freed, the mean over 20 seeds.
    pub random_sizes: f64,
    /// The same with nothing but blocks of 64 bytes, none freed.
    pub blocks: f64,
}

fn random_sizes<D: Direct>(seed: u64) -> f64 {
    over_region::<D, _>(REGION, |allocator| {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut live = Vec::new();
        let mut bytes = 0;
        loop {
            if random.u8(..100) < 48 && !live.is_empty() {
                let block: super::Live = live.swap_remove(random.usize(..live.len()));
                bytes -= block.1.size();
                // SAFETY: It is live, and out of the list.
                unsafe { give(allocator, block) };
                continue;
            }
            let layout = layout_of(random.usize(16..=4096), 8);
            let Some(block) = take(allocator, layout) else { break };
            bytes += layout.size();
            live.push(block);
        }
        bytes as f64 / REGION as f64
    })
}

/// Measures one.
pub fn of<D: Direct>() -> Share {
    let layout = layout_of(64, 8);
    let blocks = over_region::<D, _>(REGION, |allocator| fill(allocator, || layout).len());
    Share {
        allocator: D::NAME.into(),
        random_sizes: (1..=SEEDS).map(random_sizes::<D>).sum::<f64>() / SEEDS as f64,
        blocks: (blocks * 64) as f64 / REGION as f64,
    }
}

/// Measures all, and gives each to `print`.
pub fn all(mut print: impl FnMut(Share)) {
    super::ours::efficiency(&mut print);
    super::peers::efficiency(&mut print);
}
