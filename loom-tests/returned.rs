//! A slab that its heap lets go of, while other threads return its blocks and the heap takes it
//! back.
//!
//! Each block comes back once: on the slab, or on the heap's list. A slab of which no block is out
//! is released, once, by the thread that returned the last one. The thread that has the slab or
//! holds it is ordered behind all that had it before.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::vec::Vec;

use core::ptr::{NonNull, null_mut};

use super::ground::{Door, Ground, Place};
use super::{explore, together};
use crate::layout::NonZeroLayout;
use crate::sync::{Batch, Given, Guarded, LetGo, RemoteBlock, RemoteList, Returned, TakenBack};

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
    says_listed: AtomicBool,
    is_in_list: AtomicBool,
    list_place: Place,
    lists: Guarded<()>,
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
            says_listed: AtomicBool::new(false),
            is_in_list: AtomicBool::new(false),
            list_place: Place::new(),
            lists: Guarded::new(()),
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
            Given::Last { beyond } => {
                // SAFETY: This thread holds the slab, as the word says.
                if unsafe { self.end_countdown(beyond) } {
                    self.release();
                }
            }
        }
    }

    fn release(&self) {
        self.header.touch();
        (1..=self.blocks).for_each(|block| self.ground.touch(self.ground.at(block)));
        assert_eq!(self.released.fetch_add(1, Relaxed), 0);
        // Those that a sweep collected are on the slab's own list, which goes with it.
        self.back.lock().unwrap().clear();
    }

    /// As `Heap::reclaim`; whether no other thread holds the slab.
    fn reclaim(&self) -> bool {
        self.door.pass();
        self.take_back()
    }

    /// As `ReturnedSlabs::take`; whether the slab was in the list, and no other thread holds it.
    fn take(&self) -> bool {
        self.door.pass();
        let _lock = self.lists.lock();
        self.list_place.touch();
        // SAFETY: The thread is the heap's user, and holds the lock.
        self.is_in_list.load(Relaxed) && unsafe { self.take_listed() }
    }

    /// Takes blocks that were returned; how many.
    fn collect(&self, first: *mut RemoteBlock) -> usize {
        let mut next = first;
        let mut count = 0;
        while let Some(block) = NonNull::new(next) {
            self.ground.touch(block.cast());
            self.back.lock().unwrap().push(self.ground.unit_of(block.cast()));
            // SAFETY: Blocks that were returned begin with their links.
            next = unsafe { block.cast::<*mut RemoteBlock>().read() };
            count += 1;
        }
        count
    }

    /// As `Heap::sweep_returned`, for this slab: whether the sweep held it.
    fn sweep(&self) -> bool {
        self.door.pass();
        let lock = self.lists.lock();
        self.list_place.touch();
        // SAFETY: The lock is held, and the slab is in the list if it says so.
        let held = if self.is_in_list.load(Relaxed) { unsafe { self.hold() } } else { None };
        drop(lock);
        if let Some(TakenBack { first, left }) = held {
            self.header.touch();
            self.rest.fetch_add(left, Relaxed);
            self.until.store(0, Relaxed);
            self.collect(first);
            let back: Vec<usize> = self.back.lock().unwrap().clone();
            back.into_iter().for_each(|block| self.ground.touch(self.ground.at(block)));
            // SAFETY: This thread holds the slab.
            if unsafe { self.end_countdown(0) } {
                self.release();
            }
        }
        held.is_some()
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

impl LetGo for Slab {
    fn word(&self) -> (&Returned, NonNull<u8>) {
        (&self.returned, self.base())
    }

    fn lock(&self) -> impl Sized {
        self.lists.lock()
    }

    fn is_listed(&self) -> bool {
        self.header.touch();
        self.says_listed.load(Relaxed)
    }

    unsafe fn enlist(&self) {
        self.list_place.touch();
        self.says_listed.store(true, Relaxed);
        assert!(!self.is_in_list.swap(true, Relaxed));
    }

    unsafe fn strike(&self) {
        self.list_place.touch();
        assert!(self.is_in_list.swap(false, Relaxed));
    }

    fn left_beyond(&self, beyond: usize) -> usize {
        self.header.touch();
        self.less(self.rest.load(Relaxed), beyond)
    }

    fn less(&self, left: usize, blocks: usize) -> usize {
        left.checked_sub(blocks).expect("no more than are out")
    }

    fn prepare_next(&self, left: usize) -> usize {
        self.header.touch();
        let until = left.div_ceil(2);
        self.until.store(until, Relaxed);
        self.rest.store(left - until, Relaxed);
        until
    }

    fn come_back(&self, TakenBack { first, left }: TakenBack) {
        self.header.touch();
        self.says_listed.store(false, Relaxed);
        let before = self.until.swap(left, Relaxed);
        let count = self.collect(first);
        // Those before the countdown that is under way were returned by it too.
        assert!(count >= before - left);
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
                let _ = slab.reclaim();
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
                if slab.reclaim() {
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

#[test]
fn a_sweep_holds_a_slab_of_the_list() {
    explore("returned: a sweep", 3, || {
        let slab = together(
            Slab::new(3),
            |slab| {
                slab.sweep();
            },
            [
                |slab| slab.free([1]),
                |slab| {
                    slab.free([2]);
                    slab.free([3]);
                },
            ],
        );
        assert_eq!(slab.released.load(Relaxed), 1);
        slab.check();
    });
}

#[test]
fn a_heap_takes_a_slab_that_is_swept() {
    explore("returned: a sweep, and the heap", 3, || {
        let slab = Slab::new(3);
        slab.free([1]);
        let slab = together(
            slab,
            |slab| {
                let _ = slab.take();
            },
            [
                |slab| {
                    slab.sweep();
                },
                |slab| slab.free([2, 3]),
            ],
        );
        slab.check();
    });
}

#[test]
fn a_heap_takes_a_slab_back_that_a_sweep_looks_at() {
    explore("returned: a sweep, and the heap's own free", 3, || {
        let slab = Slab::new(3);
        slab.free([1]);
        let slab = together(
            slab,
            |slab| {
                let _ = slab.reclaim();
            },
            [
                |slab| {
                    slab.sweep();
                },
                |slab| slab.free([2]),
            ],
        );
        slab.free([3]);
        slab.check();
    });
}
