//! What is current: a tier, over a chain of entered heaps.
//!
//! One word says both. The low two bits name the tier; the others are the control block of the heap
//! entered last, whose [`outer`](super::control::Local::outer) is the context it was entered from,
//! and so on to a context without a heap.
//!
//! ```text
//!   context = heap B | COROUTINE
//!                 B.outer = heap A | GLOBAL        with_global(...) inside A
//!                               A.outer = DEFAULT
//! ```
//!
//! A heap is in at most one chain, once, and a chain is in one place: a thread's state or one
//! [`SavedContext`]. Moving a context moves all its heaps. That is what makes it safe to forget a
//! guard or a saved context: the heaps in it just stay entered.

use core::cell::Cell;
use core::ptr::{NonNull, null_mut};

use super::accounting::Pending;
use super::control::Shared;
use super::remote_cache::RemoteCache;
use crate::alloc::{NoThreadCache, ThreadCache};
use crate::ptr;

/// A tier over a chain of entered heaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Context(*mut u8);

/// The tier bits of a [`Context`].
pub(crate) mod tier {
    pub(crate) const BITS: usize = 3;
    /// The thread tier, whose heap this thread may not have yet; without a thread tier, the global
    /// tier.
    pub(crate) const DEFAULT: usize = 0;
    /// The heap entered last; there is one.
    pub(crate) const COROUTINE: usize = 1;
    /// The thread's heap; there is one.
    pub(crate) const THREAD: usize = 2;
    pub(crate) const GLOBAL: usize = 3;
}

impl Context {
    /// The default tier over no heap: all bits zero, as a new thread's state is.
    pub(crate) const DEFAULT: Self = Self(null_mut());

    /// The coroutine tier in `heap`.
    #[inline(always)]
    pub(crate) fn in_heap(heap: NonNull<Shared>) -> Self {
        Self(ptr::tagged(heap.as_ptr().cast(), tier::COROUTINE))
    }

    #[inline(always)]
    pub(crate) fn tier(self) -> usize {
        self.0.addr() & tier::BITS
    }

    /// The heap entered last, or null.
    #[inline(always)]
    pub(crate) fn heap(self) -> *mut Shared {
        ptr::untagged(self.0, tier::BITS).cast()
    }

    /// The heap, where the tier is `COROUTINE`: one instruction less than [`heap`](Self::heap).
    #[inline(always)]
    pub(crate) fn current_heap(self) -> NonNull<Shared> {
        debug_assert!(self.tier() == tier::COROUTINE && !self.heap().is_null());
        let heap = ptr::down(self.0, tier::COROUTINE).cast();
        // SAFETY: The tier is COROUTINE, so the word was made by `in_heap` or by `with_tier` over a
        // heap.
        unsafe { NonNull::new_unchecked(heap) }
    }

    /// Another tier over the same chain; `COROUTINE` without a heap becomes `DEFAULT`.
    #[inline(always)]
    pub(crate) fn with_tier(self, tier: usize) -> Self {
        let heap = ptr::untagged(self.0, tier::BITS);
        if tier == tier::COROUTINE && heap.is_null() {
            return Self::DEFAULT;
        }
        Self(ptr::tagged(heap, tier))
    }
}

/// What a thread keeps for one switchable allocator: the macro declares one as a thread-local.
///
/// It is const-initialised and has no destructor, so that it can be used for as long as the thread
/// runs any code.
#[doc(hidden)]
#[derive(Debug)]
pub struct ThreadState<F = NoThreadCache> {
    /// What the thread's heap keeps here: open while the thread tier is current, and only then.
    pub(crate) thread_cache: F,
    pub(crate) context: Cell<Context>,
    /// The control block of the thread's heap, or null.
    pub(crate) thread_heap: Cell<*mut Shared>,
    /// Control blocks of coroutine heaps, ready to be used, linked through `next`.
    pub(crate) cache: Cell<*mut Shared>,
    pub(crate) cached: Cell<usize>,
    /// How many of them it keeps at most: none, unless the end of the thread will be seen.
    pub(crate) cache_limit: Cell<usize>,
    pub(crate) stage: Cell<Stage>,
    pub(crate) remote_cache: RemoteCache,
    pub(crate) pending: Pending,
}

/// How far a thread is with one switchable allocator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It keeps nothing that the end of the thread would have to give back.
    New,
    /// The end of the thread will give back what it keeps.
    Armed,
    /// It can't be armed, or has ended but for some destructors: it keeps nothing.
    Detached,
}

impl<F: ThreadCache> ThreadState<F> {
    /// The state of a new thread.
    #[allow(clippy::new_without_default, reason = "only the macro makes one, in const context")]
    pub const fn new() -> Self {
        Self {
            thread_cache: F::EMPTY,
            context: Cell::new(Context::DEFAULT),
            thread_heap: Cell::new(null_mut()),
            cache: Cell::new(null_mut()),
            cached: Cell::new(0),
            cache_limit: Cell::new(0),
            stage: Cell::new(Stage::New),
            remote_cache: RemoteCache::new(),
            pending: Pending::new(),
        }
    }

    /// Makes a context current. One that was current on another thread may be in the thread tier,
    /// whose heap this thread may not have yet.
    #[inline(always)]
    pub(crate) fn activate(&self, context: Context) {
        let context = match context.tier() {
            tier::THREAD if self.thread_heap.get().is_null() => context.with_tier(tier::DEFAULT),
            _ => context,
        };
        self.set_context(context);
    }

    /// Makes a context current, which is in the thread tier only if this thread has a heap.
    #[inline(always)]
    pub(crate) fn set_context(&self, context: Context) {
        self.context.set(context);
        self.thread_cache.open(context.tier() == tier::THREAD);
    }

    /// Makes a heap current that was entered just now.
    #[inline(always)]
    pub(crate) fn enter(&self, heap: NonNull<Shared>) {
        self.context.set(Context::in_heap(heap));
        self.thread_cache.open(false);
    }
}
