//! The handle of a heap is dropped while the context in which the heap is entered is given up: one
//! of the two retires it.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::heap::Heap;
use super::{explore, together};
use crate::switch::context::Context;
use crate::switch::control::{ControlRef, HeapTier, Phase};

/// A coroutine heap, its handle and the context in which it is entered.
struct Coroutine {
    heap: Heap,
    released: AtomicUsize,
}

impl Coroutine {
    /// A heap that is entered nowhere, with `blocks` allocated.
    fn new(blocks: usize) -> Self {
        Self { heap: Heap::new(HeapTier::Coroutine, blocks), released: AtomicUsize::new(0) }
    }

    fn entered(blocks: usize) -> Self {
        let coroutine = Self::new(blocks);
        coroutine.enter();
        coroutine
    }

    fn control(&self) -> ControlRef {
        self.heap.control()
    }

    /// The handle's holder enters; whether the heap was entered nowhere.
    fn enter(&self) -> bool {
        // SAFETY: The models enter on the thread that has the handle.
        unsafe { self.control().enter(Context::DEFAULT) }
    }

    fn leave_by_guard(&self) {
        // SAFETY: The thread entered the heap, and still has the handle.
        assert_eq!(unsafe { self.control().leave_by_guard() }, Context::DEFAULT);
    }

    /// As the drop of `switch::Heap`.
    fn drop_handle(&self) {
        // SAFETY: The thread has the handle, and does not use it again.
        if unsafe { self.control().drop_handle() } {
            self.retire();
        }
    }

    /// As `switch::Heap::try_enter`.
    fn try_enter(&self) {
        if self.enter() {
            self.use_heap();
            self.leave_by_guard();
        }
    }

    /// As the drop of `SavedContext`.
    fn leave(&self) {
        let retire = |heap: ControlRef| {
            assert_eq!(heap, self.control());
            self.retire();
        };
        // SAFETY: The thread runs in the context, and gives it up.
        unsafe { Context::in_heap(self.control()).leave_all(retire) };
    }

    /// What is done inside.
    fn use_heap(&self) {
        self.heap.collect_remote();
        let block = self.heap.allocate();
        self.heap.free_locally(block);
    }

    fn use_and_leave(&self) {
        self.use_heap();
        self.leave();
    }

    /// As `SwitchableAllocator::retire_heap`.
    fn retire(&self) {
        self.heap.touch();
        // SAFETY: Dropping the handle, or leaving the heap, said to retire it.
        if self.control().live() == 0 || unsafe { self.control().retire(Phase::Orphan) } == 0 {
            self.release();
        }
    }

    fn free(&self, block: usize) {
        if self.heap.free_remotely(block) {
            self.release();
        }
    }

    /// As `free_retired`. The thread that released the heap makes another one of its control block
    /// at once, from which a block escapes.
    fn release(&self) {
        self.heap.clear();
        self.control().set_phase(Phase::Free);
        if self.released.fetch_add(1, Relaxed) == 0 {
            self.control().set_phase(Phase::Alive);
            assert!(self.enter());
            let block = self.heap.allocate();
            self.leave_by_guard();
            self.drop_handle();
            self.free(block);
        }
    }

    /// Both heaps that the control block was were released, once.
    fn check(self) {
        assert_eq!(self.released.load(Relaxed), 2);
        assert_eq!(self.control().phase(), Phase::Free);
        assert!(!self.control().is_entered());
        self.heap.check_without_blocks();
    }
}

#[test]
fn handle_and_context_go_at_the_same_time() {
    explore("handshake, drop and leave", 2, || {
        together(Coroutine::entered(0), Coroutine::drop_handle, [Coroutine::use_and_leave]).check();
    });
}

#[test]
fn the_last_block_goes_at_the_same_time() {
    explore("handshake, drop, leave and a remote free", 3, || {
        let others = [Coroutine::use_and_leave, |coroutine: &Coroutine| coroutine.free(0)];
        together(Coroutine::entered(1), Coroutine::drop_handle, others).check();
    });
}

#[test]
fn the_last_of_two_blocks_goes_at_the_same_time() {
    explore("handshake, drop, leave and two remote frees", 4, || {
        let others = [
            Coroutine::use_and_leave,
            |coroutine: &Coroutine| coroutine.free(0),
            |coroutine: &Coroutine| coroutine.free(1),
        ];
        together(Coroutine::entered(2), Coroutine::drop_handle, others).check();
    });
}

#[test]
fn the_handles_holder_enters_when_the_heap_was_left() {
    explore("handshake, enter after leave", 3, || {
        let holder = |coroutine: &Coroutine| (coroutine.try_enter(), coroutine.drop_handle()).1;
        let others = [Coroutine::use_and_leave, |coroutine: &Coroutine| coroutine.free(0)];
        together(Coroutine::entered(1), holder, others).check();
    });
}

#[test]
fn the_holder_enters_and_leaves_by_guard() {
    explore("handshake, guard", 3, || {
        let holder = |coroutine: &Coroutine| {
            coroutine.try_enter();
            coroutine.try_enter();
            coroutine.drop_handle();
        };
        let others = [|coroutine: &Coroutine| coroutine.free(0), |coroutine: &Coroutine| coroutine.free(1)];
        together(Coroutine::new(2), holder, others).check();
    });
}

/// The handle's holder enters, and its context is given up on another thread: what moves a context
/// orders its uses, here a lock.
#[test]
fn a_context_moves_to_another_thread() {
    struct Moved {
        coroutine: Coroutine,
        context: loom::sync::Mutex<bool>,
    }
    explore("handshake, moved context", 3, || {
        let holder = |moved: &Moved| {
            assert!(moved.coroutine.enter());
            moved.coroutine.use_heap();
            *moved.context.lock().unwrap() = true;
            moved.coroutine.try_enter();
            moved.coroutine.drop_handle();
        };
        let receiver = |moved: &Moved| {
            if core::mem::take(&mut *moved.context.lock().unwrap()) {
                moved.coroutine.use_and_leave();
            }
        };
        let moved = Moved { coroutine: Coroutine::new(1), context: loom::sync::Mutex::new(false) };
        let moved = together(moved, holder, [receiver, |moved| moved.coroutine.free(0)]);
        receiver(&moved);
        moved.coroutine.check();
    });
}

/// The handle moves to another thread after a guard was dropped: moving it orders the uses.
#[test]
fn a_handle_moves_to_another_thread() {
    struct Moved {
        coroutine: Coroutine,
        handle: loom::sync::Mutex<bool>,
    }
    explore("handshake, moved handle", 3, || {
        let holder = |moved: &Moved| {
            moved.coroutine.try_enter();
            *moved.handle.lock().unwrap() = true;
        };
        let receiver = |moved: &Moved| {
            if core::mem::take(&mut *moved.handle.lock().unwrap()) {
                assert!(!moved.coroutine.control().is_entered());
                moved.coroutine.try_enter();
                moved.coroutine.drop_handle();
            }
        };
        let moved = Moved { coroutine: Coroutine::new(1), handle: loom::sync::Mutex::new(false) };
        let moved = together(moved, holder, [receiver, |moved| moved.coroutine.free(0)]);
        receiver(&moved);
        moved.coroutine.check();
    });
}

/// A chain of two heaps is given up: the holders of both handles drop them at the same time.
#[test]
fn a_chain_of_two_heaps_is_left() {
    struct Chain {
        outer: Coroutine,
        inner: Coroutine,
    }
    explore("handshake, two heaps", 3, || {
        let chain = Chain { outer: Coroutine::entered(0), inner: Coroutine::new(0) };
        // SAFETY: The models enter on the thread that has the handle.
        assert!(unsafe { chain.inner.control().enter(Context::in_heap(chain.outer.control())) });
        let leave = |chain: &Chain| {
            chain.inner.use_heap();
            chain.outer.use_heap();
            let retire = |heap: ControlRef| {
                let inner = heap == chain.inner.control();
                if inner { chain.inner.retire() } else { chain.outer.retire() }
            };
            // SAFETY: The thread runs in the context, and gives it up.
            unsafe { Context::in_heap(chain.inner.control()).leave_all(retire) };
        };
        let enter_and_drop = |chain: &Chain| (chain.inner.try_enter(), chain.inner.drop_handle()).1;
        let chain = together(chain, leave, [enter_and_drop, |chain: &Chain| chain.outer.drop_handle()]);
        chain.outer.check();
        chain.inner.check();
    });
}
