//! How heaps begin and end.
//!
//! ```text
//!   coroutine heap:  free --take--> alive --drop, no blocks----------------------------> free
//!                                     \---drop, blocks--> orphan --last remote free--> free
//!   thread heap:     free --take--> alive --thread ends--> parked --next thread--> alive
//! ```
//!
//! A control block that is free, or parked without blocks, has `live`, `balance` and the remote
//! list at zero and its allocator recycled, so that making a heap of it writes almost nothing.

use core::ptr::NonNull;

use super::allocator::{PolicyOf, SwitchableAllocator, present};
use super::context::{Context, Stage};
use super::control::{HeapRef, HeapTier, Phase, Shared};
use super::slow::{FREED_TWICE, large_memory};
use super::tier_source::TierSource;
use super::tiers::{Coroutine, Declaration, HeapAllocator, Kind, StateOf, Thread};
use super::{Orphan, OrphanAction, Policy};
use crate::alloc::LocalAllocator;
use crate::sync::atomic::Ordering::Relaxed;
use crate::{SourceError, misuse};

/// A thread keeps at most this many free control blocks of coroutine heaps, each with at most one
/// region.
pub(super) const CACHED: usize = 32;
/// It takes and gives them in batches of this many.
const BATCH: usize = CACHED / 2;

impl<D: Declaration> SwitchableAllocator<D> {
    /// Takes a control block for a coroutine heap.
    #[inline(always)]
    pub(super) fn take_heap(&self, limit: usize) -> Result<HeapRef<D, Coroutine>, SourceError> {
        match Self::take_cached_heap(limit) {
            Some(heap) => Ok(heap),
            None => self.take_heap_from_pool(limit),
        }
    }

    /// Takes one that this thread keeps: an entry point, which is not inlined.
    #[inline(never)]
    fn take_cached_heap(limit: usize) -> Option<HeapRef<D, Coroutine>> {
        let state = Self::state();
        let control = NonNull::new(state.cache.get())?;
        // SAFETY: A control block is never unmapped.
        state.cache.set(unsafe { control.as_ref() }.next.get());
        state.cached.set(state.cached.get() - 1);
        Some(D::allocator().begin_heap(control, limit))
    }

    #[cold]
    #[inline(never)]
    fn take_heap_from_pool(&self, limit: usize) -> Result<HeapRef<D, Coroutine>, SourceError> {
        let control = self.refill_cache()?;
        Ok(self.begin_heap(control, limit))
    }

    /// Makes a heap of a free control block of the coroutine tier.
    #[inline(always)]
    fn begin_heap(&self, control: NonNull<Shared>, limit: usize) -> HeapRef<D, Coroutine> {
        // SAFETY: The cache and the pool hold control blocks of the coroutine tier.
        let heap = unsafe { HeapRef::from_shared(control) };
        heap.shared().set_phase(Phase::Alive);
        heap.shared().set_limit(limit);
        if PolicyOf::<D>::ACCOUNTING {
            self.account(Self::state()).heap_made(&self.totals);
        }
        if limit != usize::MAX && heap.shared().held() > limit {
            // The region that the control block kept is more than this heap may hold.
            // SAFETY: The control block was free, so the caller alone uses it, and no block is
            // allocated.
            return unsafe { self.without_regions(heap) };
        }
        heap
    }

    /// # Safety
    /// As [`drop_regions`](Self::drop_regions).
    #[cold]
    #[inline(never)]
    unsafe fn without_regions(&self, heap: HeapRef<D, Coroutine>) -> HeapRef<D, Coroutine> {
        // SAFETY: The caller's promises.
        unsafe { self.drop_regions(heap) };
        heap
    }

    /// Takes a batch of control blocks from the pool, one to use and the others to keep.
    fn refill_cache(&self) -> Result<NonNull<Shared>, SourceError> {
        let state = Self::state();
        let most = if self.armed(state) { BATCH } else { 1 };
        let (first, count) = self.coroutine_pool.take::<D, Coroutine>(most)?;
        // SAFETY: A control block is never unmapped.
        state.cache.set(unsafe { first.as_ref() }.next.get());
        state.cached.set(count - 1);
        Ok(first)
    }

    /// Ends a coroutine heap that has no blocks.
    ///
    /// # Safety
    /// The heap has no handle, is entered nowhere, and has no block, and the caller alone knows of
    /// it.
    #[inline(always)]
    pub(super) unsafe fn free_heap(&self, heap: HeapRef<D, Coroutine>) {
        // SAFETY: The caller alone knows of the heap.
        unsafe { heap.allocator_mut() }.recycle();
        heap.shared().set_phase(Phase::Free);
        let state = Self::state();
        if state.cached.get() >= state.cache_limit.get() {
            // SAFETY: The caller's promises.
            unsafe { self.free_heap_to_pool(heap) };
            return;
        }
        heap.shared().next.set(state.cache.get());
        state.cache.set(heap.as_shared().as_ptr());
        state.cached.set(state.cached.get() + 1);
    }

    /// Gives a control block, and half of those that this thread keeps, to the pool.
    ///
    /// # Safety
    /// As [`free_heap`](Self::free_heap).
    #[cold]
    #[inline(never)]
    unsafe fn free_heap_to_pool(&self, heap: HeapRef<D, Coroutine>) {
        let state = Self::state();
        heap.shared().next.set(state.cache.get());
        state.cache.set(heap.as_shared().as_ptr());
        state.cached.set(state.cached.get() + 1);
        let keep = if self.armed(state) { BATCH } else { 0 };
        self.shrink_cache(state, keep);
    }

    /// Gives all but `keep` of this thread's free control blocks to the pool, without their
    /// regions.
    pub(super) fn shrink_cache(&self, state: &StateOf<D>, keep: usize) {
        while state.cached.get() > keep {
            let Some(control) = NonNull::new(state.cache.get()) else { break };
            // SAFETY: The cache holds control blocks of the coroutine tier.
            let heap = unsafe { HeapRef::<D, Coroutine>::from_shared(control) };
            state.cache.set(heap.shared().next.get());
            state.cached.set(state.cached.get() - 1);
            // SAFETY: The cache's control blocks are this thread's alone and stand for no heap.
            unsafe { self.drop_regions(heap) };
            heap.shared().next.set(core::ptr::null_mut());
            // SAFETY: The control block came from the pool, and is off the cache.
            unsafe { self.coroutine_pool.give(control.as_ptr()) };
        }
    }

    /// Releases all regions of an allocator, by making it anew.
    ///
    /// # Safety
    /// No block of the heap is allocated, and the caller alone uses it.
    unsafe fn drop_regions<K: Kind<D>>(&self, heap: HeapRef<D, K>) {
        let fresh = HeapAllocator::<D, K>::new_in(TierSource::new(heap.as_shared()));
        // SAFETY: The caller alone uses the heap; the assignment drops the old allocator, which
        // releases its regions.
        *unsafe { heap.allocator_mut() } = fresh;
    }

    /// Ends a coroutine heap whose handle was dropped and which is entered nowhere.
    ///
    /// # Safety
    /// That is so, and the caller alone may touch the heap's local part.
    #[inline(never)]
    pub(super) unsafe fn retire_heap(&self, heap: HeapRef<D, Coroutine>) {
        // SAFETY: The caller's promises.
        let local = unsafe { heap.local() };
        if local.live() == 0 {
            // Every block was freed by the heap's user, so nobody else freed any: the balance is 0
            // too. Others may have resized some.
            if PolicyOf::<D>::ACCOUNTING {
                local.clear();
                heap.shared().remote_bytes.store(0, Relaxed);
            }
            // SAFETY: The heap has no block; the caller's promises.
            unsafe { self.free_heap(heap) };
        } else {
            // SAFETY: The caller's promises.
            unsafe { self.retire_heap_with_blocks(heap) };
        }
    }

    /// # Safety
    /// As [`retire_heap`](Self::retire_heap).
    #[cold]
    #[inline(never)]
    unsafe fn retire_heap_with_blocks(&self, heap: HeapRef<D, Coroutine>) {
        let shared = heap.shared();
        // SAFETY: The caller's promises.
        let local = unsafe { heap.local() };
        let live = local.live();
        // More frees than blocks: by the heap's user, so that `live` wrapped, or by others.
        let twice = live.cast_signed() < 0 || shared.balance.get() > live.cast_signed();
        misuse::check(!twice, FREED_TWICE, heap.as_shared().addr().get());
        let alive = live.saturating_sub(shared.balance.get().unsigned_abs());
        let mut phase = Phase::Orphan;
        if alive > 0 {
            let orphan = Orphan { blocks: alive, held_bytes: shared.held() };
            match PolicyOf::<D>::orphaned(orphan) {
                OrphanAction::Retain => {}
                // A block more than there is, so that the last is never freed.
                OrphanAction::Leak => {
                    local.count_allocated();
                    phase = Phase::Leaked;
                }
                OrphanAction::Abort => std::process::abort(),
            }
        }
        let live = local.live();
        let live_bytes = local.live_bytes.load(Relaxed);
        shared.set_phase(phase);
        let escaped = shared.balance.retire(live);
        // From here on, whoever frees the last block may free the heap.
        if escaped == 0 {
            self.lifetimes.remote_frees(live);
            // SAFETY: The balance says that every block is gone, so nobody else knows of the heap.
            unsafe { self.free_retired(heap) };
        } else {
            let freed_bytes = if PolicyOf::<D>::ACCOUNTING { shared.remote_bytes.load(Relaxed) } else { 0 };
            let escaped = escaped - usize::from(phase == Phase::Leaked);
            self.lifetimes.orphaned(escaped, live_bytes.saturating_sub(freed_bytes));
        }
    }

    /// Frees a coroutine heap whose blocks were settled and are all gone.
    ///
    /// # Safety
    /// That is so, and the caller was told so by the balance.
    #[inline(never)]
    unsafe fn free_retired(&self, heap: HeapRef<D, Coroutine>) {
        let shared = heap.shared();
        shared.balance.clear();
        shared.remote.clear();
        shared.remote_bytes.store(0, Relaxed);
        // SAFETY: Nobody else knows of the heap.
        let local = unsafe { heap.local() };
        local.clear();
        local.clear_state();
        // SAFETY: The heap has no block, no handle, and is in no context: it was settled.
        unsafe { self.free_heap(heap) };
    }

    /// Called by the remote free that took a settled heap's last block.
    #[cold]
    #[inline(never)]
    pub(super) fn last_block_gone(&self, owner: NonNull<Shared>) {
        // SAFETY: A control block is never unmapped.
        let shared = unsafe { owner.as_ref() };
        match shared.tier {
            HeapTier::Coroutine => {
                // SAFETY: The control block says that it is of the coroutine tier.
                let heap = unsafe { HeapRef::<D, Coroutine>::from_shared(owner) };
                // SAFETY: The balance made the caller the heap's last.
                let live = unsafe { heap.local() }.live();
                self.lifetimes.remote_frees(live);
                self.lifetimes.orphan_freed();
                // SAFETY: The balance made the caller the heap's last.
                unsafe { self.free_retired(heap) };
            }
            HeapTier::Thread => {
                // SAFETY: The control block says that it is of the thread tier.
                let heap = unsafe { HeapRef::<D, Thread>::from_shared(owner) };
                self.parking.last_freed(shared, || {
                    // SAFETY: The lot says that the heap is parked, has no block, and is this
                    // call's alone.
                    unsafe { self.empty_parked(heap) };
                    // SAFETY: As above.
                    unsafe { self.drop_regions(heap) };
                });
            }
        }
    }

    /// Makes a parked heap without blocks as good as new, but for one region.
    ///
    /// # Safety
    /// The heap is parked, has no block, and the parking lot left it to the caller alone.
    unsafe fn empty_parked(&self, heap: HeapRef<D, Thread>) {
        let shared = heap.shared();
        // SAFETY: The caller's promises.
        let local = unsafe { heap.local() };
        self.lifetimes.remote_frees(local.live());
        shared.balance.clear();
        shared.remote.clear();
        shared.remote_bytes.store(0, Relaxed);
        local.clear();
        // SAFETY: The caller's promises.
        unsafe { heap.allocator_mut() }.recycle();
    }

    /// The calling thread's heap, made or adopted if need be; `None` where the thread has none.
    pub(super) fn thread_heap(&self, state: &StateOf<D>) -> Option<HeapRef<D, Thread>> {
        if !present::<D, Thread>() {
            return None;
        }
        let heap = match NonNull::new(state.thread_heap.get()) {
            Some(heap) => heap,
            None if self.armed(state) => {
                let heap = self.adopt_or_make()?;
                state.thread_heap.set(heap.as_ptr());
                heap
            }
            None => return None,
        };
        // SAFETY: A thread's heap is one of the thread tier.
        Some(unsafe { HeapRef::from_shared(heap) })
    }

    fn adopt_or_make(&self) -> Option<NonNull<Shared>> {
        let live_of = |heap| {
            // SAFETY: The parking lot holds heaps of the thread tier.
            let heap = unsafe { HeapRef::<D, Thread>::from_shared(heap) };
            // SAFETY: The heap is parked, and the lot's lock is held when this is called.
            unsafe { heap.local() }.live()
        };
        if let Some(heap) = self.parking.adopt(live_of) {
            return Some(heap);
        }
        let (heap, _) = self.thread_pool.take::<D, Thread>(1).ok()?;
        // SAFETY: A control block is never unmapped.
        unsafe { heap.as_ref() }.set_phase(Phase::Alive);
        Some(heap)
    }

    /// Takes the calling thread's heaps from it: it ends.
    pub(super) fn detach(&self) {
        let (own, context) = self.give_up_heaps();
        // A policy's code may run here, so the state is fetched again afterwards.
        self.leave_all(context);
        self.park_heap(own);
    }

    /// The first half of [`detach`](Self::detach): what is allocated from here on comes from the
    /// global tier.
    #[inline(never)]
    fn give_up_heaps(&self) -> (Option<HeapRef<D, Thread>>, Context) {
        let state = Self::state();
        // The heap goes first: what the policy allocates when a heap below becomes an orphan must
        // not make it current again.
        state.stage.set(Stage::Detached);
        state.cache_limit.set(0);
        self.send_all(state);
        let own = NonNull::new(state.thread_heap.replace(core::ptr::null_mut()));
        let context = state.context.get();
        state.set_context(Context::DEFAULT);
        let own = own.map(|heap| {
            // SAFETY: A thread's heap is one of the thread tier.
            unsafe { HeapRef::<D, Thread>::from_shared(heap) }
        });
        if let Some(heap) = own {
            // What is freed from here on comes home like a remote free.
            // SAFETY: The heap was this thread's until it was taken from it above, and nobody else
            // has it yet.
            unsafe { self.close_front(heap, state) };
        }
        (own, context)
    }

    /// The second half of [`detach`](Self::detach).
    #[inline(never)]
    fn park_heap(&self, own: Option<HeapRef<D, Thread>>) {
        let state = Self::state();
        if let Some(heap) = own {
            // SAFETY: The heap was this thread's until `give_up_heaps` took it, and nobody else has
            // it yet.
            let _ = unsafe { self.collect_remote(heap) };
            // SAFETY: As above.
            unsafe { self.close_front(heap, state) };
            // SAFETY: As above.
            let live = unsafe { heap.local() }.live();
            // SAFETY: The lot says that the heap is parked, has no block, and is this call's alone.
            self.parking.park(heap.shared(), live, || unsafe { self.empty_parked(heap) });
        }
        self.shrink_cache(state, 0);
        if PolicyOf::<D>::ACCOUNTING {
            self.totals.leave(&state.pending);
        }
    }

    /// Leaves all heaps of a context that is given up.
    pub(super) fn leave_all(&self, context: Context) {
        let mut next = context.heap();
        while let Some(heap) = NonNull::new(next) {
            // SAFETY: The heap in a context of this declaration is one of its coroutine tier.
            let heap = unsafe { HeapRef::<D, Coroutine>::from_shared(heap) };
            // SAFETY: The heap is in the context that the caller gives up, so the caller is its
            // user.
            let local = unsafe { heap.local() };
            next = local.outer.get().heap();
            if local.set_left() {
                // SAFETY: The handle was dropped, and the heap was just left.
                unsafe { self.retire_heap_left(heap) };
            }
        }
    }

    /// Not inlined into the loop over a context's heaps, because a policy's code may run for each
    /// of them.
    ///
    /// # Safety
    /// As [`retire_heap`](Self::retire_heap).
    #[inline(never)]
    unsafe fn retire_heap_left(&self, heap: HeapRef<D, Coroutine>) {
        // SAFETY: The handle is gone and the heap is in no context, so nobody else touches the
        // local part.
        unsafe { heap.local() }.clear_state();
        // SAFETY: The caller's promises.
        unsafe { self.retire_heap(heap) };
    }

    /// Frees a coroutine heap with all that is in it, now.
    ///
    /// # Safety
    /// The heap has no handle and is in no context; nobody uses a block of it, nor frees one.
    pub(super) unsafe fn destroy_heap(&self, heap: HeapRef<D, Coroutine>) {
        let shared = heap.shared();
        if !shared.large.get().is_null() {
            // SAFETY: Nobody uses or frees a large object of the heap.
            unsafe { self.large.release_all(&large_memory::<D>(), shared) };
        }
        self.lifetimes.remote_frees(shared.balance.get().unsigned_abs());
        // SAFETY: Nobody else knows of the heap; its blocks go with it.
        unsafe { self.free_retired(heap) };
    }

    /// The part of [`trim`](Self::trim) that is about heaps: their regions go back to the tiers'
    /// sources.
    pub(super) fn trim_heaps(&self) {
        let state = Self::state();
        // The locks that are taken below must be known to the fork handlers.
        self.armed(state);
        self.settle_thread(state);
        self.shrink_cache(state, 0);
        self.parking.for_each_empty(|heap| {
            // SAFETY: The parking lot holds heaps of the thread tier.
            let heap = unsafe { HeapRef::<D, Thread>::from_shared(heap) };
            // SAFETY: The lot says that the heap is parked, has no block, and is this call's alone.
            unsafe { self.empty_parked(heap) };
            // SAFETY: As above.
            unsafe { self.drop_regions(heap) };
        });
    }
}
