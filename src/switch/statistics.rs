//! What a switchable allocator says about itself.

use super::accounting::TierStatistics;
use super::allocator::{SwitchableAllocator, present};
use super::control::{HeapRef, Phase};
use super::tiers::{Coroutine, Declaration, GLOBAL_INDEX, Kind, Thread};
use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::Relaxed;

/// What happened to heaps that are gone, or whose handles are.
#[derive(Debug)]
pub(crate) struct Lifetimes {
    orphans_made: AtomicU64,
    orphans_freed: AtomicU64,
    escaped_blocks: AtomicU64,
    escaped_bytes: AtomicU64,
    remote_frees: AtomicU64,
}

impl Lifetimes {
    crate::sync::const_fn! {
        pub(crate) fn new() -> Self {
            Self {
                orphans_made: AtomicU64::new(0),
                orphans_freed: AtomicU64::new(0),
                escaped_blocks: AtomicU64::new(0),
                escaped_bytes: AtomicU64::new(0),
                remote_frees: AtomicU64::new(0),
            }
        }
    }

    pub(crate) fn orphaned(&self, blocks: usize, bytes: usize) {
        self.orphans_made.fetch_add(1, Relaxed);
        self.escaped_blocks.fetch_add(blocks as u64, Relaxed);
        self.escaped_bytes.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn orphan_freed(&self) {
        self.orphans_freed.fetch_add(1, Relaxed);
    }

    /// Counts the remote frees of a heap that has no blocks any more.
    pub(crate) fn remote_frees(&self, blocks: usize) {
        if blocks > 0 {
            self.remote_frees.fetch_add(blocks as u64, Relaxed);
        }
    }
}

/// What a switchable allocator holds and has done; see [`SwitchableAllocator::statistics`].
///
/// The figures are gathered one after another while other threads go on; they are exact when those are at rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Statistics {
    /// The coroutine tier's blocks and bytes, if the [`Policy`](super::Policy) counts them.
    pub coroutine: TierStatistics,
    /// The thread tier's blocks and bytes, if the policy counts them.
    pub thread: TierStatistics,
    /// The global tier's blocks and bytes, if the policy counts them.
    pub global: TierStatistics,
    /// Coroutine heaps made since the program began, if the policy counts them.
    pub heaps_made: u64,
    /// Coroutine heaps that have a handle, or whose handle was dropped while they were entered.
    pub heaps_alive: usize,
    /// Coroutine heaps without a handle whose blocks are not all freed, or which are leaked.
    pub orphans: usize,
    /// Blocks that are allocated now from coroutine heaps, orphans included.
    pub heap_blocks: usize,
    /// Bytes of regions and large objects that coroutine heaps hold, those that are kept for use again included.
    pub heap_bytes: usize,
    /// Heaps of running threads.
    pub thread_heaps: usize,
    /// Heaps of threads that ended, which wait for a thread.
    pub parked_heaps: usize,
    /// Blocks that are allocated now from thread heaps, parked ones included. Those of other running threads include blocks that are at hand
    /// there for the next allocations, where the tier's allocator keeps such.
    pub thread_blocks: usize,
    /// Of these, blocks of parked heaps.
    pub parked_blocks: usize,
    /// Bytes of regions and large objects that thread heaps hold, parked ones included.
    pub thread_bytes: usize,
    /// Coroutine heaps that ever lost their handle while blocks were allocated.
    pub orphans_made: u64,
    /// Blocks that were allocated when the handle of their heap was dropped.
    pub escaped_blocks: u64,
    /// Their bytes, if the policy counts them.
    pub escaped_bytes: u64,
    /// Blocks freed by a thread or in a context that did not use their heap.
    pub remote_frees: u64,
}

impl<D: Declaration> SwitchableAllocator<D> {
    /// What the allocator holds and has done. Looks at every heap under a lock: for reports and tests.
    #[inline(never)]
    pub fn statistics(&self) -> Statistics {
        let state = Self::state();
        self.settle_thread(state);
        state.pending.flush(&self.totals);
        let unflushed = self.totals.unflushed();
        let mut statistics = Statistics {
            coroutine: self.totals.tier(&unflushed, <Coroutine as Kind<D>>::INDEX),
            thread: self.totals.tier(&unflushed, <Thread as Kind<D>>::INDEX),
            global: self.totals.tier(&unflushed, GLOBAL_INDEX),
            heaps_made: self.totals.heaps(&unflushed),
            orphans_made: self.lifetimes.orphans_made.load(Relaxed),
            escaped_blocks: self.lifetimes.escaped_blocks.load(Relaxed),
            escaped_bytes: self.lifetimes.escaped_bytes.load(Relaxed),
            remote_frees: self.lifetimes.remote_frees.load(Relaxed),
            ..Statistics::default()
        };
        if present::<D, Coroutine>() {
            self.coroutine_pool.for_each(|heap: HeapRef<D, Coroutine>| statistics.add_coroutine(heap));
        }
        if present::<D, Thread>() {
            self.thread_pool.for_each(|heap: HeapRef<D, Thread>| statistics.add_thread(heap));
        }
        statistics
    }

    /// Begins the peaks of the tiers anew, at what is live now.
    #[inline(never)]
    pub fn reset_peaks(&self) {
        Self::state().pending.flush(&self.totals);
        self.totals.reset_peaks();
    }
}

impl Statistics {
    fn add_coroutine<D: Declaration>(&mut self, heap: HeapRef<D, Coroutine>) {
        self.heap_bytes += heap.shared().held();
        let (allocated, remote_frees) = blocks(heap);
        match heap.shared().phase() {
            Phase::Free | Phase::Parked | Phase::Emptying => return,
            Phase::Alive => self.heaps_alive += 1,
            Phase::Orphan | Phase::Leaked => self.orphans += 1,
        }
        self.heap_blocks += allocated;
        self.remote_frees += remote_frees as u64;
    }

    fn add_thread<D: Declaration>(&mut self, heap: HeapRef<D, Thread>) {
        self.thread_bytes += heap.shared().held();
        let (allocated, remote_frees) = blocks(heap);
        match heap.shared().phase() {
            Phase::Free | Phase::Orphan | Phase::Leaked => return,
            Phase::Alive => self.thread_heaps += 1,
            Phase::Parked | Phase::Emptying => {
                self.parked_heaps += 1;
                self.parked_blocks += allocated;
            }
        }
        self.thread_blocks += allocated;
        self.remote_frees += remote_frees as u64;
    }
}

/// Blocks of a heap that are allocated now, and blocks that were freed remotely.
pub(super) fn blocks<D: Declaration, K: Kind<D>>(heap: HeapRef<D, K>) -> (usize, usize) {
    // SAFETY: Only an atomic of the local part is read, which anyone may.
    let live = unsafe { heap.local() }.live();
    let balance = heap.shared().balance.get();
    match heap.shared().phase() {
        // Settled: the balance is the remote frees minus the live blocks.
        Phase::Orphan | Phase::Parked => {
            let allocated = balance.unsigned_abs();
            (allocated, live.saturating_sub(allocated))
        }
        // It has no block, and its counts are on their way to zero.
        Phase::Emptying => (0, 0),
        Phase::Leaked => {
            let counted = balance.unsigned_abs();
            (counted.saturating_sub(1), live.saturating_sub(counted))
        }
        _ => {
            let remote_frees = usize::try_from(balance).unwrap_or(0);
            (live.saturating_sub(remote_frees), remote_frees)
        }
    }
}
