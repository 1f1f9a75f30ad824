//! What the calling thread uses: its state, with the proofs that the state gives.

use core::marker::PhantomData;
use core::ops::Deref;
use core::ptr::NonNull;

use super::accounting::Pending;
use super::allocator::{
    CacheOf, Coroutine, Declaration, HeapAllocator, HeapsOf, StateOf, SwitchableAllocator, Thread, bumps,
    present,
};
use super::context::{Context, tier};
use super::control::{ControlRef, HeapTier};
use super::heap_ref::{HeapRef, UsedHeap};
use crate::alloc::{LocalAllocator, ThreadCacheFor, Window};
use crate::layout::NonZeroLayout;

/// The calling thread's state for the allocator that `D` declares.
pub(super) struct Current<'a, D: Declaration> {
    state: &'a StateOf<D>,
    declaration: PhantomData<D>,
}

impl<D: Declaration> Clone for Current<'_, D> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<D: Declaration> Copy for Current<'_, D> {}

impl<D: Declaration> Deref for Current<'_, D> {
    type Target = StateOf<D>;

    #[inline(always)]
    fn deref(&self) -> &StateOf<D> {
        self.state
    }
}

impl<D: Declaration> SwitchableAllocator<D> {
    /// The calling thread's state.
    ///
    /// The compiler computes its address once in a function and keeps it, whatever that function
    /// calls. So the rule of this module: a function that calls this is not inlined into a function
    /// that may suspend a coroutine, nor runs code that may. Entry points are `#[inline(never)]`,
    /// and so is each function that needs the state again after the user's code ran.
    #[inline(always)]
    pub(super) fn current_thread<'a>() -> Current<'a, D> {
        // SAFETY: A `Declaration` gives a thread-local without destructor, which lives as long as
        // the thread, and of which only shared references are made; no caller keeps it beyond its
        // own straight-line code.
        let state = unsafe { &*D::thread_state() };
        Current { state, declaration: PhantomData }
    }
}

/// A heap, if the calling thread uses it.
pub(super) enum InUse<'a, D: Declaration> {
    Coroutine(UsedHeap<'a, D, Coroutine>),
    Thread(UsedHeap<'a, D, Thread>),
    Elsewhere,
}

impl<'a, D: Declaration> Current<'a, D> {
    #[inline(always)]
    pub(super) fn state(self) -> &'a StateOf<D> {
        self.state
    }

    /// What the thread has counted.
    #[inline(always)]
    pub(super) fn pending(self) -> &'a Pending {
        &self.state.pending
    }

    /// The heap of the coroutine tier that is current.
    #[inline(always)]
    pub(super) fn coroutine_heap(self) -> Option<UsedHeap<'a, D, Coroutine>> {
        if !present::<D, Coroutine>() {
            return None;
        }
        let heap = self.state.context().current_heap()?;
        // SAFETY: The heap is in this thread's context.
        Some(unsafe { used(heap) })
    }

    /// The heap of the coroutine tier that was entered last, whichever tier is current.
    #[inline(always)]
    pub(super) fn heap_entered_last(self) -> Option<UsedHeap<'a, D, Coroutine>> {
        if !present::<D, Coroutine>() {
            return None;
        }
        let heap = self.state.context().heap()?;
        // SAFETY: The heap is in this thread's context.
        Some(unsafe { used(heap) })
    }

    /// The thread's heap, if it has one.
    #[inline(always)]
    pub(super) fn thread_heap(self) -> Option<UsedHeap<'a, D, Thread>> {
        let heap = self.state.own_heap()?;
        // SAFETY: The thread's heap is used by its thread.
        Some(unsafe { used(heap) })
    }

    /// The thread's heap, if the thread tier is current.
    #[inline(always)]
    pub(super) fn current_thread_heap(self) -> Option<UsedHeap<'a, D, Thread>> {
        if !present::<D, Thread>() || self.state.context().tier() != tier::DEFAULT {
            return None;
        }
        self.thread_heap()
    }

    /// Whether, and as what, the calling thread uses a heap.
    #[inline(always)]
    pub(super) fn in_use(self, owner: ControlRef) -> InUse<'a, D> {
        if present::<D, Coroutine>() && self.state.context().is_in(owner) {
            // SAFETY: The heap is in this thread's context.
            InUse::Coroutine(unsafe { used(owner) })
        } else if present::<D, Thread>() && self.state.is_own_heap(owner) {
            // The same address, but not at the end of the page map's three loads: the block goes on
            // the heap's list without waiting for them. A plain read would let the compiler use
            // `owner` after all.
            let own = self.state.own_heap_anew();
            // SAFETY: It equals `owner`.
            let own = unsafe { own.unwrap_unchecked() };
            // SAFETY: The thread's heap is used by its thread.
            InUse::Thread(unsafe { used(own) })
        } else {
            InUse::Elsewhere
        }
    }

    /// Writes what the registers hold back to the heap entered last, if there is one: before
    /// another context becomes current, and before the heap is looked at.
    #[inline(always)]
    pub(super) fn save(self) {
        if let Some(heap) = self.heap_entered_last() {
            self.save_to(heap);
        }
    }

    /// Saves the registers, which are those of `heap`.
    #[inline(always)]
    fn save_to(self, heap: UsedHeap<'_, D, Coroutine>) {
        let registers = &self.state.registers;
        heap.local().set_live(registers.live());
        if bumps::<D, Coroutine>() {
            // SAFETY: The registers took blocks from the allocator's window, and nothing else did
            // since they were loaded.
            unsafe { heap.allocator().set_cursor(registers.cursor()) };
        }
    }

    /// Makes a context current, and loads the registers of its heap. What they held was saved.
    #[inline(always)]
    pub(super) fn load(self, context: Context) {
        self.state.set_context(context);
        if !present::<D, Coroutine>() {
            return;
        }
        match context.heap() {
            // SAFETY: The heap is in this thread's context.
            Some(heap) => self.load_from(unsafe { used(heap) }, context.tier() == tier::COROUTINE),
            None => self.state.registers.set_window(Window::EMPTY, false),
        }
    }

    /// Loads the registers of the heap that was entered last.
    #[inline(always)]
    fn load_from(self, heap: UsedHeap<'_, D, Coroutine>, open: bool) {
        let registers = &self.state.registers;
        registers.set_live(heap.local().live());
        registers.set_window(heap.allocator().window(), open);
    }

    /// Makes a heap current that the calling thread entered just now, from `outer`.
    ///
    /// # Safety
    /// It did, and `outer` is still current.
    #[inline(always)]
    pub(super) unsafe fn enter(self, heap: ControlRef, outer: Context) {
        if let Some(outer) = outer.heap() {
            // SAFETY: The outer context's heap is the one that was entered last so far.
            self.save_to(unsafe { used(outer) });
        }
        self.state.set_heap(heap);
        // SAFETY: The heap is in this thread's context now.
        self.load_from(unsafe { used(heap) }, true);
    }

    /// Makes the context current that a heap was entered from, which the calling thread left just
    /// now.
    ///
    /// # Safety
    /// The heap was the one that this thread entered last, and this thread alone may use it still.
    #[inline(always)]
    pub(super) unsafe fn leave(self, heap: ControlRef, outer: Context) {
        // SAFETY: No other thread uses the heap yet; the registers are still this heap's.
        self.save_to(unsafe { used(heap) });
        self.load(outer);
    }

    /// Makes another tier current over the same heaps.
    #[inline(always)]
    pub(super) fn change_tier(self, tier: usize) {
        self.save();
        self.load(self.state.context().with_tier(tier));
    }

    /// Whether the calling thread allocates from a heap now.
    pub(super) fn allocates_from(self, owner: ControlRef) -> bool {
        let context = self.state.context();
        match context.tier() {
            tier::COROUTINE => context.is_in(owner),
            tier::DEFAULT => self.state.is_own_heap(owner),
            _ => false,
        }
    }
}

impl<D: Declaration, Tier: HeapsOf<D>> UsedHeap<'_, D, Tier> {
    /// Calls `f` with the heap's allocator, of which the registers keep nothing meanwhile. `f` does
    /// nothing but call the allocator.
    #[inline(always)]
    pub(super) fn with_allocator<R>(
        self,
        current: Current<'_, D>,
        f: impl FnOnce(&HeapAllocator<D, Tier>) -> R,
    ) -> R {
        if !Self::IN_REGISTERS || !bumps::<D, Tier>() {
            return f(self.allocator());
        }
        let registers = &current.state.registers;
        // SAFETY: A coroutine heap that a thread uses is the one that it entered last, whose window
        // the registers hold, and nothing else took blocks since they were loaded.
        unsafe { self.allocator().set_cursor(registers.cursor()) };
        let result = f(self.allocator());
        registers.set_window(self.allocator().window(), current.context().tier() == tier::COROUTINE);
        result
    }

    /// Gives a block back to the heap's allocator, and counts it.
    ///
    /// # Safety
    /// The heap's allocator handed out the block, no large object, which is not used again; the
    /// layout fits it; `region` is as for [`ThreadCacheFor::deallocate_in`].
    #[inline(always)]
    pub(super) unsafe fn deallocate_in(
        self,
        current: Current<'_, D>,
        region: NonNull<u8>,
        block: NonNull<u8>,
        layout: NonZeroLayout,
    ) {
        if Self::IN_REGISTERS && bumps::<D, Tier>() {
            let registers = &current.state.registers;
            if !registers.give_back_last(block, layout.size()) {
                // Nothing else is to be done for a block that is not the last.
                registers.count_freed();
            }
            return;
        }
        // SAFETY: The caller promises the same of the block and the region.
        unsafe { CacheOf::<D, Tier>::deallocate_in(self.allocator(), region, block, layout) };
        self.count_freed(current);
    }

    /// Counts a block that the heap handed out.
    #[inline(always)]
    pub(super) fn count_allocated(self, current: Current<'_, D>) {
        if Self::IN_REGISTERS {
            current.registers.count_allocated();
        } else {
            self.local().count_allocated();
        }
    }

    /// Counts a block of the heap that its user freed.
    #[inline(always)]
    pub(super) fn count_freed(self, current: Current<'_, D>) {
        if Self::IN_REGISTERS {
            current.registers.count_freed();
        } else {
            self.local().count_freed();
        }
    }

    /// Whether the registers of the thread that uses the heap are the heap's.
    const IN_REGISTERS: bool = matches!(Tier::TIER, HeapTier::Coroutine);
}

/// # Safety
/// The calling thread uses the heap for `'a`, which is of that tier: heaps in a context of a
/// declaration are of its coroutine tier, and a thread's own heap is of its thread tier.
#[inline(always)]
unsafe fn used<'a, D: Declaration, Tier: HeapsOf<D>>(heap: ControlRef) -> UsedHeap<'a, D, Tier> {
    // SAFETY: The heap is of that tier, and the pool made its allocator.
    let heap = unsafe { HeapRef::new(heap) };
    // SAFETY: The calling thread uses the heap, which therefore is not idle.
    unsafe { UsedHeap::new(heap) }
}
