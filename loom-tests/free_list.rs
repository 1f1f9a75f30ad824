//! A slab that waits, whose thread frees blocks of it and takes them all while a sweep makes holes.
//!
//! Each block is then in one place: on the list that the thread took, or in a hole. Each use of a
//! block is ordered behind those before it: the free, the sweep that follows its link, the purge of
//! its page, the taking.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::vec::Vec;

use core::ptr::{NonNull, null_mut};

use super::ground::{Door, Ground, Place};
use super::{explore, together};
use crate::sync::{FreeBlock, FreeList, Guarded};

const BLOCK: usize = 16;
/// The first is where a slab's header would be.
const UNITS: usize = 6;

struct Slab {
    free: FreeList,
    /// As `Waiting`'s: whether a sweep holds the slab, and whether the slab waits.
    lock: Guarded<()>,
    notes: Place,
    is_held: AtomicBool,
    waits: AtomicBool,
    /// As `Slab`'s: what the holder or the slab's thread writes.
    header: Place,
    holes: AtomicUsize,
    behind: AtomicUsize,
    ground: Ground,
    door: Door,
    /// How many blocks are free at first, and which leave if they are free.
    first: usize,
    leave: &'static [usize],
    /// What the slab's thread took.
    taken: std::sync::Mutex<Option<Vec<usize>>>,
}

impl Slab {
    /// A slab with the blocks from the first to that one free, which waits.
    fn new(free: usize, leave: &'static [usize]) -> Self {
        let slab = Self {
            free: FreeList::new(),
            lock: Guarded::new(()),
            notes: Place::new(),
            is_held: AtomicBool::new(false),
            waits: AtomicBool::new(true),
            header: Place::new(),
            holes: AtomicUsize::new(0),
            behind: AtomicUsize::new(0),
            ground: Ground::new(1, UNITS * BLOCK, BLOCK),
            door: Door::new(),
            first: free,
            leave,
            taken: std::sync::Mutex::new(None),
        };
        (1..=free).for_each(|block| slab.push(block));
        slab
    }

    /// As `Slab::push`.
    fn push(&self, block: usize) {
        self.ground.touch(self.ground.at(block));
        self.door.pass();
        // SAFETY: The thread has the block, of two words.
        unsafe { self.free.push(self.ground.at(block).cast()) };
    }

    fn unit(&self, block: NonNull<FreeBlock>) -> usize {
        self.ground.unit_of(block.cast())
    }

    /// As `Heap::sweep_waiting` does for one slab.
    fn sweep(&self) {
        let held = self.lock.lock();
        self.notes.touch();
        if !self.waits.load(Relaxed) {
            return;
        }
        self.is_held.store(true, Relaxed);
        drop(held);
        self.make_holes();
        let _held = self.lock.lock();
        self.notes.touch();
        self.is_held.store(false, Relaxed);
    }

    /// As `Slab::make_holes`, and the purge.
    fn make_holes(&self) {
        self.header.touch();
        self.door.pass();
        // SAFETY: The slab is held, so that nobody takes the list.
        let Some(first) = unsafe { self.free.blocks() }.next() else { return };
        // SAFETY: As above.
        let free: Vec<usize> = unsafe { self.free.blocks_from(first) }
            .map(|block| {
                self.ground.touch(block.cast());
                self.unit(block)
            })
            .collect();
        let leaves = |block: usize| self.leave.contains(&block) && free.contains(&block);
        // SAFETY: As above; the block was the first on the list.
        unsafe { self.free.remove_behind(first, |block| leaves(self.unit(block))) };
        if leaves(self.unit(first)) {
            // SAFETY: As above.
            let behind = unsafe { self.free.cut_behind(first) };
            self.behind.store(NonNull::new(behind).map_or(0, |block| self.unit(block)), Relaxed);
        }
        for block in free.iter().copied().filter(|&block| leaves(block)) {
            self.holes.fetch_or(1 << block, Relaxed);
            self.ground.touch(self.ground.at(block));
            // The page reads as zero from here on.
            // SAFETY: The block is free, and in no list but as its last one.
            unsafe { self.ground.at(block).cast::<[usize; 2]>().write([0; 2]) };
        }
    }

    /// As `Waiting::take` and `Slab::take`: the blocks on the list, if no sweep holds the slab.
    fn take(&self) -> Option<Vec<usize>> {
        self.door.pass();
        let held = self.lock.lock();
        self.notes.touch();
        if self.is_held.load(Relaxed) {
            return None;
        }
        self.waits.store(false, Relaxed);
        drop(held);
        self.header.touch();
        let behind = match self.behind.swap(0, Relaxed) {
            0 => null_mut(),
            block => self.ground.at(block).cast().as_ptr(),
        };
        let is_hole = |block| self.holes.load(Relaxed) & 1 << self.unit(block) != 0;
        let mut last = None;
        // SAFETY: The thread has the slab.
        for block in unsafe { self.free.blocks() } {
            if is_hole(block) {
                break;
            }
            last = Some(block);
        }
        match last {
            // SAFETY: As above.
            Some(last) if self.holes.load(Relaxed) != 0 => unsafe { self.free.end_with(last, behind) },
            None => self.free.set(behind),
            Some(_) => {}
        }
        // SAFETY: As above.
        let blocks = unsafe { self.free.blocks() }.map(|block| {
            self.ground.touch(block.cast());
            self.unit(block)
        });
        let blocks = blocks.collect();
        self.free.take();
        Some(blocks)
    }

    /// At the end: each of the blocks up to that one is free in one place.
    fn check(&self, taken: Option<Vec<usize>>, blocks: usize) {
        let mut all = taken.unwrap_or_else(|| self.take().expect("no sweep is left"));
        let holes = self.holes.load(Relaxed);
        all.extend((1..=blocks).filter(|block| holes & 1 << block != 0));
        all.sort_unstable();
        assert_eq!(all, (1..=blocks).collect::<Vec<_>>());
    }
}

/// A sweep while the slab's thread frees two blocks and takes all.
fn model(name: &'static str, free: usize, leave: &'static [usize]) {
    explore(name, 2, move || {
        let slab = together(
            Slab::new(free, leave),
            |slab| {
                slab.push(slab.first + 1);
                slab.push(slab.first + 2);
                *slab.taken.lock().unwrap() = slab.take();
            },
            [Slab::sweep],
        );
        let taken = slab.taken.lock().unwrap().take();
        slab.check(taken, free + 2);
    });
}

#[test]
fn blocks_leave_the_middle_of_the_list() {
    model("free list: holes in the middle", 3, &[1, 2]);
}

#[test]
fn the_first_block_that_the_sweep_saw_leaves() {
    model("free list: the first leaves", 3, &[2, 3, 4, 5]);
}

#[test]
fn all_blocks_leave() {
    model("free list: all leave", 2, &[1, 2, 3, 4]);
}
