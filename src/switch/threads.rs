//! How thread heaps begin and end, and what a thread returns when it ends.
//!
//! ```text
//!   free --first allocation--> alive --thread ends--> parked --next thread--> alive
//! ```

use core::ffi::c_void;

use super::allocator::{
    Coroutine, Declaration, HeapsOf, PolicyOf, SwitchableAllocator, Thread, TierSource, has_thread_cache,
    present,
};
use super::context::Context;
use super::control::{ControlRef, Phase};
use super::current::Current;
use super::declare::Policy;
use super::heap_ref::{HeapRef, IdleHeap, UsedHeap};
use super::thread_state::Stage;
use crate::alloc::{LocalAllocator, ThreadCacheFor, slab_sweep};

impl<D: Declaration> SwitchableAllocator<D> {
    /// Whether the end of the calling thread will be seen; sees to it if it can.
    #[inline]
    pub(super) fn armed(&self, current: Current<'_, D>) -> bool {
        match current.stage() {
            Stage::Armed => true,
            Stage::Detached => false,
            Stage::New => self.arm(current),
        }
    }

    #[cold]
    #[inline(never)]
    fn arm(&self, current: Current<'_, D>) -> bool {
        let Some(armed) = D::allocator().hooks.arm(thread_ends::<D>) else {
            // This thread forks. It asks again the next time, and does without until then.
            return false;
        };
        current.set_stage(if armed { Stage::Armed } else { Stage::Detached });
        if armed && PolicyOf::<D>::ACCOUNTING {
            self.totals.join(current.pending());
        }
        armed
    }

    /// The calling thread's heap, made or adopted if need be; `None` if the thread has none.
    pub(super) fn own_thread_heap<'a>(&self, current: Current<'a, D>) -> Option<UsedHeap<'a, D, Thread>> {
        if !present::<D, Thread>() {
            return None;
        }
        if current.own_heap().is_none() && self.armed(current) {
            current.set_own_heap(self.adopt_or_make()?);
        }
        current.thread_heap()
    }

    fn adopt_or_make(&self) -> Option<ControlRef> {
        if let Some(heap) = self.parking.adopt() {
            return Some(heap);
        }
        let make = |control| LocalAllocator::new_in(TierSource::new(control));
        let (heap, _) = self.thread_pool.take(1, <Thread as HeapsOf<D>>::TIER, make).ok()?;
        heap.set_phase(Phase::Alive);
        Some(heap)
    }

    /// Sends the batches for other threads' heaps that this thread keeps, collects what other
    /// threads freed, and returns the blocks in its thread cache to its heap.
    pub(super) fn flush_thread(&self, current: Current<'_, D>) {
        self.send_all(current);
        if let Some(heap) = current.thread_heap() {
            // First, so that no block on the heap's list is of a slab that the heap lets go of.
            self.collect_remote(heap);
            Self::flush_cache(heap, current);
            self.sweep_later(heap.control());
        }
    }

    /// Returns all that the thread cache holds to the thread's heap, so that the heap's count is
    /// exact and another thread may use it. The heap is the one that the cache is of.
    fn flush_cache(heap: UsedHeap<'_, D, Thread>, current: Current<'_, D>) {
        if has_thread_cache::<D>() {
            // SAFETY: The cache is the calling thread's, whose heap alone uses it.
            unsafe { current.thread_cache.flush(heap.allocator()) };
            heap.recount();
        }
    }

    /// Lets go of the slabs of the thread's heap of which blocks are allocated, so that each leaves
    /// with its last block. An empty slab stays for the next thread if all blocks are free. The
    /// cache was just flushed.
    fn let_go_of_slabs(heap: UsedHeap<'_, D, Thread>, current: Current<'_, D>) {
        if has_thread_cache::<D>() {
            let (allocated, _) = heap.control().blocks();
            let _no_sweep = slab_sweep::exclude();
            // SAFETY: The cache is the calling thread's, whose heap alone uses it.
            unsafe { current.thread_cache.let_go(heap.allocator(), u32::from(allocated == 0)) };
            heap.recount();
        }
    }

    /// Takes the calling thread's heaps from it: it ends.
    fn detach(&self) {
        let (own, context) = self.give_up_heaps();
        // A policy's code may run here, so the state is fetched again afterwards.
        // SAFETY: `give_up_heaps` took the context from the thread's state.
        unsafe { self.leave_all(context) };
        self.park_heap(own);
    }

    /// The first half of [`detach`](Self::detach): later allocations come from the global tier.
    #[inline(never)]
    fn give_up_heaps(&self) -> (Option<HeapRef<D, Thread>>, Context) {
        let current = Self::current_thread();
        // The heap goes first: what the policy allocates when a heap below becomes an orphan must
        // not make it current again.
        current.set_stage(Stage::Detached);
        self.send_all(current);
        if let Some(heap) = current.thread_heap() {
            // Later frees of its blocks are remote frees.
            Self::flush_cache(heap, current);
        }
        let own = current.take_own_heap();
        current.save();
        let context = current.context();
        current.load(Context::DEFAULT);
        // SAFETY: A thread's heap is one of the thread tier.
        (own.map(|heap| unsafe { HeapRef::new(heap) }), context)
    }

    /// The second half of [`detach`](Self::detach).
    #[inline(never)]
    fn park_heap(&self, own: Option<HeapRef<D, Thread>>) {
        let current = Self::current_thread();
        if let Some(own) = own {
            // SAFETY: The heap was this thread's until `give_up_heaps` took it, and no other thread
            // has it yet.
            let heap = unsafe { UsedHeap::new(own) };
            self.collect_remote(heap);
            Self::flush_cache(heap, current);
            Self::let_go_of_slabs(heap, current);
            self.sweep_later(own.control());
            let empty = |is_one_of_many| {
                // SAFETY: The lot says that the heap is parked, has no block, and is this call's
                // alone.
                let mut heap = unsafe { IdleHeap::new(own) };
                self.empty_parked(&mut heap, is_one_of_many);
            };
            // SAFETY: This thread is the heap's user, and uses it no more.
            unsafe { self.parking.park(own.control(), empty) };
        }
        self.shrink_free_heaps(current, 0);
        if PolicyOf::<D>::ACCOUNTING {
            self.totals.leave(current.pending());
        }
    }

    /// Makes a parked heap without blocks as good as new, but for one region, or wholly.
    fn empty_parked(&self, heap: &mut IdleHeap<D, Thread>, wholly: bool) {
        // Some may have been returned to the heap just before it let go of their slabs, which wait
        // for them.
        // SAFETY: The heap is an idle one of the thread tier.
        unsafe { Self::return_listed(heap.control()) };
        self.lifetimes.remote_frees(heap.live());
        heap.clear_counts();
        let _no_sweep = slab_sweep::exclude();
        heap.recycle();
        if wholly {
            heap.release_regions();
        }
    }

    /// The same, and releases that region too.
    fn empty_parked_wholly(&self, heap: ControlRef) {
        // SAFETY: The parking lot holds heaps of the thread tier, and says that this one is parked,
        // has no block, and is this call's alone.
        let mut heap = unsafe { IdleHeap::of(heap) };
        self.empty_parked(&mut heap, true);
    }

    /// Called by the remote free that took the last block of a retired heap of the thread tier.
    pub(super) fn empty_if_parked(&self, heap: ControlRef) {
        self.parking.last_freed(heap, || self.empty_parked_wholly(heap));
    }

    /// The part of `trim` that is about heaps: their regions return to the tiers' sources.
    pub(super) fn trim_heaps(&self) {
        let current = Self::current_thread();
        // The fork handlers must know the locks that are taken below.
        self.armed(current);
        self.flush_thread(current);
        self.shrink_free_heaps(current, 0);
        self.parking.for_each_empty(|heap| self.empty_parked_wholly(heap));
        TierSource::<D, Coroutine>::release_empty_slices();
        TierSource::<D, Thread>::release_empty_slices();
    }
}

/// The end of a thread.
unsafe extern "C" fn thread_ends<D: Declaration>(_: *mut c_void) {
    D::allocator().detach();
}
