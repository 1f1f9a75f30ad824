//! What a switchable allocator says about itself.

use core::ptr::NonNull;

use super::accounting::TierStatistics;
use super::allocator::{
    Coroutine, Declaration, GLOBAL_INDEX, HeapsOf, PolicyOf, SwitchableAllocator, Thread, present,
};
use super::control::{ControlRef, Phase};
use super::declare::{Policy, TierSet};
use crate::source::{IdleMemory, MemorySource};
use crate::sync::atomic::Ordering::Relaxed;
use crate::sys;

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
    /// Blocks that the thread or the global tier served because the heap would have passed a limit:
    /// see [`LimitAction::Spill`](super::LimitAction::Spill).
    pub spilled_blocks: u64,
    /// Their bytes.
    pub spilled_bytes: u64,
    /// Requests that failed because the heap would have passed a limit.
    pub refused: u64,
}

impl<D: Declaration> SwitchableAllocator<D> {
    /// What the allocator holds and has done. Looks at every heap under a lock: for reports and
    /// tests.
    #[inline(never)]
    pub fn statistics(&self) -> Statistics {
        let current = Self::current_thread();
        // The locks that are taken below must be known to the fork handlers.
        self.armed(current);
        self.flush_thread(current);
        current.save();
        current.pending().flush(&self.totals);
        let unflushed = self.totals.unflushed();
        let mut statistics = Statistics {
            coroutine: self.totals.tier(&unflushed, <Coroutine as HeapsOf<D>>::INDEX),
            thread: self.totals.tier(&unflushed, <Thread as HeapsOf<D>>::INDEX),
            global: self.totals.tier(&unflushed, GLOBAL_INDEX),
            heaps_made: self.totals.heaps(&unflushed),
            orphans_made: self.lifetimes.orphans_made.load(Relaxed),
            escaped_blocks: self.lifetimes.escaped_blocks.load(Relaxed),
            escaped_bytes: self.lifetimes.escaped_bytes.load(Relaxed),
            remote_frees: self.lifetimes.remote_frees.load(Relaxed),
            trimmed_resident_bytes: self.lifetimes.trimmed_resident_bytes.load(Relaxed),
            spilled_blocks: self.lifetimes.spilled_blocks.load(Relaxed),
            spilled_bytes: self.lifetimes.spilled_bytes.load(Relaxed),
            refused: self.lifetimes.refused.load(Relaxed),
            ..Statistics::default()
        };
        self.add_idle(&mut statistics);
        if present::<D, Coroutine>() {
            self.coroutine_pool.all().for_each(|heap| statistics.add_coroutine(heap));
        }
        if present::<D, Thread>() {
            self.thread_pool.all().for_each(|heap| statistics.add_thread(heap));
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
        for regions in [<Coroutine as HeapsOf<D>>::small_regions(), <Thread as HeapsOf<D>>::small_regions()] {
            let free = regions.free_bytes();
            add(IdleMemory::of(regions, free, free));
        }
        self.tiers().coroutine_source().idle(&mut add);
        self.tiers().thread_source().idle(&mut add);
        PolicyOf::<D>::LARGE.idle(&mut add);
    }

    /// Gives memory that no block lies in back to where it came from, as far as this thread can:
    /// the regions of the free heaps that it keeps, of parked heaps without blocks, pages without a
    /// block in the slabs of all threads, what large objects left, what a global tier of this
    /// library can (see [`Allocator::trim`](crate::Allocator::trim)), and what the tiers' sources
    /// keep.
    ///
    /// # Examples
    /// ```
    /// context_allocator::switchable_allocator!(static ALLOC);
    ///
    /// let heap = ALLOC.heap().unwrap();
    /// heap.enter(|| assert!(context_allocator::Allocator::allocate(&ALLOC, LAYOUT).is_ok()));
    /// # use context_allocator::NonZeroLayout;
    /// # const LAYOUT: NonZeroLayout = NonZeroLayout::of::<u64>().unwrap();
    /// // SAFETY: The one block of the heap is not used any more.
    /// unsafe { heap.destroy() };
    /// assert!(ALLOC.trim().bytes > 0);
    /// ```
    #[inline(never)]
    pub fn trim(&self) -> Trimmed {
        self.trim_heaps();
        let mut trimmed = Trimmed { resident_bytes: self.sweep_all(), ..Trimmed::default() };
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
            D::page_map().remove_range(range.addr().get(), range.len());
        });
    }

    /// Begins the peaks of the tiers anew, at what is live now.
    #[inline(never)]
    pub fn reset_peaks(&self) {
        Self::current_thread().pending().flush(&self.totals);
        self.totals.reset_peaks();
    }
}

impl Statistics {
    fn add_coroutine(&mut self, heap: ControlRef) {
        self.heap_bytes += heap.held();
        let (allocated, remote_frees) = heap.blocks();
        match heap.phase() {
            Phase::Free => {
                self.free_heap_bytes += heap.held();
                return;
            }
            Phase::Parked | Phase::Emptying => return,
            Phase::Alive => self.heaps_alive += 1,
            Phase::Orphan | Phase::Leaked => self.orphans += 1,
        }
        self.heap_blocks += allocated;
        self.remote_frees += remote_frees as u64;
    }

    fn add_thread(&mut self, heap: ControlRef) {
        self.thread_bytes += heap.held();
        let (allocated, remote_frees) = heap.blocks();
        match heap.phase() {
            Phase::Free | Phase::Orphan | Phase::Leaked => return,
            Phase::Alive => self.thread_heaps += 1,
            Phase::Parked | Phase::Emptying => {
                self.parked_heaps += 1;
                self.parked_bytes += heap.held();
                self.parked_blocks += allocated;
            }
        }
        self.thread_blocks += allocated;
        self.remote_frees += remote_frees as u64;
    }
}
