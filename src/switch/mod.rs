//! The switchable allocator: a heap for each context, a heap for each thread, and a global
//! allocator behind them.
//!
//! In the source, start at `allocator.rs` for the paths of an allocation and a free, at
//! `page_map.rs` for how a pointer finds its heap, and at `balance.rs` for why a heap is released
//! exactly once.

mod accounting;
mod allocator;
pub(crate) mod balance;
mod builder;
mod context;
pub(crate) mod control;
mod fork;
mod fronted;
mod heap;
mod large;
mod lifecycle;
pub(crate) mod parking;
mod policy;
mod pool;
pub(crate) mod remote_cache;
mod scope;
mod slow;
mod statistics;
mod thread_end;
mod tier_source;
mod tiers;

pub use accounting::TierStatistics;
pub use allocator::SwitchableAllocator;
pub use builder::{Builder, ChosenGlobal, ChosenTier, Unchosen};
#[doc(hidden)]
pub use context::ThreadState;
#[doc(hidden)]
pub use fork::register_fork_handlers;
pub use heap::{EnterError, Heap, HeapGuard, HeapStatistics};
pub use policy::{CountingPolicy, DefaultPolicy, Orphan, OrphanAction, Policy};
pub use scope::SavedContext;
pub use statistics::{Statistics, Trimmed};
#[doc(hidden)]
pub use tiers::ThreadCacheOf;
pub use tiers::{Declaration, NoTier, PresentTier, TierAllocator, TierSet, Tiers};

use crate::size::{U65536, U1048576};
use crate::{ArenaSource, BumpAllocator, MmapSource, PooledSource, SlabAllocator};

/// What the short form of the macros installs: for contexts, bump heaps over blocks of 64 KiB; for
/// threads, slabs from the process's pool; behind them the system's allocator.
pub type RecommendedTiers<P = DefaultPolicy> = Tiers<
    BumpAllocator<ArenaSource<MmapSource, U65536, U1048576>>,
    SlabAllocator<PooledSource>,
    std::alloc::System,
    P,
>;

/// The value of [`RecommendedTiers`].
#[cfg(not(all(test, loom)))]
#[allow(clippy::declare_interior_mutable_const, reason = "the constant is only an initialiser")]
pub const RECOMMENDED_TIERS: RecommendedTiers = recommended_tiers();

/// The value of [`RecommendedTiers`] with a policy of one's own.
#[cfg(not(all(test, loom)))]
pub const fn recommended_tiers<P: Policy>() -> RecommendedTiers<P> {
    Builder::new()
        .coroutine_tier(BumpAllocator::new(ArenaSource::new(MmapSource::new())))
        .thread_tier(SlabAllocator::new(PooledSource::new()))
        .global_tier(std::alloc::System)
        .policy::<P>()
        .build()
}
