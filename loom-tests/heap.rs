//! A heap that reuses its blocks, made of the crate's control block and an allocator that keeps a
//! plain list.
//!
//! Each block is with somebody who uses it, on the remote list, or on the allocator's list. What is
//! done here follows the functions of `SwitchableAllocator` that are named, which need a static and
//! thread-locals and so cannot run under loom.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::vec::Vec;

use core::ptr::NonNull;

use super::ground::{Door, Ground, Place};
use crate::NonZeroLayout;
use crate::switch::balance::Frees;
use crate::switch::control::{HeapTier, Local, Phase, Shared};
use crate::switch::remote_cache::RemoteCache;

const BLOCK: usize = 16;
/// Blocks that the heap's one region has.
const BLOCKS: usize = 4;

pub(super) struct Heap {
    pub(super) shared: Shared,
    /// Of this, the models use what `Local` keeps in atomics.
    pub(super) local: Local,
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

// SAFETY: Only the cells of `Local` and `Shared` are not `Sync`: the models do not use the former,
// and the latter are used by the parking lot, under its lock.
unsafe impl Sync for Heap {}

impl Heap {
    /// A heap with a user, who has allocated the first `blocks` blocks.
    pub(super) fn new(tier: HeapTier, blocks: usize) -> Self {
        let shared = Shared::new(tier);
        shared.set_phase(Phase::Alive);
        let local = Local::new();
        (0..blocks).for_each(|_| local.count_allocated());
        Self {
            shared,
            local,
            user: Place::new(),
            door: Door::new(),
            free: Mutex::new((blocks..BLOCKS).collect()),
            ground: Ground::new(1, BLOCKS * BLOCK, BLOCK),
            used: AtomicUsize::new(blocks),
        }
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
        self.local.count_allocated();
        block
    }

    /// The user frees.
    pub(super) fn free_locally(&self, block: usize) {
        self.ground.touch(self.ground.at(block));
        self.used.fetch_sub(1, Relaxed);
        self.free_in_allocator(block);
        self.local.count_freed();
    }

    fn free_in_allocator(&self, block: usize) {
        self.touch();
        self.ground.touch(self.ground.at(block));
        let mut free = self.free.lock().unwrap();
        assert!(!free.contains(&block), "freed once");
        free.push(block);
    }

    /// The user gives blocks that were freed remotely to the allocator, as `collect_remote`.
    pub(super) fn collect_remote(&self) {
        self.door.pass();
        let blocks: Vec<NonNull<u8>> = self.shared.remote.take().map(|(block, _)| block).collect();
        blocks.into_iter().for_each(|block| self.free_in_allocator(self.ground.unit_of(block)));
    }

    /// Somebody else frees, as `free_remotely`; `true` to the last one of a settled heap.
    pub(super) fn free_remotely(&self, block: usize) -> bool {
        self.ground.touch(self.ground.at(block));
        self.used.fetch_sub(1, Relaxed);
        let layout = NonZeroLayout::of::<[u64; 2]>().unwrap();
        self.door.pass();
        // SAFETY: The models free a block that the thread has, of two words.
        unsafe { self.shared.remote.push(self.ground.at(block), layout) };
        self.shared.balance.remote_frees(1) == Frees::All
    }

    /// Somebody else frees several blocks and sends them together, as `free_remotely` and `send`;
    /// `true` to the last one of a settled heap.
    pub(super) fn free_together<const N: usize>(&self, blocks: [usize; N]) -> bool {
        let remote_cache = RemoteCache::new();
        let layout = NonZeroLayout::of::<[u64; 2]>().unwrap();
        for block in blocks {
            self.ground.touch(self.ground.at(block));
            self.used.fetch_sub(1, Relaxed);
            // SAFETY: The models free a block that the thread has, of two words.
            let sent =
                unsafe { remote_cache.put(NonNull::from(&self.shared), self.ground.at(block), layout) };
            assert!(sent.is_none(), "so few are kept back");
        }
        let parcel = remote_cache.take().expect("what was kept back");
        assert_eq!((parcel.owner, parcel.blocks), (NonNull::from(&self.shared), N));
        assert!(remote_cache.take().is_none());
        self.door.pass();
        // SAFETY: The blocks were freed, and belong to the heap.
        unsafe { self.shared.remote.push_all(parcel.batch) };
        self.shared.balance.remote_frees(parcel.blocks) == Frees::All
    }

    /// Makes a heap without blocks as good as new, as `free_retired` and `empty_parked`.
    pub(super) fn clear(&self) {
        assert_eq!(self.used.load(Relaxed), 0, "nobody uses a block");
        self.touch();
        (0..BLOCKS).for_each(|block| self.ground.touch(self.ground.at(block)));
        self.shared.balance.clear();
        self.shared.remote.clear();
        self.local.clear();
        *self.free.lock().unwrap() = (0..BLOCKS).collect();
    }

    /// Every block is on one of the lists, and the counts agree.
    pub(super) fn check_without_blocks(&self) {
        assert_eq!(self.used.load(Relaxed), 0);
        let (live, balance) = (self.local.live(), self.shared.balance.get());
        match self.shared.phase() {
            Phase::Alive => assert_eq!(live.cast_signed(), balance, "as many freed as handed out"),
            _ => assert_eq!((live, balance), (0, 0)),
        }
        self.collect_remote();
        assert_eq!(self.free.lock().unwrap().len(), BLOCKS);
    }
}
