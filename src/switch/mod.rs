//! The switchable allocator: a heap for each context, a heap for each thread, and a global
//! allocator behind them.
//!
//! ```text
//!   macros, declare/            how it is declared: builder, tiers, policy
//!   owner, report               what users ask
//!   service, spawn              heaps for requests and tasks
//!   body, stream, future,       what is polled in a heap
//!   checked, in_heap, polled
//!   limit                       what happens at a limit
//!   options, account            what users make heaps of
//!   heap, heap_allocator,       what users hold
//!   scope
//!   global_alloc, statistics    what users call
//!   allocate, free, resize,     a block's life; fast path first, its slow path beneath; what is
//!   remote                      freed elsewhere
//!   heaps, threads, count,      the lives of heaps, what is counted, and pages that nobody uses
//!   sweep
//!   entered                     a heap while a thread is in it
//!   current, block, heap_ref    what the calling thread uses, whose a block is: proofs
//!   allocator, tier_source      the struct, and the source under each heap's allocator
//!   thread_state, registers,    parts of the struct and of the thread's state, which know no
//!   hooks, fork, pool, parking, declaration
//!   heap_sweep,
//!   accounting, large,
//!   small_regions, remote_cache
//!   accounts                    to which heaps are charged: a tree of limits
//!   chain                       the heaps that are entered
//!   control, standing, context, a heap's control block, and when its last block is gone
//!   balance, name
//! ```
//!
//! Imports lead down in this list only. To read, start at `allocate.rs` and `free.rs` for the life
//! of a block, at `control.rs` for the terms, and at `balance.rs` for why a heap is released
//! exactly once.

mod account;
mod accounting;
pub(crate) mod accounts;
mod allocate;
mod allocator;
pub(crate) mod balance;
mod block;
#[cfg(feature = "http-body")]
mod body;
mod chain;
mod checked;
pub(crate) mod context;
pub(crate) mod control;
mod count;
mod current;
mod declare;
mod entered;
pub(crate) mod fork;
mod free;
mod future;
mod global_alloc;
mod heap;
mod heap_allocator;
mod heap_ref;
mod heap_sweep;
mod heaps;
pub(crate) mod hooks;
mod in_heap;
mod large;
mod limit;
pub(crate) mod local;
pub(crate) mod name;
mod options;
mod owner;
pub(crate) mod parking;
mod polled;
mod pool;
mod registers;
mod remote;
pub(crate) mod remote_cache;
mod report;
mod resize;
mod scope;
#[cfg(feature = "tower")]
mod service;
pub(crate) mod small_regions;
mod spawn;
pub(crate) mod standing;
mod statistics;
#[cfg(feature = "futures")]
mod stream;
mod sweep;
mod thread_state;
mod threads;
mod tier_source;

pub use account::{Account, AccountId, AccountStatistics, MoveError};
pub use accounting::TierStatistics;
#[doc(hidden)]
pub use allocator::ThreadCacheOf;
pub use allocator::{Declaration, HasCoroutineTier, HasThreadTier, SwitchableAllocator};
pub use checked::{Checked, HeapError, InHeapWith};
pub use declare::{
    Builder, ChosenGlobal, CountingPolicy, DefaultPolicy, HasPool, LimitAction, LimitReached, NoTier, Orphan,
    OrphanAction, Policy, PoolPolicy, RefusingPolicy, TierAllocator, TierSet, Tiers, Unchosen,
};
#[doc(hidden)]
pub use fork::register_fork_handlers;
pub use future::FutureExt;
pub use heap::{EnterError, Heap, HeapGuard, HeapStatistics};
pub use in_heap::InHeap;
pub use limit::LimitExceeded;
pub use name::Name;
pub use options::HeapOptions;
pub use owner::{HeapId, Owner};
pub use report::{AccountInfo, HeapInfo, HeapState};
pub use scope::SavedContext;
#[cfg(feature = "tower")]
#[cfg_attr(docsrs, doc(cfg(feature = "tower")))]
pub use service::{HeapBody, HeapFuture, HeapLayer, HeapService};
pub use statistics::{Statistics, Trimmed};
#[doc(hidden)]
pub use thread_state::ThreadState;

#[doc(hidden)]
pub use crate::page_map::PageMap;

use crate::alloc::{BumpAllocator, SlabAllocator};
use crate::source::PooledSource;

/// What the short form of the macros installs: for contexts, bump heaps, and for threads, slabs,
/// both from the process's pool; behind them the system's allocator.
pub type RecommendedTiers<P = DefaultPolicy> =
    Tiers<BumpAllocator<PooledSource>, SlabAllocator<PooledSource>, std::alloc::System, P>;

/// The recommended tiers over a pool of one's own, `&'static P`: what the macros' form
/// `static ALLOC from POOL: P` installs.
///
/// Heaps of contexts take their regions from the pool, threads their slabs, and large objects lie
/// in it, so that one limit and one [`Purge`](crate::source::Purge) hold for all of them.
pub type TiersFrom<P, D> =
    Tiers<BumpAllocator<&'static P>, SlabAllocator<&'static P>, std::alloc::System, PoolPolicy<D>>;

/// The value of [`TiersFrom`].
#[cfg(not(all(test, loom)))]
#[must_use]
pub const fn tiers_from<D: HasPool>() -> TiersFrom<D::Pool, D> {
    Builder::new()
        .coroutine_tier(BumpAllocator::new(D::POOL))
        .thread_tier(SlabAllocator::new(D::POOL))
        .global_tier(std::alloc::System)
        .policy::<PoolPolicy<D>>()
        .build()
}

/// The value of [`RecommendedTiers`].
#[cfg(not(all(test, loom)))]
#[allow(clippy::declare_interior_mutable_const, reason = "the constant is only an initialiser")]
pub const RECOMMENDED_TIERS: RecommendedTiers = recommended_tiers();

/// The value of [`RecommendedTiers`] with a policy of one's own.
#[cfg(not(all(test, loom)))]
#[must_use]
pub const fn recommended_tiers<P: Policy>() -> RecommendedTiers<P> {
    Builder::new()
        .coroutine_tier(BumpAllocator::new(PooledSource::new()))
        .thread_tier(SlabAllocator::new(PooledSource::new()))
        .global_tier(std::alloc::System)
        .policy::<P>()
        .build()
}
