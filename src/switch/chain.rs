//! The heaps of a context: a chain from the one entered last outwards.

use core::ptr::NonNull;

use super::context::{Context, tier};
use super::control::ControlRef;

impl Context {
    /// The coroutine tier in `heap`.
    #[inline(always)]
    pub(crate) fn in_heap(heap: ControlRef) -> Self {
        Self::of(heap.as_ptr())
    }

    /// The heap entered last.
    #[inline(always)]
    pub(crate) fn heap(self) -> Option<ControlRef> {
        let heap = NonNull::new(self.control())?;
        // SAFETY: `in_heap` made the word of a control block's pointer; `with_tier` keeps that.
        Some(unsafe { ControlRef::from_ptr(heap.cast()) })
    }

    /// Whether `heap` is the one entered last.
    #[inline(always)]
    pub(crate) fn is_in(self, heap: ControlRef) -> bool {
        self.control() == heap.as_ptr().as_ptr().cast()
    }

    /// The heap entered last, if the tier is `COROUTINE`.
    #[inline(always)]
    pub(crate) fn current_heap(self) -> Option<ControlRef> {
        if self.tier() != tier::COROUTINE {
            return None;
        }
        // SAFETY: The tier is `COROUTINE`, so the word was made by `in_heap` or by `with_tier` over
        // a heap.
        let heap = unsafe { NonNull::new_unchecked(self.current_control()) };
        // SAFETY: As in `heap`.
        Some(unsafe { ControlRef::from_ptr(heap.cast()) })
    }

    /// Whether the chain holds the heap.
    ///
    /// # Safety
    /// The context is the calling thread's.
    pub(crate) unsafe fn holds(self, heap: ControlRef) -> bool {
        let mut next = self.heap();
        while let Some(entered) = next {
            if entered == heap {
                return true;
            }
            next = entered.any_local().outer.get().heap();
        }
        false
    }

    /// Leaves all heaps of a context that is given up, and calls `retire` with each whose handle
    /// was dropped before.
    ///
    /// # Safety
    /// The context is given up: it is in no thread's state and in no saved context any more.
    pub(crate) unsafe fn leave_all(self, mut retire: impl FnMut(ControlRef)) {
        let mut next = self.heap();
        while let Some(heap) = next {
            // Read before the heap is left: afterwards the holder of its handle may enter it.
            next = heap.any_local().outer.get().heap();
            if heap.leave() {
                retire(heap);
            }
        }
    }

    /// Takes a heap that is not the one entered last out of the chain, and leaves it; nothing if
    /// the chain does not hold it.
    ///
    /// # Safety
    /// The context is the calling thread's, and the heap's handle is borrowed.
    pub(crate) unsafe fn leave_inner(self, heap: ControlRef) {
        let mut next = self.heap();
        while let Some(above) = next {
            let outer = above.any_local().outer.get();
            next = outer.heap();
            if next == Some(heap) {
                // SAFETY: The heap is in this thread's context, and its handle is borrowed.
                let beyond = unsafe { heap.leave_by_guard() };
                // What was entered from inside the heap now goes back to what the heap was entered
                // from; what was entered from another tier over it goes back to that tier.
                let back =
                    if outer.tier() == tier::COROUTINE { beyond } else { beyond.with_tier(outer.tier()) };
                above.any_local().outer.set(back);
                return;
            }
        }
    }
}
