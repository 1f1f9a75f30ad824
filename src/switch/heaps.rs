//! How coroutine heaps begin and end.
//!
//! ```text
//!   free --take--> alive --retire, no blocks-----------------------------> free
//!                    \---retire, blocks--> orphan --last remote free--> free
//! ```
//!
//! A heap is retired when its handle is gone and it is in no context. A control block that is free
//! has its counts and the remote list at zero and its allocator recycled, so that making a heap of
//! it writes almost nothing.

use super::allocator::{
    Coroutine, Declaration, PolicyOf, SwitchableAllocator, TierSource, bumps, large_memory,
};
use super::context::Context;
use super::control::{ControlRef, HeapTier, Phase};
use super::current::Current;
use super::declare::{Orphan, OrphanAction, Policy};
use super::heap_ref::{HeapRef, IdleHeap, UsedHeap};
use super::thread_state::FreeHeaps;
use super::tier_source::{LONGEST_GROWTH, MOST_KEPT};
use crate::alloc::LocalAllocator;
use crate::error::SourceError;
use crate::misuse;
use crate::sync::atomic::Ordering::Relaxed;

pub(super) const FREED_TWICE: &str =
    "a block of a heap was freed twice: more blocks came back than the heap gave out";

/// Whether the length of a heap's first region is chosen by what its control block's last heap
/// held.
const fn learns<D: Declaration>() -> bool {
    bumps::<D, Coroutine>() && TierSource::<D, Coroutine>::CUTS
}

/// The control block of a coroutine heap that has a handle.
pub(super) type CoroutineHeap<D> = HeapRef<D, Coroutine>;

impl<D: Declaration> SwitchableAllocator<D> {
    /// Takes a control block for a coroutine heap.
    ///
    /// # Errors
    /// The operating system's, if it has no memory for control blocks.
    #[inline(always)]
    pub(super) fn take_heap(&self, limit: usize) -> Result<CoroutineHeap<D>, SourceError> {
        match Self::take_cached_heap(limit) {
            Some(heap) => Ok(heap),
            None => self.take_heap_from_pool(limit),
        }
    }

    /// Takes one that this thread keeps: an entry point, which is not inlined.
    #[inline(never)]
    fn take_cached_heap(limit: usize) -> Option<CoroutineHeap<D>> {
        let current = Self::current_thread();
        // SAFETY: The thread's free heaps are control blocks of the coroutine tier that stand for
        // no heap, and this thread's alone.
        let heap = unsafe { IdleHeap::of(current.free_heaps.pop()?) };
        Some(D::allocator().begin_heap(heap, limit))
    }

    #[cold]
    #[inline(never)]
    fn take_heap_from_pool(&self, limit: usize) -> Result<CoroutineHeap<D>, SourceError> {
        let current = Self::current_thread();
        let most = if self.armed(current) { FreeHeaps::BATCH } else { 1 };
        let make = |control| LocalAllocator::new_in(TierSource::new(control));
        let (first, count) = self.coroutine_pool.take(most, HeapTier::Coroutine, make)?;
        current.free_heaps.fill(first.next.get(), count - 1);
        // SAFETY: The pool's control blocks are of the coroutine tier and stand for no heap, and
        // the pool gave this one to this thread alone.
        Ok(self.begin_heap(unsafe { IdleHeap::of(first) }, limit))
    }

    /// Makes a heap of a free control block.
    #[inline(always)]
    fn begin_heap(&self, heap: IdleHeap<D, Coroutine>, limit: usize) -> CoroutineHeap<D> {
        heap.set_phase(Phase::Alive);
        heap.set_limit(limit);
        if PolicyOf::<D>::ACCOUNTING {
            self.counters(Self::current_thread()).heap_made(&self.totals);
        }
        if limit != usize::MAX && heap.held() > limit {
            // The region that the control block kept is more than this heap may hold.
            return Self::without_regions(heap).into_ref();
        }
        heap.into_ref()
    }

    #[cold]
    #[inline(never)]
    fn without_regions(mut heap: IdleHeap<D, Coroutine>) -> IdleHeap<D, Coroutine> {
        heap.release_regions();
        heap
    }

    /// Ends a coroutine heap.
    #[inline(always)]
    fn free_heap(&self, mut heap: IdleHeap<D, Coroutine>) {
        if !heap.standing().is_plain() || !heap.recycle_at_hand() || (learns::<D>() && !heap.is_as_expected())
        {
            return self.free_heap_of_regions(heap);
        }
        self.keep_heap(heap);
    }

    /// Ends the charges of a heap that has an account or went over a limit.
    fn end_charges(&self, heap: &mut IdleHeap<D, Coroutine>) {
        if heap.standing().is_over() {
            heap.release_regions();
            // What is left was spilled to other tiers.
            self.accounts.refund(heap, heap.held());
        }
        self.accounts.detach(heap);
    }

    /// Charges a heap that was made just now to an account.
    pub(super) fn charge_to(&self, heap: CoroutineHeap<D>, account: u32) {
        if !self.accounts.attach(&heap, account) {
            // The region that the control block kept is more than the account has room for.
            // SAFETY: The heap was just made, and nobody has entered it.
            let heap = Self::without_regions(unsafe { IdleHeap::new(heap) });
            self.accounts.attach(&heap, account);
        }
    }

    /// Ends one that has an account, several regions, or another one than the heaps before it.
    ///
    /// The next heap of the control block is expected to hold as much as this one did: where one
    /// context is as large as the last, all its blocks lie in one region or two.
    #[cold]
    #[inline(never)]
    fn free_heap_of_regions(&self, mut heap: IdleHeap<D, Coroutine>) {
        if !heap.standing().is_plain() {
            self.end_charges(&mut heap);
        }
        if learns::<D>() {
            heap.expect_as_much(1 << LONGEST_GROWTH);
            let expected = heap.held() == heap.expected() && heap.held() <= MOST_KEPT;
            if !heap.recycle_at_hand() || !expected {
                heap.release_regions();
            }
        } else {
            heap.recycle();
        }
        self.keep_heap(heap);
    }

    /// Keeps a control block whose allocator is as good as new.
    #[inline(always)]
    fn keep_heap(&self, heap: IdleHeap<D, Coroutine>) {
        heap.set_phase(Phase::Free);
        let current = Self::current_thread();
        if current.free_heaps.is_full() {
            self.free_heap_to_pool(heap);
            return;
        }
        current.free_heaps.push(heap.into_ref().control());
    }

    /// Returns a control block, and half of those that this thread keeps, to the pool.
    #[cold]
    #[inline(never)]
    fn free_heap_to_pool(&self, heap: IdleHeap<D, Coroutine>) {
        let current = Self::current_thread();
        current.free_heaps.push(heap.into_ref().control());
        let keep = if self.armed(current) { FreeHeaps::BATCH } else { 0 };
        self.shrink_free_heaps(current, keep);
    }

    /// Returns all but `keep` of this thread's free control blocks to the pool, without their
    /// regions.
    pub(super) fn shrink_free_heaps(&self, current: Current<'_, D>, keep: usize) {
        while current.free_heaps.count() > keep {
            let Some(control) = current.free_heaps.pop() else { break };
            // SAFETY: As in `take_cached_heap`.
            let mut heap = unsafe { IdleHeap::<D, Coroutine>::of(control) };
            heap.release_regions();
            heap.expect_nothing();
            self.coroutine_pool.give(heap.into_ref().control());
        }
    }

    /// Ends a coroutine heap whose handle was dropped and which is entered nowhere, or leaves that
    /// to the free of its last block.
    ///
    /// # Safety
    /// The caller was told to retire the heap, by [`ControlRef::drop_handle`] or
    /// [`Context::leave_all`](super::context::Context), and is its user.
    #[inline(never)]
    pub(super) unsafe fn retire_heap(&self, heap: CoroutineHeap<D>) {
        if heap.control().live() == 0 {
            // The heap's user freed every block, so no other thread freed any: the balance is 0
            // too.
            // SAFETY: The heap has no block, no handle and no user, and is in no context.
            let mut heap = unsafe { IdleHeap::new(heap) };
            if PolicyOf::<D>::ACCOUNTING {
                heap.clear_bytes();
            }
            self.free_heap(heap);
        } else {
            // SAFETY: The caller is the heap's user.
            unsafe { self.retire_heap_with_blocks(heap) };
        }
    }

    /// # Safety
    /// As [`retire_heap`](Self::retire_heap).
    #[cold]
    #[inline(never)]
    unsafe fn retire_heap_with_blocks(&self, heap: CoroutineHeap<D>) {
        let control = heap.control();
        // SAFETY: The caller is the heap's user.
        unsafe { UsedHeap::new(heap) }.release_empty_window();
        // SAFETY: As above.
        let local = unsafe { control.local() };
        let live = local.live();
        // More frees than blocks: by the heap's user, so that `live` wrapped, or by others.
        let twice = live.cast_signed() < 0 || heap.balance.get() > live.cast_signed();
        misuse::check(!twice, FREED_TWICE, control.addr());
        let alive = live.saturating_sub(heap.balance.get().unsigned_abs());
        let mut phase = Phase::Orphan;
        if alive > 0 {
            let orphan = Orphan { blocks: alive, held_bytes: heap.held() };
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
        let (live, live_bytes) = (local.live(), local.live_bytes());
        // SAFETY: The caller is the heap's user. From here on, whoever frees the last block may end
        // the heap.
        let escaped = unsafe { control.retire(phase) };
        if escaped == 0 {
            self.lifetimes.remote_frees(live);
            // SAFETY: The balance says that every block is gone, so no other thread knows the heap.
            self.free_retired(unsafe { IdleHeap::new(heap) });
        } else {
            let freed_bytes = if PolicyOf::<D>::ACCOUNTING { heap.remote_bytes.load(Relaxed) } else { 0 };
            let escaped = escaped - usize::from(phase == Phase::Leaked);
            self.lifetimes.orphaned(escaped, live_bytes.saturating_sub(freed_bytes));
        }
    }

    /// Ends a coroutine heap that was retired, whose blocks are all gone.
    #[inline(never)]
    fn free_retired(&self, mut heap: IdleHeap<D, Coroutine>) {
        heap.clear_counts();
        self.free_heap(heap);
    }

    /// Ends a retired heap whose last block was freed.
    ///
    /// # Safety
    /// The heap is of the coroutine tier, and its balance made the caller its last.
    pub(super) unsafe fn end_orphan(&self, owner: ControlRef) {
        self.lifetimes.remote_frees(owner.live());
        // SAFETY: The heap is of the coroutine tier. The balance says that every block is gone, so
        // no other thread knows the heap.
        self.free_retired(unsafe { IdleHeap::of(owner) });
    }

    /// Leaves all heaps of a context that is given up.
    ///
    /// # Safety
    /// It is in no thread's state and in no saved context any more.
    pub(super) unsafe fn leave_all(&self, context: Context) {
        let retire = |heap: ControlRef| {
            // SAFETY: Heaps in a context of this declaration are of its coroutine tier.
            let heap = unsafe { HeapRef::new(heap) };
            // SAFETY: Leaving the heap said to retire it.
            unsafe { self.retire_heap(heap) };
        };
        // SAFETY: The caller gives the context up.
        unsafe { context.leave_all(retire) };
    }

    /// Ends a coroutine heap with all that is in it, now.
    ///
    /// # Safety
    /// The heap has no handle and is in no context; no thread uses a block of it, nor frees one.
    pub(super) unsafe fn destroy_heap(&self, heap: CoroutineHeap<D>) {
        if !heap.large.is_empty() {
            // SAFETY: No thread uses or frees a large object of the heap.
            unsafe { self.large.release_all(&large_memory::<D>(), heap.control()) };
        }
        self.lifetimes.remote_frees(heap.balance.get().unsigned_abs());
        // SAFETY: No other thread knows the heap; its blocks go with it.
        self.free_retired(unsafe { IdleHeap::new(heap) });
    }
}
