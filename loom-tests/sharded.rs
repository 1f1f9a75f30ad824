//! Shards: a block that is freed while its shard is taken is neither lost nor handed out twice, and
//! nobody touches an allocator without its lock.
//!
//! All threads of a model are at home in the first shard, so that they meet there.

use std::sync::Arc;

use core::ptr::NonNull;

use loom::sync::atomic::AtomicPtr;
use loom::sync::atomic::Ordering::{Acquire, Release};

use super::ground::{Door, Ground, Index};
use super::{explore, together};
use crate::alloc::{Allocator, Sharded, SizeClassAllocator};
use crate::error::AllocError;
use crate::layout::NonZeroLayout;
use crate::sync::SpinFutexLock;

const SLOT: usize = 64 * 1024;

/// There are no large blocks.
struct Nothing;

// SAFETY: It returns no block.
unsafe impl Allocator for Nothing {
    fn allocate(&self, _: NonZeroLayout) -> Result<NonNull<[u8]>, AllocError> {
        Err(AllocError::TooLarge)
    }

    unsafe fn deallocate(&self, _: NonNull<u8>, _: NonZeroLayout) {}
}

/// Two shards, their source, and the index of their blocks.
struct Shared {
    allocator: Sharded<SizeClassAllocator<Arc<Ground>>, typenum::U2, Nothing>,
    ground: Arc<Ground>,
    index: Index,
    door: Door,
    /// A block on its way to another thread.
    sent: AtomicPtr<u8>,
}

impl Shared {
    fn new() -> Self {
        let ground = Arc::new(Ground::new(2, SLOT, SLOT));
        let pattern = SizeClassAllocator::new(ground.clone());
        let allocator = Sharded::with_locks(pattern, Nothing, SpinFutexLock::new);
        let sent = AtomicPtr::new(core::ptr::null_mut());
        Self { allocator, ground, index: Index::new(), door: Door::new(), sent }
    }

    fn layout() -> NonZeroLayout {
        NonZeroLayout::of::<[u64; 2]>().unwrap()
    }

    fn allocate(&self) -> NonNull<u8> {
        let block = self.allocator.allocate(Self::layout()).expect("there is a slot for each shard");
        self.index.enter(block);
        block.cast()
    }

    fn free(&self, block: NonNull<u8>) {
        self.index.strike(block);
        self.door.pass();
        // SAFETY: Only called with what `allocate` gave, once.
        unsafe { self.allocator.deallocate(block, Self::layout()) };
    }

    fn keep_one(&self) {
        self.allocate();
    }

    fn free_one(&self) {
        let block = self.allocate();
        self.free(block);
    }

    /// Allocates a block that another thread frees.
    fn send_one(&self) {
        let block = self.allocate();
        // An exchange, since loom would let another one come between a store and what was there
        // before.
        assert!(self.sent.swap(block.as_ptr(), Release).is_null());
    }

    /// Frees what was sent, if it is there; and is in the way of the others.
    fn take_one(&self) {
        if let Some(block) = NonNull::new(self.sent.swap(core::ptr::null_mut(), Acquire)) {
            self.free(block);
        }
    }

    /// Every block that was freed is free in its shard, none is lost, and the regions go back once.
    fn check(self, kept: usize) {
        self.take_one();
        assert_eq!(self.index.len(), kept);
        let regions = self.ground.held();
        assert!((1..=2).contains(&regions));
        drop(self.allocator);
        assert_eq!(self.ground.held(), 0);
    }

    /// As `check`; and the blocks of the first shard come again, before any that were not used yet.
    /// So many were freed.
    fn check_reuse(self, used: &[NonNull<u8>]) {
        let mut again: std::vec::Vec<_> = used.iter().map(|_| self.allocate()).collect();
        again.sort();
        assert_eq!(again, used, "a block that was freed is lost");
        again.into_iter().for_each(|block| self.free(block));
        self.check(0);
    }
}

#[test]
fn threads_find_different_shards() {
    explore("shards", 3, || {
        together(Shared::new(), Shared::keep_one, [Shared::free_one, Shared::keep_one]).check(2);
    });
}

#[test]
fn a_block_is_sent_to_another_thread() {
    explore("shards, a block sent", 3, || {
        together(Shared::new(), Shared::take_one, [Shared::send_one, Shared::free_one]).check(0);
    });
}

/// Blocks of one shard, freed by three threads at once: whoever finds the lock taken leaves its
/// block on the list.
#[test]
fn blocks_of_one_shard_are_freed_at_once() {
    explore("shards, freed at once", 3, || {
        static BLOCKS: std::sync::Mutex<[usize; 3]> = std::sync::Mutex::new([0; 3]);
        fn free(shared: &Shared, number: usize) {
            let address = BLOCKS.lock().unwrap()[number];
            let base = shared.ground.at(0);
            // SAFETY: The block lies in the ground's memory, to which this pointer is.
            let block = unsafe { base.add(address - base.addr().get()) };
            shared.free(block);
        }
        let shared = Shared::new();
        let mut blocks = [shared.allocate(), shared.allocate(), shared.allocate()];
        blocks.sort();
        *BLOCKS.lock().unwrap() = blocks.map(|block| block.addr().get());
        together(shared, |shared| free(shared, 0), [|shared| free(shared, 1), |shared| free(shared, 2)])
            .check_reuse(&blocks);
    });
}

#[test]
fn threads_find_different_shards_of_four() {
    explore("shards, 4 threads", 4, || {
        let others = [Shared::free_one, Shared::send_one, Shared::keep_one];
        together(Shared::new(), Shared::take_one, others).check(1);
    });
}

/// What was entered in the table under one lock is found without any: a thread that sees a block
/// sees its owner.
#[test]
fn a_block_s_owner_is_seen_by_who_sees_the_block() {
    explore("shards, owner seen", 2, || {
        let shared = together(Shared::new(), Shared::take_one, [Shared::send_one]);
        shared.check(0);
    });
}
