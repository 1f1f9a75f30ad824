//! The handle of a heap is dropped while the context in which the heap is entered is given up: one
//! of the two settles it.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::heap::Heap;
use super::{explore, together};
use crate::switch::control::{HeapTier, Phase};

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
        coroutine.heap.local.set_entered();
        coroutine
    }

    /// As the drop of `switch::Heap`.
    fn drop_handle(&self) {
        let local = &self.heap.local;
        if !local.is_entered() || local.set_dropped() {
            local.clear_state();
            self.settle();
        }
    }

    /// As `switch::Heap::try_enter`.
    fn try_enter(&self) {
        if self.heap.local.is_entered() {
            return;
        }
        self.heap.local.set_entered();
        self.use_heap();
        self.heap.local.set_left_by_guard();
    }

    /// As the drop of `SavedContext`.
    fn leave(&self) {
        if self.heap.local.set_left() {
            self.heap.local.clear_state();
            self.settle();
        }
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
    fn settle(&self) {
        self.heap.touch();
        let live = self.heap.local.live();
        if live == 0 {
            self.release();
            return;
        }
        self.heap.shared.set_phase(Phase::Orphan);
        if self.heap.shared.balance.retire(live) == 0 {
            self.release();
        }
    }

    fn free(&self, block: usize) {
        if self.heap.free_remotely(block) {
            self.release();
        }
    }

    /// As `free_retired`. Who released the heap makes another one of its control block at once,
    /// from which a block escapes.
    fn release(&self) {
        self.heap.clear();
        self.heap.local.clear_state();
        self.heap.shared.set_phase(Phase::Free);
        if self.released.fetch_add(1, Relaxed) == 0 {
            self.heap.shared.set_phase(Phase::Alive);
            self.heap.local.set_entered();
            let block = self.heap.allocate();
            self.heap.local.set_left_by_guard();
            self.drop_handle();
            self.free(block);
        }
    }

    /// Both heaps that the control block was were released, once.
    fn check(self) {
        assert_eq!(self.released.load(Relaxed), 2);
        assert_eq!(self.heap.shared.phase(), Phase::Free);
        assert!(!self.heap.local.is_entered());
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
            moved.coroutine.heap.local.set_entered();
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
                assert!(!moved.coroutine.heap.local.is_entered());
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
