//! A context: the tier that a thread allocates from, over a chain of entered heaps.
//!
//! One word says both. The low two bits name the tier; the others are the control block of the heap
//! entered last, whose `outer` is the context it was entered from, and so on to a context without a
//! heap.
//!
//! ```text
//!   context = heap B | COROUTINE
//!                 B.outer = heap A | GLOBAL        with_global(...) inside A
//!                               A.outer = DEFAULT
//! ```
//!
//! A heap is in at most one chain, once, and a chain is in one place: a thread's state or one
//! [`SavedContext`](super::SavedContext). Moving a context moves all its heaps. So a guard or a
//! saved context may be forgotten: the heaps in it stay entered.
//!
//! What a context's heaps are is in `control.rs`.

use core::ptr::{NonNull, null_mut};

use crate::ptr;

/// See the head of this file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Context(*mut u8);

/// The tier bits of a [`Context`].
pub(crate) mod tier {
    pub(crate) const BITS: usize = 3;
    /// The thread tier, whose heap a thread may not have yet; without a thread tier, the global
    /// tier.
    pub(crate) const DEFAULT: usize = 0;
    /// The heap entered last; there is one.
    pub(crate) const COROUTINE: usize = 1;
    pub(crate) const GLOBAL: usize = 3;
}

impl Context {
    /// The default tier over no heap: all bits zero, as a new thread's state is.
    pub(crate) const DEFAULT: Self = Self(null_mut());

    /// The coroutine tier in the heap of that control block.
    #[inline(always)]
    pub(super) fn of<T>(control: NonNull<T>) -> Self {
        Self(ptr::tagged(control.as_ptr().cast(), tier::COROUTINE))
    }

    #[inline(always)]
    pub(crate) fn tier(self) -> usize {
        self.0.addr() & tier::BITS
    }

    /// The control block of the heap entered last, or null.
    #[inline(always)]
    pub(super) fn control(self) -> *mut u8 {
        ptr::untagged(self.0, tier::BITS)
    }

    /// The same if the tier is `COROUTINE`, which takes one instruction less.
    #[inline(always)]
    pub(super) fn current_control(self) -> *mut u8 {
        debug_assert!(self.tier() == tier::COROUTINE && !self.control().is_null());
        ptr::down(self.0, tier::COROUTINE)
    }

    /// Whether this is [`DEFAULT`](Self::DEFAULT).
    #[inline(always)]
    pub(crate) fn is_default(self) -> bool {
        self.0.is_null()
    }

    /// As `is_default() && zero == 0`, by one comparison.
    #[inline(always)]
    pub(crate) fn is_default_and_zero(self, zero: u32) -> bool {
        self.0.addr() | zero as usize == 0
    }

    /// Another tier over the same chain; `COROUTINE` without a heap becomes `DEFAULT`.
    #[inline(always)]
    pub(crate) fn with_tier(self, tier: usize) -> Self {
        let heap = self.control();
        if tier == tier::COROUTINE && heap.is_null() {
            return Self::DEFAULT;
        }
        Self(ptr::tagged(heap, tier))
    }
}
