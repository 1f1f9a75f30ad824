//! What a switchable allocator says about itself.

use super::Policy;
use super::accounting::TierStatistics;
use super::allocator::{PolicyOf, SwitchableAllocator, present};
use super::control::{HeapRef, Phase};
use super::tiers::{Coroutine, Declaration, GLOBAL_INDEX, Kind, Thread, TierSet};
use crate::source::IdleMemory;
use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::Relaxed;
use crate::{MemorySource, sys};
use core::ptr::NonNull;

/// What happened to heaps that are gone, or whose handles are.
#[derive(Debug)]
pub(crate) struct Lifetimes {
    orphans_made: AtomicU64,
    orphans_freed: AtomicU64,
    escaped_blocks: AtomicU64,
    escaped_bytes: AtomicU64,
    remote_frees: AtomicU64,
    trimmed_resident_bytes: AtomicU64,
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
                trimmed_resident_bytes: AtomicU64::new(0),
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

/// What a call of [`SwitchableAllocator::trim`] gave back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Trimmed {
    /// Bytes of memory ranges that went back to where the sources had them from, whether or not
    /// they were resident.
    pub bytes: usize,
    /// Bytes that were resident and are no longer, so far as the sources know: pages of those
    /// ranges, and memory whose range stays.
    pub resident_bytes: usize,
}

/// What a switchable allocator holds and has done; see [`SwitchableAllocator::statistics`].
///
/// The figures are gathered one after another while other threads go on; they are exact while those
/// rest, but for [`thread_blocks`](Self::thread_blocks).
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
    /// Bytes of regions and large objects that coroutine heaps hold, those that are kept for use
    /// again included.
    pub heap_bytes: usize,
    /// Of these, bytes of heaps that are over: control blocks that wait for a heap keep their first
    /// region.
    pub free_heap_bytes: usize,
    /// Heaps of running threads.
    pub thread_heaps: usize,
    /// Heaps of threads that ended, which wait for a thread.
    pub parked_heaps: usize,
    /// Blocks that are allocated now from thread heaps, parked ones included. Those of other
    /// running threads include blocks that are at hand there for the next allocations, where the
    /// tier's allocator keeps such.
    pub thread_blocks: usize,
    /// Of these, blocks of parked heaps.
    pub parked_blocks: usize,
    /// Bytes of regions and large objects that thread heaps hold, parked ones included.
    pub thread_bytes: usize,
    /// Of these, bytes of parked heaps.
    pub parked_bytes: usize,
    /// Bytes that the sources of both tiers and of large objects keep for later requests, beyond
    /// what heaps hold. What several tiers or allocators of the process share is in the figures of
    /// each.
    pub idle_bytes: usize,
    /// Of these, bytes that may be resident: they were used before, and not given back to the
    /// operating system since.
    pub idle_resident_bytes: usize,
    /// Resident bytes that [`trim`](SwitchableAllocator::trim) has given back to the operating
    /// system since the program began.
    pub trimmed_resident_bytes: u64,
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
    /// What the allocator holds and has done. Looks at every heap under a lock: for reports and
    /// tests.
    #[inline(never)]
    pub fn statistics(&self) -> Statistics {
        let state = Self::state();
        // The locks that are taken below must be known to the fork handlers.
        self.armed(state);
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
            trimmed_resident_bytes: self.lifetimes.trimmed_resident_bytes.load(Relaxed),
            ..Statistics::default()
        };
        self.add_idle(&mut statistics);
        if present::<D, Coroutine>() {
            self.coroutine_pool.for_each(|heap: HeapRef<D, Coroutine>| statistics.add_coroutine(heap));
        }
        if present::<D, Thread>() {
            self.thread_pool.for_each(|heap: HeapRef<D, Thread>| statistics.add_thread(heap));
        }
        statistics
    }

    /// Adds what the sources keep, each of them once.
    fn add_idle(&self, statistics: &mut Statistics) {
        // More sources than this, around one another, are counted as often as they stand in a tier.
        let mut seen = [0; 16];
        let mut count = 0;
        let mut add = |idle: IdleMemory| {
            if seen[..count].contains(&idle.source) {
                return;
            }
            if let Some(place) = seen.get_mut(count) {
                *place = idle.source;
                count += 1;
            }
            statistics.idle_bytes += idle.bytes;
            statistics.idle_resident_bytes += idle.resident_bytes;
        };
        self.tiers().coroutine_source().idle(&mut add);
        self.tiers().thread_source().idle(&mut add);
        PolicyOf::<D>::LARGE.idle(&mut add);
    }

    /// Gives memory that no block lies in back to where it came from, as far as this thread can:
    /// the regions of the free heaps that it keeps, of parked heaps without blocks, what large
    /// objects left, what a global tier of this library can (see
    /// [`Allocator::trim`](crate::Allocator::trim)), and what the tiers' sources keep.
    ///
    /// # Examples
    /// ```
    /// context_allocator::switchable_allocator!(static ALLOC);
    ///
    /// let heap = ALLOC.heap().unwrap();
    /// heap.enter(|| assert!(context_allocator::Allocator::allocate(&ALLOC, LAYOUT).is_ok()));
    /// # const LAYOUT: context_allocator::NonZeroLayout = context_allocator::NonZeroLayout::of::<u64>().unwrap();
    /// // SAFETY: The one block of the heap is not used any more.
    /// unsafe { heap.destroy() };
    /// assert!(ALLOC.trim().bytes > 0);
    /// ```
    #[inline(never)]
    pub fn trim(&self) -> Trimmed {
        self.trim_heaps();
        let mut trimmed = Trimmed::default();
        // First, since what it gives back may leave with the free chunks of a tier's source.
        trimmed.bytes += self.tiers().trim_global();
        self.trim_source(PolicyOf::<D>::LARGE, &mut trimmed);
        self.trim_source(self.tiers().coroutine_source(), &mut trimmed);
        self.trim_source(self.tiers().thread_source(), &mut trimmed);
        self.lifetimes.trimmed_resident_bytes.fetch_add(trimmed.resident_bytes as u64, Relaxed);
        trimmed
    }

    /// Has a source give back what it keeps: the memory first, which it can count, then the ranges,
    /// whose resident pages are counted before they leave.
    fn trim_source<S: MemorySource>(&self, source: &S, trimmed: &mut Trimmed) {
        trimmed.resident_bytes += source.purge();
        trimmed.bytes += source.reclaim(&mut |range: NonNull<[u8]>| {
            trimmed.resident_bytes += sys::resident_bytes(range.cast(), range.len());
            D::page_map().leave_range(range.addr().get(), range.len());
        });
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
            Phase::Free => {
                self.free_heap_bytes += heap.shared().held();
                return;
            }
            Phase::Parked | Phase::Emptying => return,
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
                self.parked_bytes += heap.shared().held();
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
