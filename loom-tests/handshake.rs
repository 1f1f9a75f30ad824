//! The handle of a heap is dropped while the context in which the heap is entered is given up: one of the two settles it.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::ground::Place;
use super::{explore, together};
use crate::switch::balance::Balance;
use crate::switch::control::Local;

/// A coroutine heap: entered in a context, with a block that another thread has.
struct Heap {
    local: LocalPart,
    balance: Balance,
    /// The allocator, and what else only the heap's user touches.
    user: Place,
    block: Place,
    /// Blocks that nobody has freed yet.
    left: AtomicUsize,
    released: AtomicUsize,
}

/// `Local` is not `Sync`, since it has a cell; the models use only its atomics.
struct LocalPart(Local);

// SAFETY: Only atomics of it are used.
unsafe impl Sync for LocalPart {}

impl Heap {
    /// A heap that is entered nowhere, and `blocks` that are allocated.
    fn new(blocks: usize) -> Self {
        let local = LocalPart(Local::new());
        (0..blocks).for_each(|_| local.0.count_allocated());
        Self {
            local,
            balance: Balance::new(),
            user: Place::new(),
            block: Place::new(),
            left: AtomicUsize::new(blocks),
            released: AtomicUsize::new(0),
        }
    }

    fn entered(blocks: usize) -> Self {
        let heap = Self::new(blocks);
        heap.local.0.set_entered();
        heap
    }

    /// As `Heap::drop`.
    fn drop_handle(&self) {
        if !self.local.0.is_entered() || self.local.0.set_dropped() {
            self.local.0.clear_state();
            self.settle();
        }
    }

    /// As `Heap::enter`, where the heap is in no context.
    fn try_enter(&self) {
        if self.local.0.is_entered() {
            return;
        }
        self.local.0.set_entered();
        self.allocate_and_free();
        self.local.0.set_left_by_guard();
    }

    /// As `SavedContext::drop`.
    fn leave(&self) {
        if self.local.0.set_left() {
            self.local.0.clear_state();
            self.settle();
        }
    }

    /// What the user does in the heap.
    fn allocate_and_free(&self) {
        self.local.0.count_allocated();
        self.user.touch();
        self.local.0.count_freed();
    }

    /// As `SwitchableAllocator::settle_heap`.
    fn settle(&self) {
        self.user.touch();
        let live = self.local.0.live();
        if live == 0 || self.balance.settle(live) == 0 {
            self.release();
        }
    }

    fn free_remotely(&self) {
        self.block.touch();
        self.left.fetch_sub(1, Relaxed);
        if self.balance.remote_free() {
            self.release();
        }
    }

    fn release(&self) {
        assert_eq!(self.left.load(Relaxed), 0, "no block is left");
        assert_eq!(self.released.fetch_add(1, Relaxed), 0, "released once");
        self.user.touch();
        self.block.touch();
        self.local.0.clear();
        self.local.0.clear_state();
        self.balance.clear();
    }

    fn check(self) {
        assert_eq!(self.released.load(Relaxed), 1);
        assert!(!self.local.0.is_entered());
        assert_eq!(self.local.0.live(), 0);
    }
}

#[test]
fn handle_and_context_go_at_the_same_time() {
    explore("handshake, drop and leave", 2, || {
        let leave = |heap: &Heap| (heap.allocate_and_free(), heap.leave()).1;
        together(Heap::entered(0), Heap::drop_handle, [leave]).check();
    });
}

#[test]
fn the_last_block_goes_at_the_same_time() {
    explore("handshake, drop, leave and a remote free", 3, || {
        let leave = |heap: &Heap| (heap.allocate_and_free(), heap.leave()).1;
        together(Heap::entered(1), Heap::drop_handle, [leave, Heap::free_remotely]).check();
    });
}

#[test]
fn the_handles_holder_enters_when_the_heap_was_left() {
    explore("handshake, enter after leave", 3, || {
        let leave = |heap: &Heap| (heap.allocate_and_free(), heap.leave()).1;
        let holder = |heap: &Heap| (heap.try_enter(), heap.drop_handle()).1;
        together(Heap::entered(1), holder, [leave, Heap::free_remotely]).check();
    });
}

#[test]
fn the_holder_enters_and_leaves_by_guard() {
    explore("handshake, guard", 2, || {
        let holder = |heap: &Heap| (heap.try_enter(), heap.try_enter(), heap.drop_handle()).2;
        together(Heap::new(1), holder, [Heap::free_remotely]).check();
    });
}

/// The handle's holder enters, saves the context, and another thread gives it up: moving a context orders its uses.
#[test]
fn a_context_moves_to_another_thread() {
    explore("handshake, moved context", 3, || {
        struct Moved {
            heap: Heap,
            context: loom::sync::Mutex<bool>,
        }
        let holder = |moved: &Moved| {
            moved.heap.local.0.set_entered();
            moved.heap.allocate_and_free();
            *moved.context.lock().unwrap() = true;
            moved.heap.try_enter();
            moved.heap.drop_handle();
        };
        let receiver = |moved: &Moved| {
            if core::mem::take(&mut *moved.context.lock().unwrap()) {
                moved.heap.allocate_and_free();
                moved.heap.leave();
            }
        };
        let moved = Moved { heap: Heap::new(1), context: loom::sync::Mutex::new(false) };
        let moved = together(moved, holder, [receiver, |moved| moved.heap.free_remotely()]);
        if core::mem::take(&mut *moved.context.lock().unwrap()) {
            moved.heap.leave();
        }
        moved.heap.check();
    });
}
