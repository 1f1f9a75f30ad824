//! A heap that reuses its blocks: the crate's control block, and an allocator that keeps a plain
//! list.
//!
//! Each block is with somebody who uses it, on the remote list, or on the allocator's list. What
//! threads do with the control block are the crate's functions: the switch calls them too, between
//! what needs a static and thread-locals and so cannot run under loom.

use std::boxed::Box;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::vec::Vec;

use core::ptr::{NonNull, null_mut};

use super::ground::{Door, Ground, Place};
use crate::layout::NonZeroLayout;
use crate::switch::balance::Frees;
use crate::switch::control::{Control, ControlRef, HeapTier, Phase};
use crate::switch::local::Local;
use crate::switch::remote_cache::RemoteCache;
use crate::sync::{Batch, RemoteBlock};

const BLOCK: usize = 16;
/// Blocks that the heap's one region has.
const BLOCKS: usize = 4;

pub(super) struct Heap {
    control: Box<Control<()>>,
    /// What only the heap's user touches: the allocator.
    user: Place,
    door: Door,
    /// The allocator's free blocks. Loom does not see this lock; `user` tells whether it may be
    /// taken.
    free: Mutex<Vec<usize>>,
    ground: Ground,
    /// Blocks that somebody uses.
    used: AtomicUsize,
}

impl Heap {
    /// A heap with a user, who has allocated the first `blocks` blocks.
    pub(super) fn new(tier: HeapTier, blocks: usize) -> Self {
        let heap = Self {
            control: Box::new(Control::new(tier)),
            user: Place::new(),
            door: Door::new(),
            free: Mutex::new((blocks..BLOCKS).collect()),
            ground: Ground::new(1, BLOCKS * BLOCK, BLOCK),
            used: AtomicUsize::new(blocks),
        };
        heap.control().set_phase(Phase::Alive);
        (0..blocks).for_each(|_| heap.local().count_allocated());
        heap
    }

    /// The control block.
    pub(super) fn control(&self) -> ControlRef {
        // SAFETY: The control block is initialised, and stays until the model ends, which drops all
        // that keeps this reference with the heap.
        unsafe { ControlRef::new(NonNull::from(&*self.control)) }
    }

    /// What the user counts.
    fn local(&self) -> &Local {
        // SAFETY: The models count as the heap's user; loom checks that by `user`.
        unsafe { self.control().local() }
    }

    /// Does what only the heap's user may do.
    pub(super) fn touch(&self) {
        self.user.touch();
    }

    /// The user allocates.
    pub(super) fn allocate(&self) -> usize {
        self.touch();
        let block = self.free.lock().unwrap().pop().expect("blocks enough");
        self.ground.touch(self.ground.at(block));
        self.used.fetch_add(1, Relaxed);
        self.local().count_allocated();
        block
    }

    /// The user frees.
    pub(super) fn free_locally(&self, block: usize) {
        self.ground.touch(self.ground.at(block));
        self.used.fetch_sub(1, Relaxed);
        self.free_in_allocator(block);
        self.local().count_freed();
    }

    fn free_in_allocator(&self, block: usize) {
        self.touch();
        self.ground.touch(self.ground.at(block));
        let mut free = self.free.lock().unwrap();
        assert!(!free.contains(&block), "freed once");
        free.push(block);
    }

    /// The user gives blocks that were freed remotely to the allocator.
    pub(super) fn collect_remote(&self) {
        self.door.pass();
        self.control().collect_remote(|block, _| self.free_in_allocator(self.ground.unit_of(block)));
    }

    /// Another thread frees; `true` to the last one of a retired heap.
    pub(super) fn free_remotely(&self, block: usize) -> bool {
        self.ground.touch(self.ground.at(block));
        self.used.fetch_sub(1, Relaxed);
        let layout = NonZeroLayout::of::<[u64; 2]>().unwrap();
        self.door.pass();
        // SAFETY: The models free a block that the thread has, of two words.
        let batch = unsafe { Batch::of_one(self.ground.at(block), layout) };
        // SAFETY: The block is the heap's, and the thread gave it up.
        unsafe { self.control().return_blocks(Some(batch), 1) == Frees::All }
    }

    /// Another thread frees several blocks and sends them together; `true` to the last one of a
    /// retired heap.
    pub(super) fn free_together<const N: usize>(&self, blocks: [usize; N]) -> bool {
        let cache = RemoteCache::new();
        let layout = NonZeroLayout::of::<[u64; 2]>().unwrap();
        for block in blocks {
            self.ground.touch(self.ground.at(block));
            self.used.fetch_sub(1, Relaxed);
            // SAFETY: The models free a block that the thread has, of two words.
            let sent = unsafe {
                cache.put(self.control(), self.control().as_ptr().cast(), || 0, self.ground.at(block), layout)
            };
            assert!(sent.is_none(), "so few are kept");
        }
        let batch = cache.take().expect("what was kept");
        assert_eq!((batch.owner(), batch.blocks()), (self.control(), N));
        assert!(cache.take().is_none());
        self.door.pass();
        // SAFETY: The batch holds blocks of this heap, which the thread gave up.
        unsafe { self.control().return_blocks(Some(batch.batch()), N) == Frees::All }
    }

    /// Makes a heap without blocks as good as new.
    pub(super) fn clear(&self) {
        assert_eq!(self.used.load(Relaxed), 0, "nobody uses a block");
        self.touch();
        (0..BLOCKS).for_each(|block| self.ground.touch(self.ground.at(block)));
        // SAFETY: The heap has no block, which the models check, and no other thread knows it.
        unsafe { self.control().clear() };
        *self.free.lock().unwrap() = (0..BLOCKS).collect();
    }

    /// Every block is on one of the lists, and the counts agree.
    pub(super) fn check_without_blocks(&self) {
        assert_eq!(self.used.load(Relaxed), 0);
        let (live, balance) = (self.control().live(), self.control().balance.get());
        match self.control().phase() {
            Phase::Alive => assert_eq!(live.cast_signed(), balance, "as many freed as handed out"),
            _ => assert_eq!((live, balance), (0, 0)),
        }
        self.collect_remote();
        assert_eq!(self.free.lock().unwrap().len(), BLOCKS);
    }
}
