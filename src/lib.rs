// The examples use memory maps: without `std`, rustdoc finds none to run.
#![cfg(any(feature = "std", not(doctest)))]
#![doc = include_str!("../README.md")]
#![no_std]
#![deny(clippy::must_use_candidate, clippy::return_self_not_must_use)]
#![cfg_attr(feature = "nightly", feature(allocator_api))]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "collections")]
extern crate alloc as std_alloc;
#[cfg(any(feature = "std", test))]
extern crate std;

// What follows is compiled where it can be; elsewhere, one sentence stands for all of it. (Of
// macros, rustfmt looks for modules in those of this name alone.)
macro_rules! cfg_if {
    (if #[cfg($runs:meta)] { $($item:item)* } else { $($refusal:item)* }) => {
        $(#[cfg($runs)] $item)*
        $(#[cfg(not($runs))] $refusal)*
    };
}

cfg_if! { if #[cfg(any(not(feature = "std"), target_os = "linux"))] {

mod adapt;
pub mod alloc;
#[cfg(feature = "collections")]
pub mod collections;
mod error;
mod layout;
mod list;
mod misuse;
#[cfg(feature = "std")]
mod page_map;
mod ptr;
pub mod size;
pub mod source;
#[cfg(feature = "std")]
pub mod switch;
mod sync;
mod sys;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(any(
    feature = "allocator-api2-02",
    feature = "allocator-api2-03",
    feature = "allocator-api2-04",
    feature = "nightly"
))]
mod unwind;

pub use adapt::{
    AllocToAllocatorAdaptor, AllocatorAdaptor, AllocatorSource, Api02, Api03, Api04, GlobalAllocToAllocatorAdaptor, Nightly,
};
#[cfg(feature = "std")]
pub use alloc::MmapAllocator;
pub use alloc::{
    AdjoiningSource, Allocator, BitSetAllocator, BlockCount, BumpAllocator, Checkpoint, FixedBitSetAllocator,
    KeepApart, LocalAllocator, Locked, MergeAdjacent, Merging, MultipleBinarySearchTreeAllocator, Owns,
    Reset, ResizeInPlace, SizeClassAllocator, SlabAllocator, TreeCount,
};
pub use alloc::{AllocatorFor, ContextAllocator, Lifetime, LivedAs, LongLived, MediumLived, ShortLived};
pub use alloc::{NoThreadCache, Pushed, ThreadCache, ThreadCacheFor};
#[cfg(feature = "std")]
pub use alloc::{ShardCount, Sharded};
pub use error::{AllocError, SourceError};
pub use layout::{LayoutError, NonZeroLayout};
pub use size::BlockSize;
pub use source::{
    ArenaSource, ArenaUsage, CachingSource, CountingSource, Decommit, FallbackSource, IdleMemory,
    InlineRegion, LimitSource, MemorySource, Obtained, OwnsRegions, RecordingSource,
    RegionSource, Remapped, SourceCounts,
};
#[cfg(feature = "std")]
pub use source::{FileSource, MemfdSource};
#[cfg(feature = "std")]
pub use source::{
    MapReport, MmapOptions, MmapSettings, MmapSource, NodeSet, NumaPolicy, OnFork, PageKind, PageLadder,
    PageLock, PlainPages,
};
#[cfg(feature = "std")]
pub use source::{PooledSource, Purge, RunSource, RunUsage};
#[cfg(feature = "std")]
pub use switch::{
    Builder, CountingPolicy, Declaration, DefaultPolicy, EnterError, HasCoroutineTier, HasThreadTier, ThreadCacheOf, Heap, HeapGuard,
    HeapStatistics, NoTier, Orphan, OrphanAction, Policy, RecommendedTiers, SavedContext,
    Statistics, SwitchableAllocator, ThreadState, Trimmed, TierStatistics, Tiers,
};
#[cfg(all(feature = "std", not(all(test, loom))))]
pub use switch::{RECOMMENDED_TIERS, recommended_tiers};
#[cfg(feature = "std")]
#[doc(hidden)]
pub use page_map::PageMap;
pub use sync::{RawLock, SpinFutexLock};

} else {
    compile_error!("the feature `std` of context-allocator needs Linux; on other systems, and without one, write `default-features = false`");
}}

// Here, since the crate cannot name exported macros by path that another macro's expansion
// declares.
#[cfg(all(feature = "std", target_os = "linux"))]
#[path = "switch/macros.rs"]
mod macros;

#[cfg(all(test, loom))]
#[path = "../loom-tests/mod.rs"]
mod loom_tests;
