//! Blocks that threads push on a remote list reach the owner, each once, with what was done to
//! them.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use core::ptr::NonNull;

use loom::sync::atomic::AtomicUsize as LoomUsize;
use loom::sync::atomic::Ordering::{Acquire, Release};

use super::ground::{Door, Ground};
use super::{explore, together};
use crate::layout::NonZeroLayout;
use crate::sync::RemoteList;

const BLOCK: usize = 16;
const BLOCKS: usize = 4;

struct Heap {
    list: RemoteList,
    door: Door,
    ground: Ground,
    /// How often each block was pushed, minus how often it was taken.
    on_list: [AtomicUsize; BLOCKS],
    /// A block on its way to another thread, plus 1; or 0.
    sent: LoomUsize,
}

impl Heap {
    fn new() -> Self {
        Self {
            list: RemoteList::new(),
            door: Door::new(),
            ground: Ground::new(1, BLOCKS * BLOCK, BLOCK),
            on_list: [const { AtomicUsize::new(0) }; BLOCKS],
            sent: LoomUsize::new(0),
        }
    }

    /// The layouts differ, so that a mix-up shows.
    fn layout(block: usize) -> NonZeroLayout {
        NonZeroLayout::from_size_align(BLOCK - block, 1 << block).unwrap()
    }

    fn push(&self, block: usize) {
        self.ground.touch(self.ground.at(block));
        self.on_list[block].fetch_add(1, Relaxed);
        self.door.pass();
        // SAFETY: The models push a block that the thread has, of two words.
        unsafe { self.list.push(self.ground.at(block), Self::layout(block)) };
    }

    /// Takes what is there, uses it, and calls `f` with each block.
    fn take_each(&self, mut f: impl FnMut(usize)) {
        self.door.pass();
        let mut taken: [Option<NonNull<u8>>; BLOCKS] = [None; BLOCKS];
        for (place, (block, layout)) in taken.iter_mut().zip(self.list.take()) {
            let unit = self.ground.unit_of(block);
            assert_eq!(layout, Self::layout(unit));
            assert_eq!(self.on_list[unit].fetch_sub(1, Relaxed), 1, "a block comes once for each push");
            *place = Some(block);
        }
        for block in taken.into_iter().flatten() {
            self.ground.touch(block);
            f(self.ground.unit_of(block));
        }
    }

    fn take(&self) {
        self.take_each(|_| ());
    }

    fn check(self) {
        self.take();
        assert!(self.on_list.iter().all(|pushed| pushed.load(Relaxed) == 0), "every block came");
        assert_eq!(self.list.take().count(), 0);
    }
}

#[test]
fn owner_takes_while_two_push() {
    explore("remote list", 3, || {
        let push_two = |heap: &Heap| (heap.push(0), heap.push(1)).1;
        together(Heap::new(), |heap| (heap.take(), heap.take()).1, [push_two, |heap| heap.push(2)]).check();
    });
}

#[test]
fn owner_takes_while_three_push() {
    explore("remote list, 4 threads", 4, || {
        let push_two = |heap: &Heap| (heap.push(2), heap.push(3)).1;
        let others = [|heap: &Heap| heap.push(0), |heap: &Heap| heap.push(1), push_two];
        together(Heap::new(), |heap| (heap.take(), heap.take()).1, others).check();
    });
}

/// The case of the stack's ABA problem: a block is taken, handed out again and pushed again while
/// another push is under way.
#[test]
fn a_block_goes_round_twice() {
    explore("remote list, round twice", 3, || {
        let owner = |heap: &Heap| {
            heap.take_each(|block| {
                if block == 0 {
                    heap.sent.store(1, Release);
                }
            });
            heap.take();
        };
        let push_again = |heap: &Heap| {
            heap.push(0);
            if heap.sent.load(Acquire) == 1 {
                heap.push(0);
            }
        };
        together(Heap::new(), owner, [push_again, |heap| heap.push(1)]).check();
    });
}
