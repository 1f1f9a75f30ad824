//! The allocator under measurement: the only file of this program that knows the switch.

use crate::app::{Figures, Tier};
use context_allocator::switch::{
    CountingPolicy, RecommendedTiers, Statistics, TierStatistics, recommended_tiers,
};

context_allocator::global_thread_and_coroutine_switchable_allocator!(
    static ALLOC: RecommendedTiers<CountingPolicy> = recommended_tiers();
);

/// The tiers that this build can run in.
pub const AVAILABLE: &[Tier] = &[Tier::Global, Tier::Thread, Tier::Coroutine];

/// Runs one request in `tier`; in the coroutine tier, in a heap of its own whose handle is dropped
/// right after.
pub fn run_in<R>(tier: Tier, request: impl FnOnce() -> R) -> R {
    match tier {
        Tier::Global => ALLOC.with_global(request),
        Tier::Thread => ALLOC.with_thread(request),
        Tier::Coroutine => ALLOC.heap().expect("memory for a heap's control block").enter(request),
    }
}

/// Runs what is no request: outside the tiers that have heaps, so that it shows in no figure of
/// theirs.
pub fn aside<R>(f: impl FnOnce() -> R) -> R {
    ALLOC.with_global(f)
}

/// Where the counters stood when a run began.
pub struct Mark {
    tier: Tier,
    before: Statistics,
}

/// Begins a measurement, that of the peak too.
pub fn begin(tier: Tier) -> Mark {
    // What an earlier run left in the allocator's caches is not this run's.
    ALLOC.trim();
    ALLOC.reset_peaks();
    Mark { tier, before: ALLOC.statistics() }
}

/// What the tier did since `mark`.
pub fn end(mark: Mark) -> Figures {
    let (before, after) = (mark.before, ALLOC.statistics());
    let (was, is) = (of(&before, mark.tier), of(&after, mark.tier));
    Figures {
        blocks: Some(is.blocks_allocated - was.blocks_allocated),
        peak_live_bytes: Some(is.peak_live_bytes as u64),
        heaps: Some(after.heaps_made - before.heaps_made),
        escaped_blocks: Some(after.escaped_blocks - before.escaped_blocks),
        escaped_bytes: Some(after.escaped_bytes - before.escaped_bytes),
        remote_frees: Some(after.remote_frees - before.remote_frees),
        live_blocks_at_end: Some(is.live_blocks().cast_signed() - was.live_blocks().cast_signed()),
    }
}

fn of(statistics: &Statistics, tier: Tier) -> TierStatistics {
    match tier {
        Tier::Global => statistics.global,
        Tier::Thread => statistics.thread,
        Tier::Coroutine => statistics.coroutine,
    }
}
