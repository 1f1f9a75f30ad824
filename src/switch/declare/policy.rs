//! What is chosen beyond the tiers, at compile time.

use core::marker::PhantomData;

use crate::source::MemorySource;
#[cfg(all(test, loom))]
use crate::source::MmapSource as SharedSource;
#[cfg(not(all(test, loom)))]
use crate::source::PooledSource as SharedSource;
use crate::switch::name::Name;

/// Choices beyond the tiers, as a type: the last parameter of [`Tiers`](super::Tiers).
///
/// # Examples
/// ```
/// use context_allocator::MmapSource;
/// use context_allocator::switch::{Orphan, OrphanAction, Policy};
///
/// /// Counts blocks and bytes, and does not tolerate what escapes from a heap.
/// struct Strict;
///
/// impl Policy for Strict {
///     const ACCOUNTING: bool = true;
///     type Large = MmapSource;
///     const LARGE: &'static MmapSource = &MmapSource::new();
///     fn orphaned(_: Orphan) -> OrphanAction {
///         OrphanAction::Abort
///     }
/// }
/// ```
pub trait Policy: 'static {
    /// Whether blocks and bytes are counted by tier: a few instructions for each allocation and
    /// each free.
    const ACCOUNTING: bool = false;

    /// Where large objects come from: blocks beyond what a tier's allocator or a block of its
    /// source can hold.
    type Large: MemorySource + Sync + 'static;

    /// The source of large objects: one without state, or a static. What it keeps of what they
    /// leave is its own affair.
    const LARGE: &'static Self::Large;

    /// What is done with a request that a limit leaves no room for: the limit of the heap, or of an
    /// account above it. By default the request spills: the thread tier serves it, and the heap is
    /// marked, so that [`Heap::check`](crate::switch::Heap::check) or the next poll ends what runs
    /// in it.
    ///
    /// It runs outside the heap, on the thread that allocates, and may allocate and free. It must
    /// not suspend a coroutine. If it panics, the process aborts.
    #[must_use]
    fn limit_reached(reached: LimitReached) -> LimitAction {
        let _ = reached;
        LimitAction::Spill
    }

    /// What is done when a heap's handle is dropped while blocks of it are still allocated.
    ///
    /// It runs where the handle is dropped or, if the heap was entered then, where it is left,
    /// which may be the end of a thread. It may allocate. If it panics, the heap's memory stays for
    /// ever; at the end of a thread that aborts the process.
    #[must_use]
    fn orphaned(orphan: Orphan) -> OrphanAction {
        let _ = orphan;
        OrphanAction::Retain
    }
}

/// A heap whose handle is dropped while blocks of it are still allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Orphan {
    /// How many blocks those are.
    pub blocks: usize,
    /// Bytes of regions and large objects that the heap holds.
    pub held_bytes: usize,
}

/// What is done with an [`Orphan`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OrphanAction {
    /// Its memory stays until its last block is freed, wherever that happens, and is released then.
    Retain,
    /// Its memory stays for ever.
    Leak,
    /// The process aborts.
    Abort,
}

/// A request that a limit leaves no room for; see [`Policy::limit_reached`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimitReached {
    /// Bytes that were asked for. The heap may need more for them: a region.
    pub requested: usize,
    /// The limit, in bytes, that leaves the least room.
    pub limit: usize,
    /// Bytes that are charged against that limit.
    pub held: usize,
    /// The name of the account whose limit it is; none if it is the heap's own.
    pub account: Name,
    /// How often the policy answered [`LimitAction::Retry`] to this request before.
    pub retries: u32,
}

/// What is done with a request that a limit leaves no room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LimitAction {
    /// The allocation fails: `try_reserve` returns an error, `push` and `format!` abort the
    /// process.
    Refuse,
    /// The thread tier serves it, or the global tier. The heap is charged for it until it ends, and
    /// marked: [`Heap::check`](crate::switch::Heap::check) returns an error from then on.
    Spill,
    /// The heap serves it, up to so many bytes beyond the limit, and is marked; a request beyond
    /// that fails.
    Reserve(usize),
    /// The heap is asked again, because the policy had something freed. After 8 times, the request
    /// spills.
    Retry,
}

/// Nothing is counted by tier, orphans are retained, large objects lie in the process's pool of
/// slices, [`PooledSource`](crate::source::PooledSource).
///
/// What they leave serves the next ones and the slabs of threads, or is given up after half a
/// second. A program that wants another [`Purge`](crate::source::Purge) declares a policy with a
/// pool of its own.
#[derive(Clone, Copy, Debug)]
pub struct DefaultPolicy;

impl Policy for DefaultPolicy {
    type Large = SharedSource;
    const LARGE: &'static SharedSource = &SharedSource::new();
}

/// As [`DefaultPolicy`], but requests fail that would pass a limit:
/// [`LimitAction::Refuse`].
#[derive(Clone, Copy, Debug)]
pub struct RefusingPolicy;

impl Policy for RefusingPolicy {
    type Large = SharedSource;
    const LARGE: &'static SharedSource = &SharedSource::new();
    fn limit_reached(_: LimitReached) -> LimitAction {
        LimitAction::Refuse
    }
}

/// A declaration over a pool of its own: the macros' form `static ALLOC from POOL: RunSource`
/// implements it.
pub trait HasPool: 'static {
    /// What the pool is.
    type Pool: MemorySource + Sync + 'static;

    /// The pool.
    const POOL: &'static Self::Pool;
}

/// As [`DefaultPolicy`], with large objects from the pool of the declaration `D`.
#[derive(Clone, Copy, Debug)]
pub struct PoolPolicy<D>(PhantomData<D>);

impl<D: HasPool> Policy for PoolPolicy<D> {
    type Large = D::Pool;
    const LARGE: &'static D::Pool = D::POOL;
}

/// As [`DefaultPolicy`], and blocks and bytes are counted by tier.
#[derive(Clone, Copy, Debug)]
pub struct CountingPolicy;

impl Policy for CountingPolicy {
    const ACCOUNTING: bool = true;
    type Large = SharedSource;
    const LARGE: &'static SharedSource = &SharedSource::new();
}
