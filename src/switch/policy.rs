//! What is chosen beyond the tiers, at compile time.

#[cfg(loom)]
use crate::{MemorySource, MmapSource};
#[cfg(not(loom))]
use crate::{MemorySource, MmapSource, Purge, SliceSource};

/// Choices beyond the tiers, as a type: the last parameter of [`Tiers`](super::Tiers).
///
/// # Examples
/// ```
/// use context_allocator::{MmapSource, Orphan, OrphanAction, Policy};
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
    /// Whether blocks and bytes are counted by tier: a few instructions for each allocation and each free.
    const ACCOUNTING: bool = false;

    /// Where large objects come from: blocks beyond what a tier's allocator or a block of its source can hold.
    type Large: MemorySource + Sync + 'static;

    /// The source of large objects: one without state, or a static. What it keeps of what they leave is its own affair; see [`SLICES`].
    const LARGE: &'static Self::Large;

    /// What is done when a heap's handle is dropped while blocks of it are still allocated.
    ///
    /// It runs where the handle is dropped or, if the heap was entered then, where it is left, which may be the end of a thread. It may
    /// allocate. If it panics, the heap's memory stays for ever; at the end of a thread that aborts the process.
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

/// The library's pool of slices, which the large objects of all switchable allocators with the [`DefaultPolicy`] or the [`CountingPolicy`] lie in: those of up to
/// 4 MiB are runs of slices, and larger ones memory maps, which are resized without copying.
///
/// What they leave is kept for the next ones for half a second, 512 KiB of it for ever, and then given up by a thread that lives while there is something to give up; see
/// [`Purge`]. [`SLICES.usage()`](SliceSource::usage) tells how much that is, [`SLICES.purge()`](SliceSource::purge) gives it up at once. A program that wants another [`Purge`] declares a
/// [`Policy`] with a pool of its own.
#[cfg(not(loom))]
pub static SLICES: SliceSource = SliceSource::for_static(&SLICES, MmapSource::new(), Purge::new());

#[cfg(not(loom))]
type Shared = SliceSource;
#[cfg(not(loom))]
const SHARED: &Shared = &SLICES;

/// Loom's locks are not made in const context.
#[cfg(loom)]
type Shared = MmapSource;
#[cfg(loom)]
const SHARED: &Shared = &MmapSource::new();

/// Nothing is counted by tier, orphans are retained, large objects lie in [`SLICES`].
#[derive(Clone, Copy, Debug)]
pub struct DefaultPolicy;

impl Policy for DefaultPolicy {
    type Large = Shared;
    const LARGE: &'static Shared = SHARED;
}

/// As [`DefaultPolicy`], and blocks and bytes are counted by tier.
#[derive(Clone, Copy, Debug)]
pub struct CountingPolicy;

impl Policy for CountingPolicy {
    const ACCOUNTING: bool = true;
    type Large = Shared;
    const LARGE: &'static Shared = SHARED;
}
