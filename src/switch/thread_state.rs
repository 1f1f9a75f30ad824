//! What a thread keeps for one switchable allocator.

use core::cell::Cell;
use core::ptr::null_mut;

use super::accounting::Pending;
use super::context::{Context, tier};
use super::control::ControlRef;
use super::registers::Registers;
use super::remote_cache::RemoteCache;
use crate::alloc::{NoThreadCache, ThreadCache};

/// A thread keeps at most this many free control blocks of coroutine heaps, each with at most one
/// region.
const FREE_HEAPS: usize = 32;

/// What a thread keeps for one switchable allocator: the macro declares one as a thread-local.
///
/// It is const-initialised and has no destructor, so that it can be used for as long as the thread
/// runs any code.
#[doc(hidden)]
#[derive(Debug)]
pub struct ThreadState<C = NoThreadCache> {
    /// What the thread's heap keeps here: open while the thread tier is current and the thread has
    /// a heap, and only then.
    pub(super) thread_cache: C,
    /// What the heap entered last has at hand.
    pub(super) registers: Registers,
    context: Cell<Context>,
    thread_heap: Cell<Option<ControlRef>>,
    pub(super) free_heaps: FreeHeaps,
    stage: Cell<Stage>,
    pub(super) remote_cache: RemoteCache,
    pub(super) pending: Pending,
}

/// How far a thread is with one switchable allocator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It keeps nothing that the end of the thread would have to return.
    New,
    /// The end of the thread returns what it keeps.
    Armed,
    /// It can't be armed, or has ended but for some destructors: it keeps nothing.
    Detached,
}

impl<C: ThreadCache> ThreadState<C> {
    /// The state of a new thread.
    #[allow(clippy::new_without_default, reason = "only the macro makes one, in const context")]
    #[must_use]
    pub const fn new() -> Self {
        Self {
            thread_cache: C::EMPTY,
            registers: Registers::new(),
            context: Cell::new(Context::DEFAULT),
            thread_heap: Cell::new(None),
            free_heaps: FreeHeaps::new(),
            stage: Cell::new(Stage::New),
            remote_cache: RemoteCache::new(),
            pending: Pending::new(),
        }
    }

    #[inline(always)]
    pub(super) fn context(&self) -> Context {
        self.context.get()
    }

    /// The control block of the thread's heap.
    #[inline(always)]
    pub(super) fn own_heap(&self) -> Option<ControlRef> {
        self.thread_heap.get()
    }

    #[inline(always)]
    pub(super) fn is_own_heap(&self, heap: ControlRef) -> bool {
        let own = self.thread_heap.get().map_or(null_mut(), |own| own.as_ptr().as_ptr());
        own == heap.as_ptr().as_ptr()
    }

    /// The same as [`own_heap`](Self::own_heap), read from memory where the compiler might use an
    /// equal value that it has.
    #[inline(always)]
    pub(super) fn own_heap_anew(&self) -> Option<ControlRef> {
        // SAFETY: The cell is the calling thread's.
        unsafe { self.thread_heap.as_ptr().read_volatile() }
    }

    /// Gives the thread a heap.
    #[inline]
    pub(super) fn set_own_heap(&self, heap: ControlRef) {
        self.thread_heap.set(Some(heap));
        self.set_context(self.context());
    }

    /// Takes the thread's heap from it.
    #[inline]
    pub(super) fn take_own_heap(&self) -> Option<ControlRef> {
        let heap = self.thread_heap.replace(None);
        self.set_context(self.context());
        heap
    }

    #[inline(always)]
    pub(super) fn stage(&self) -> Stage {
        self.stage.get()
    }

    /// From here on the thread's end is seen, or not, and the thread keeps free heaps or none.
    #[inline]
    pub(super) fn set_stage(&self, stage: Stage) {
        self.stage.set(stage);
        self.free_heaps.limit.set(if stage == Stage::Armed { FREE_HEAPS } else { 0 });
    }

    /// Makes a context current. The caller sees to the registers.
    #[inline(always)]
    pub(super) fn set_context(&self, context: Context) {
        self.context.set(context);
        self.thread_cache.open(context.tier() == tier::DEFAULT && self.thread_heap.get().is_some());
    }

    /// Makes the default context current in place of that of a heap, in which the cache is closed.
    /// The caller sees to the registers.
    #[inline(always)]
    pub(super) fn set_default_context(&self) {
        debug_assert!(!self.thread_cache.is_open());
        self.context.set(Context::DEFAULT);
        if self.thread_heap.get().is_some() {
            self.thread_cache.open(true);
        }
    }

    /// Makes the context of a heap current that was entered just now. The caller sees to the
    /// registers.
    #[inline(always)]
    pub(super) fn set_heap(&self, heap: ControlRef) {
        self.context.set(Context::in_heap(heap));
        self.thread_cache.open(false);
    }
}

/// Control blocks of coroutine heaps, ready for use, linked through `next`.
#[derive(Debug)]
pub(super) struct FreeHeaps {
    first: Cell<Option<ControlRef>>,
    count: Cell<usize>,
    /// How many the thread keeps at most: none, unless its end is seen.
    limit: Cell<usize>,
}

impl FreeHeaps {
    /// A thread takes control blocks from the pool in batches of this many, and returns as many.
    pub(super) const BATCH: usize = FREE_HEAPS / 2;

    const fn new() -> Self {
        Self { first: Cell::new(None), count: Cell::new(0), limit: Cell::new(0) }
    }

    #[inline(always)]
    pub(super) fn is_full(&self) -> bool {
        self.count.get() >= self.limit.get()
    }

    #[inline]
    pub(super) fn count(&self) -> usize {
        self.count.get()
    }

    #[inline(always)]
    pub(super) fn pop(&self) -> Option<ControlRef> {
        let control = self.first.get()?;
        self.first.set(control.next.get());
        self.count.set(self.count.get() - 1);
        Some(control)
    }

    #[inline(always)]
    pub(super) fn push(&self, control: ControlRef) {
        control.next.set(self.first.get());
        self.first.set(Some(control));
        self.count.set(self.count.get() + 1);
    }

    /// Keeps `count` control blocks that are linked from `first` on, where there were none.
    #[inline]
    pub(super) fn fill(&self, first: Option<ControlRef>, count: usize) {
        debug_assert!(self.first.get().is_none());
        self.first.set(first);
        self.count.set(count);
    }
}
