//! Sweeping the heaps of all threads: giving up pages in which no block is allocated, while their
//! threads sleep.
//!
//! A thread that leaves something to sweep in its heap, or in another's, has the tier's source list
//! the declaration's one [`Sweep`](crate::source::Sweep). The source's thread then goes over the
//! heaps at each of its ticks, until nothing changes any more. A call of `trim` does it at once, on
//! the calling thread.

use super::allocator::{CacheOf, Declaration, HeapsOf, SwitchableAllocator, Thread, has_thread_cache};
use super::control::{ControlRef, Phase};
use super::remote::allocator_of;
use crate::alloc::{Round, Swept, ThreadCacheFor};
use crate::source::MemorySource;

/// Whether heaps of the thread tier can have something to sweep.
const fn sweeps<D: Declaration>() -> bool {
    has_thread_cache::<D>() && <CacheOf<D, Thread> as ThreadCacheFor<_>>::LETS_GO
}

impl<D: Declaration> SwitchableAllocator<D> {
    /// What the source's thread runs: one tick of the sweep; whether there is more to do.
    pub(super) fn sweep_tick() -> bool {
        let allocator = D::allocator();
        let tick = allocator.sweep.next_tick();
        allocator.sweep_heaps(Round { tick, all: false }).later
    }

    /// Has the tier's source sweep later, if there is something to sweep in a heap of the thread
    /// tier.
    #[inline(always)]
    pub(super) fn sweep_later(&self, heap: ControlRef) {
        if !sweeps::<D>() || self.sweep.sweep().is_listed() {
            return;
        }
        // SAFETY: The heap is of the thread tier.
        let allocator = unsafe { allocator_of::<D>(heap) };
        // SAFETY: Control blocks, and so their allocators, are never unmapped.
        if unsafe { CacheOf::<D, Thread>::is_unswept(allocator) } {
            <Thread as HeapsOf<D>>::source().sweep_later(D::allocator().sweep.sweep());
        }
    }

    /// Sweeps all heaps, those too that are in use just now; how many bytes of memory that gave up.
    pub(super) fn sweep_all(&self) -> usize {
        // The fork handlers must know the locks that are taken.
        if !sweeps::<D>() || !self.armed(Self::current_thread()) {
            return 0;
        }
        let tick = self.sweep.next_tick();
        self.sweep_heaps(Round { tick, all: true }).bytes
    }

    fn sweep_heaps(&self, round: Round) -> Swept {
        let mut sum = Swept::default();
        for heap in self.thread_pool.all() {
            if !matches!(heap.phase(), Phase::Alive | Phase::Parked) {
                continue;
            }
            // SAFETY: The pool is of the thread tier's control blocks, which are never unmapped.
            let allocator = unsafe { allocator_of::<D>(heap) };
            // SAFETY: The allocator is there, and its heap is used through thread caches; the
            // tier's source is every thread's. `threads` keeps sweeps out while it makes a heap
            // anew, or lets go of its slabs.
            let swept = unsafe { CacheOf::<D, Thread>::sweep(allocator, round) };
            sum.bytes += swept.bytes;
            sum.later |= swept.later;
        }
        sum
    }
}
