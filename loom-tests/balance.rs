//! Remote frees race the drop of the handle: one of them releases the heap, once, when every user
//! of a block is done.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::ground::Place;
use super::{explore, together};
use crate::switch::balance::Balance;
use crate::switch::balance::Frees;

const BLOCKS: usize = 3;

/// A heap without reuse of blocks, as a bump allocator's.
struct Heap {
    balance: Balance,
    /// What its user touches.
    user: Place,
    blocks: [Place; BLOCKS],
    /// Blocks that nobody has freed yet.
    left: AtomicUsize,
    released: AtomicUsize,
}

impl Heap {
    fn new(blocks: usize) -> Self {
        Self {
            balance: Balance::new(),
            user: Place::new(),
            blocks: core::array::from_fn(|_| Place::new()),
            left: AtomicUsize::new(blocks),
            released: AtomicUsize::new(0),
        }
    }

    fn free_remotely(&self, block: usize) {
        self.blocks[block].touch();
        self.left.fetch_sub(1, Relaxed);
        if self.balance.remote_frees(1) == Frees::All {
            self.release();
        }
    }

    /// The user drops the handle, as `SwitchableAllocator::retire_heap` does; `live` blocks were
    /// not freed by the user.
    fn drop_handle(&self, live: usize) {
        self.user.touch();
        if live == 0 || self.balance.retire(live) == 0 {
            self.release();
        }
    }

    fn free_locally(&self, block: usize) {
        self.user.touch();
        self.blocks[block].touch();
        self.left.fetch_sub(1, Relaxed);
    }

    fn release(&self) {
        assert_eq!(self.left.load(Relaxed), 0, "no block is left");
        assert_eq!(self.released.fetch_add(1, Relaxed), 0, "released once");
        assert_eq!(self.balance.get(), 0);
        self.user.touch();
        self.blocks.iter().for_each(|block| {
            block.touch();
        });
        self.balance.clear();
    }

    fn check(self) {
        assert_eq!(self.released.load(Relaxed), 1);
        assert_eq!(self.balance.get(), 0);
    }
}

#[test]
fn one_block_escapes() {
    explore("balance, 1 block", 2, || {
        together(Heap::new(1), |heap| heap.drop_handle(1), [|heap| heap.free_remotely(0)]).check();
    });
}

#[test]
fn two_blocks_escape() {
    explore("balance, 2 blocks", 3, || {
        let others = [|heap: &Heap| heap.free_remotely(0), |heap: &Heap| heap.free_remotely(1)];
        together(Heap::new(2), |heap| heap.drop_handle(2), others).check();
    });
}

#[test]
fn two_blocks_escape_and_the_user_frees_one() {
    explore("balance, 2 of 3 blocks", 3, || {
        let owner = |heap: &Heap| {
            heap.free_locally(2);
            heap.drop_handle(2);
        };
        let others = [|heap: &Heap| heap.free_remotely(0), |heap: &Heap| heap.free_remotely(1)];
        together(Heap::new(3), owner, others).check();
    });
}

#[test]
fn one_thread_frees_two_blocks() {
    explore("balance, 3 blocks, 2 on one thread", 3, || {
        let free_two = |heap: &Heap| (heap.free_remotely(0), heap.free_remotely(1)).1;
        together(Heap::new(3), |heap| heap.drop_handle(3), [free_two, |heap| heap.free_remotely(2)]).check();
    });
}

#[test]
fn three_blocks_escape() {
    explore("balance, 3 blocks, 4 threads", 4, || {
        let others = [
            |heap: &Heap| heap.free_remotely(0),
            |heap: &Heap| heap.free_remotely(1),
            |heap: &Heap| heap.free_remotely(2),
        ];
        together(Heap::new(3), |heap| heap.drop_handle(3), others).check();
    });
}
