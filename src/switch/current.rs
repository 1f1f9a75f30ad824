//! What the calling thread uses: its state, with the proofs that the state gives.

use core::marker::PhantomData;
use core::ops::Deref;

use super::accounting::Pending;
use super::allocator::{Coroutine, Declaration, HeapsOf, StateOf, SwitchableAllocator, Thread, present};
use super::context::tier;
use super::control::ControlRef;
use super::heap_ref::{HeapRef, UsedHeap};

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

/// # Safety
/// The calling thread uses the heap for `'a`, which is of that tier: heaps in a context of a
/// declaration are of its coroutine tier, and a thread's own heap is of its thread tier.
#[inline(always)]
pub(super) unsafe fn used<'a, D: Declaration, Tier: HeapsOf<D>>(heap: ControlRef) -> UsedHeap<'a, D, Tier> {
    // SAFETY: The heap is of that tier, and the pool made its allocator.
    let heap = unsafe { HeapRef::new(heap) };
    // SAFETY: The calling thread uses the heap, which therefore is not idle.
    unsafe { UsedHeap::new(heap) }
}
