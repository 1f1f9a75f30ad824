//! Declaring a switchable allocator: the builder, the tiers as types, and the policy.

mod builder;
mod policy;
mod tiers;

pub use builder::{Builder, ChosenGlobal, Unchosen};
pub use policy::{
    CountingPolicy, DefaultPolicy, HasPool, LimitAction, LimitReached, Orphan, OrphanAction, Policy,
    PoolPolicy, RefusingPolicy,
};
pub use tiers::{NoTier, TierAllocator, TierSet, Tiers};
