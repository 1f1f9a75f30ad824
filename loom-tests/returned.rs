//! A slab that its heap lets go of, while other threads return its blocks and the heap takes it
//! back.
//!
//! Each block comes back once: on the slab, or on the heap's list. A slab of which no block is out
//! is released, once, by whoever returned the last one; whoever has the slab, or holds it, is
//! ordered behind all that had it before.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::vec::Vec;

use core::ptr::{NonNull, null_mut};

use super::ground::{Door, Ground, Place};
use super::{explore, together};
use crate::layout::NonZeroLayout;
use crate::sync::{Batch, Given, Guarded, RemoteBlock, RemoteList, Returned};

const BLOCK: usize = 16;
/// The first is where a slab's header would be.
const UNITS: usize = 5;
/// Of a slab that was let go of, so many blocks are enough to take it back for.
const WAKE: usize = 1;

struct Slab {
    returned: Returned,
    /// What the slab says of itself.
    header: Place,
    /// As `until` and `rest` of a slab.
    until: AtomicUsize,
    rest: AtomicUsize,
    /// Whether the slab says that it is in the list, and whether it is.
    says_listed: AtomicUsize,
    listed: Guarded<bool>,
    /// Blocks that are returned to the heap instead.
    list: RemoteList,
    ground: Ground,
    door: Door,
    released: AtomicUsize,
    /// Blocks that came back to the heap's user.
    back: std::sync::Mutex<Vec<usize>>,
    blocks: usize,
}

impl Slab {
    /// A slab of which so many blocks are out, and which the heap lets go of.
    fn new(blocks: usize) -> Self {
        let slab = Self {
            returned: Returned::new(),
            header: Place::new(),
            until: AtomicUsize::new(0),
            rest: AtomicUsize::new(blocks),
            says_listed: AtomicUsize::new(0),
            listed: Guarded::new(false),
            list: RemoteList::new(),
            ground: Ground::new(1, (UNITS + 3) * BLOCK, BLOCK),
            door: Door::new(),
            released: AtomicUsize::new(0),
            back: std::sync::Mutex::new(Vec::new()),
            blocks,
        };
        slab.let_go();
        slab
    }

    fn base(&self) -> NonNull<u8> {
        self.ground.at(0)
    }

    /// As `Heap::set_aside`.
    fn let_go(&self) {
        self.header.touch();
        let out = self.until.load(Relaxed) + self.rest.load(Relaxed);
        let until = WAKE.min(out);
        self.until.store(until, Relaxed);
        self.rest.store(out - until, Relaxed);
        self.returned.let_go(until);
    }

    /// As `SwitchableAllocator::return_blocks`, for blocks that the thread has.
    fn free<const N: usize>(&self, blocks: [usize; N]) {
        let layout = NonZeroLayout::of::<[u64; 2]>().unwrap();
        let (mut first, mut last) = (null_mut(), None);
        for block in blocks {
            self.ground.touch(self.ground.at(block));
            // SAFETY: The thread has the block, of two words.
            let written = unsafe { RemoteBlock::write(self.ground.at(block), first, layout) };
            first = written.as_ptr();
            last = last.or(Some(written));
        }
        let batch = Batch { first: NonNull::new(first).unwrap(), last: last.unwrap() };
        self.door.pass();
        // SAFETY: The slab begins there, and the blocks are the thread's.
        match unsafe { self.returned.give(self.base(), batch, N) } {
            // SAFETY: As above.
            Given::No => unsafe { self.list.push_all(batch) },
            Given::Yes => {}
            Given::Last { beyond } => self.settle(beyond),
        }
    }

    /// As `ReturnedSlabs::settle`.
    fn settle(&self, beyond: usize) {
        self.header.touch();
        let left = self.rest.load(Relaxed).checked_sub(beyond).expect("no more than are out");
        if left == 0 && self.says_listed.load(Relaxed) == 0 {
            return self.release();
        }
        let mut listed = self.listed.lock();
        self.says_listed.store(1, Relaxed);
        *listed = true;
        let prepare = |left| {
            self.header.touch();
            self.until.store(left, Relaxed);
            self.rest.store(0, Relaxed);
        };
        let less = |left: usize, more| left.checked_sub(more).expect("no more than are out");
        if self.returned.settle(left, prepare, less) {
            assert!(core::mem::replace(&mut *listed, false));
            drop(listed);
            self.release();
        }
    }

    fn release(&self) {
        self.header.touch();
        (1..=self.blocks).for_each(|block| self.ground.touch(self.ground.at(block)));
        assert_eq!(self.released.fetch_add(1, Relaxed), 0);
        assert_eq!(self.back.lock().unwrap().len(), 0, "none came back to the heap");
    }

    /// As `ReturnedSlabs::take_back`; whether no other thread holds the slab.
    fn take_back(&self) -> bool {
        self.door.pass();
        let Some(taken) = self.returned.take_back(self.base()) else { return false };
        self.header.touch();
        if self.says_listed.swap(0, Relaxed) == 1 {
            assert!(core::mem::replace(&mut *self.listed.lock(), false));
        }
        self.come_back(taken.first, taken.left);
        true
    }

    /// As `ReturnedSlabs::take`; whether the slab was in the list, and no other thread holds it.
    fn take(&self) -> bool {
        self.door.pass();
        let mut listed = self.listed.lock();
        if !*listed {
            return false;
        }
        let Some(taken) = self.returned.take_back(self.base()) else { return false };
        *listed = false;
        drop(listed);
        self.header.touch();
        self.says_listed.store(0, Relaxed);
        self.come_back(taken.first, taken.left);
        true
    }

    fn come_back(&self, first: *mut RemoteBlock, left: usize) {
        let before = self.until.swap(left, Relaxed);
        let mut next = first;
        let mut count = 0;
        while let Some(block) = NonNull::new(next) {
            self.ground.touch(block.cast());
            self.back.lock().unwrap().push(self.ground.unit_of(block.cast()));
            // SAFETY: Blocks that were returned begin with their links.
            next = unsafe { block.cast::<*mut RemoteBlock>().read() };
            count += 1;
        }
        // Those before the countdown that is under way were returned by it too.
        assert!(count >= before - left);
    }

    /// At the end, when all blocks were freed.
    fn check(self) {
        let on_list: Vec<usize> = self.list.take().map(|(block, _)| self.ground.unit_of(block)).collect();
        let back = self.back.lock().unwrap().len();
        match self.released.load(Relaxed) {
            1 => assert_eq!((on_list.len(), back), (0, 0)),
            _ if self.returned.is_let_go() => {
                // Some lie on the heap's list, from where they go to the slab.
                assert!(!on_list.is_empty());
                let late = on_list.len();
                on_list.into_iter().for_each(|block| self.free([block]));
                assert_eq!(self.released.load(Relaxed), 1, "{late} were the last");
            }
            _ => assert_eq!(on_list.len() + back, self.blocks),
        }
    }
}

#[test]
fn the_last_to_return_a_block_releases_the_slab() {
    explore("returned: two threads return blocks", 3, || {
        let slab = together(
            Slab::new(4),
            |slab| slab.free([1]),
            [
                |slab| {
                    slab.free([2]);
                    slab.free([3]);
                },
                |slab| slab.free([4]),
            ],
        );
        assert_eq!(slab.released.load(Relaxed), 1);
        slab.check();
    });
}

#[test]
fn batches_end_a_countdown_beyond_its_end() {
    explore("returned: batches", 2, || {
        let slab = together(Slab::new(4), |slab| slab.free([1, 2]), [|slab| slab.free([3, 4])]);
        assert_eq!(slab.released.load(Relaxed), 1);
        slab.check();
    });
}

#[test]
fn a_heap_takes_a_slab_back_while_its_blocks_return() {
    explore("returned: a heap takes its slab back", 3, || {
        let slab = together(
            Slab::new(3),
            |slab| {
                let _ = slab.take_back();
            },
            [|slab| slab.free([1]), |slab| slab.free([2, 3])],
        );
        slab.check();
    });
}

#[test]
fn a_heap_finds_a_slab_in_the_list() {
    explore("returned: a heap takes a slab from the list", 3, || {
        let slab = together(
            Slab::new(3),
            |slab| {
                let _ = slab.take();
            },
            [
                |slab| slab.free([1]),
                |slab| {
                    slab.free([2]);
                    slab.free([3]);
                },
            ],
        );
        slab.check();
    });
}

#[test]
fn a_heap_lets_go_again() {
    explore("returned: taken back and let go of", 2, || {
        let slab = together(
            Slab::new(3),
            |slab| {
                if slab.take_back() {
                    // What came back is handed out again, to this thread.
                    let back: Vec<usize> = slab.back.lock().unwrap().drain(..).collect();
                    slab.until.fetch_add(back.len(), Relaxed);
                    slab.let_go();
                    back.into_iter().for_each(|block| slab.free([block]));
                }
            },
            [|slab| {
                slab.free([1]);
                slab.free([2]);
                slab.free([3]);
            }],
        );
        slab.check();
    });
}
