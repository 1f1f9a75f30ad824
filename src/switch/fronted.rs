//! Heaps of threads that keep a part of their allocator in the thread's static storage: what the
//! fast paths leave over.
//!
//! The allocator of such a heap counts its blocks itself, as it gives them to the front and takes
//! them back, so that the paths that all allocations and frees take count nothing. `live` of the
//! heap is then that count, plus its large objects, plus the blocks that came home from other
//! threads (which the balance counts as freed, and the allocator too). While the heap is used,
//! blocks at hand in the front are in that count; when it is parked, it is exact.

use core::ptr::NonNull;

use super::Policy;
use super::allocator::{PolicyOf, SwitchableAllocator, has_thread_cache};
use super::control::{HeapRef, Shared};
use super::tiers::{CacheOf, Declaration, HeapAllocator, Kind, StateOf, Thread};
use crate::alloc::{Pushed, ThreadCache, ThreadCacheFor};
use crate::{AllocError, NonZeroLayout};

impl<D: Declaration> SwitchableAllocator<D> {
    /// Allocates from a fronted heap where the front's common paths gave nothing.
    ///
    /// # Safety
    /// The calling thread uses the heap, which is fronted.
    #[inline]
    pub(super) unsafe fn allocate_through_front(
        &self,
        heap: NonNull<Shared>,
        state: &StateOf<D>,
        layout: NonZeroLayout,
    ) -> *mut u8 {
        // SAFETY: As in `allocate_from_front`.
        let block =
            unsafe { ThreadCacheFor::<HeapAllocator<D, Thread>>::pop_uncommon(&state.thread_cache, layout) };
        if block.is_null() {
            // SAFETY: The caller's promises.
            return unsafe { self.fill_front(heap, layout) };
        }
        if PolicyOf::<D>::ACCOUNTING {
            self.account_in_thread(state, layout.size().cast_signed());
        }
        block
    }

    /// Allocates where the front has nothing.
    ///
    /// # Safety
    /// As [`allocate_through_front`](Self::allocate_through_front).
    #[cold]
    #[inline(never)]
    unsafe fn fill_front(&self, heap: NonNull<Shared>, layout: NonZeroLayout) -> *mut u8 {
        let state = Self::state();
        // SAFETY: A fronted heap is of the thread tier.
        let heap = unsafe { HeapRef::<D, Thread>::from_shared(heap) };
        let mut error = AllocError::TooLarge;
        if layout.size().max(layout.align()) <= <Thread as Kind<D>>::LARGEST {
            self.send_all(state);
            if !heap.shared().remote.is_empty() {
                // SAFETY: The calling thread uses the heap.
                unsafe { self.collect_remote(heap) };
            }
            // SAFETY: The calling thread uses the heap, and has no other reference to its allocator
            // here.
            let allocator = unsafe { heap.allocator() };
            // SAFETY: The front is the calling thread's, whose heap alone uses it.
            let block = unsafe { state.thread_cache.fill(allocator, layout) };
            // SAFETY: As above.
            unsafe { self.recount(heap) };
            match block {
                Ok(block) => {
                    if PolicyOf::<D>::ACCOUNTING {
                        self.account_in_thread(state, layout.size().cast_signed());
                    }
                    return block.as_ptr();
                }
                Err(refused) => error = refused,
            }
        }
        // SAFETY: The calling thread uses the heap.
        unsafe { self.allocate_large(heap, layout, error) }
    }

    /// Frees a block of the thread's heap that the front did not know.
    ///
    /// # Safety
    /// The calling thread uses the heap, which is fronted and handed out the block; the caller
    /// gives it up; `layout` fits it, and `region` is as for [`LocalAllocator::deallocate_in`].
    #[inline(never)]
    pub(super) unsafe fn free_through_front(
        &self,
        heap: NonNull<Shared>,
        region: NonNull<u8>,
        block: NonNull<u8>,
        layout: NonZeroLayout,
    ) {
        let state = Self::state();
        // SAFETY: A fronted heap is of the thread tier.
        let heap = unsafe { HeapRef::<D, Thread>::from_shared(heap) };
        // SAFETY: The caller's promises.
        unsafe { self.give_to_front(heap, state, region, block, layout) };
        // SAFETY: The calling thread uses the heap.
        unsafe { self.recount(heap) };
        if PolicyOf::<D>::ACCOUNTING {
            self.account_in_thread(state, layout.size().cast_signed().wrapping_neg());
        }
    }

    /// Takes a block back that another thread freed.
    ///
    /// # Safety
    /// The calling thread uses the heap, which is fronted and handed out the block; the caller
    /// gives it up; `layout` fits it.
    pub(super) unsafe fn collect_block(
        &self,
        heap: NonNull<Shared>,
        block: NonNull<u8>,
        layout: NonZeroLayout,
    ) {
        let state = Self::state();
        // SAFETY: A fronted heap is of the thread tier.
        let heap = unsafe { HeapRef::<D, Thread>::from_shared(heap) };
        // SAFETY: As in `allocate_from_front`; the caller gives the block up.
        match unsafe { state.thread_cache.push(block) } {
            Pushed::Taken => {}
            Pushed::Transition(what) => {
                // SAFETY: The calling thread uses the heap, and has no other reference to its
                // allocator here.
                let allocator = unsafe { heap.allocator() };
                // SAFETY: The front is that of the thread that uses the heap, and said so just now.
                unsafe { state.thread_cache.transition(allocator, what) };
            }
            Pushed::Elsewhere => {
                let region = D::page_map().find(block.addr().get()).region_of(block);
                // SAFETY: The caller's promises; the map leads to the block's region.
                unsafe { self.give_to_front(heap, state, region, block, layout) };
            }
        }
    }

    /// # Safety
    /// As [`free_through_front`](Self::free_through_front).
    unsafe fn give_to_front(
        &self,
        heap: HeapRef<D, Thread>,
        state: &StateOf<D>,
        region: NonNull<u8>,
        block: NonNull<u8>,
        layout: NonZeroLayout,
    ) {
        // SAFETY: The calling thread uses the heap, and has no other reference to its allocator
        // here.
        let allocator = unsafe { heap.allocator() };
        // SAFETY: The caller's promises; the state is that of the thread that uses the heap.
        unsafe { state.thread_cache.push_unknown(allocator, region, block, layout) };
    }

    /// Tells the thread's heap what its front said.
    #[cold]
    #[inline(never)]
    pub(super) fn slab_transition(&self, what: NonNull<()>) {
        let state = Self::state();
        let Some(heap) = NonNull::new(state.thread_heap.get()) else { return };
        // SAFETY: A thread's heap is one of the thread tier.
        let heap = unsafe { HeapRef::<D, Thread>::from_shared(heap) };
        // SAFETY: The thread's heap is used by its thread, which has no other reference to its
        // allocator here.
        let allocator = unsafe { heap.allocator() };
        // SAFETY: The front is that of the thread that uses the heap, and said so just now.
        unsafe { state.thread_cache.transition(allocator, what) };
        // SAFETY: As above.
        unsafe { self.recount(heap) };
    }

    /// Sends what this thread keeps back of other heaps' blocks, and takes back what its front has.
    pub(super) fn settle_thread(&self, state: &StateOf<D>) {
        self.send_all(state);
        if let Some(heap) = NonNull::new(state.thread_heap.get()) {
            // SAFETY: A thread's heap is one of the thread tier.
            let heap = unsafe { HeapRef::<D, Thread>::from_shared(heap) };
            // SAFETY: The thread's heap is used by its thread.
            unsafe { self.close_front(heap, state) };
        }
    }

    /// Takes everything back from the front, so that the heap's count is exact and another thread
    /// may use it.
    ///
    /// # Safety
    /// The calling thread uses the heap, and `state` is its.
    pub(super) unsafe fn close_front(&self, heap: HeapRef<D, Thread>, state: &StateOf<D>) {
        if has_thread_cache::<D>() {
            // SAFETY: The calling thread uses the heap, and has no other reference to its allocator
            // here.
            let allocator = unsafe { heap.allocator() };
            // SAFETY: The front is the calling thread's, whose heap alone uses it.
            unsafe { state.thread_cache.flush(allocator) };
            // SAFETY: The calling thread uses the heap.
            unsafe { self.recount(heap) };
        }
    }

    /// Adds to the heap's count what its allocator has given to the front and got back.
    ///
    /// # Safety
    /// The calling thread uses the heap.
    pub(super) unsafe fn recount<K: Kind<D>>(&self, heap: HeapRef<D, K>) {
        // SAFETY: The calling thread uses the heap, and has no other reference to its allocator
        // here.
        let more = CacheOf::<D, K>::counted(unsafe { heap.allocator() });
        // SAFETY: The calling thread uses the heap.
        unsafe { heap.local() }.add_live(more);
    }

    /// Adds a block of the thread's heap to the accounts, or takes it off where `bytes` is
    /// negative.
    #[inline(always)]
    pub(super) fn account_in_thread(&self, state: &StateOf<D>, bytes: isize) {
        let index = <Thread as Kind<D>>::INDEX;
        let size = bytes.unsigned_abs();
        if bytes < 0 {
            self.account(state).freed(&self.totals, index, size);
        } else {
            self.account(state).allocated(&self.totals, index, size);
        }
        if let Some(heap) = NonNull::new(state.thread_heap.get()) {
            // SAFETY: A thread's heap is one of the thread tier.
            let heap = unsafe { HeapRef::<D, Thread>::from_shared(heap) };
            // SAFETY: The thread's heap is used by its thread.
            unsafe { heap.local() }.add_bytes(bytes.cast_unsigned());
        }
    }
}
