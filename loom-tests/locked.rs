//! An allocator behind a lock: no block is handed out twice, and all of them are accounted for.

use std::sync::Arc;

use super::ground::{Ground, Index, Watched};
use super::{explore, together};
use crate::alloc::{Allocator, BumpAllocator, Locked, SizeClassAllocator};
use crate::layout::NonZeroLayout;
use crate::sync::SpinFutexLock;

const SLOT: usize = 64 * 1024;

/// The global tier: a locked allocator, its source, and the index of its blocks.
struct Global<A> {
    allocator: Locked<Watched<A>>,
    ground: Arc<Ground>,
    index: Index,
}

impl<A: Allocator> Global<A> {
    fn new(make: impl FnOnce(Arc<Ground>) -> A) -> Self {
        let ground = Arc::new(Ground::new(1, SLOT, SLOT));
        let allocator = Locked::with_lock(Watched::new(make(ground.clone())), SpinFutexLock::new());
        Self { allocator, ground, index: Index::new() }
    }

    fn layout() -> NonZeroLayout {
        NonZeroLayout::of::<[u64; 2]>().unwrap()
    }

    fn allocate(&self) -> core::ptr::NonNull<u8> {
        let block = self.allocator.allocate(Self::layout()).expect("the slot is large enough");
        self.index.enter(block);
        block.cast()
    }

    fn free(&self, block: core::ptr::NonNull<u8>) {
        self.index.strike(block);
        // SAFETY: Only called with what `allocate` gave, once.
        unsafe { self.allocator.deallocate(block, Self::layout()) };
    }

    fn keep_one(&self) {
        self.allocate();
    }

    fn keep_one_of_two(&self) {
        let first = self.allocate();
        self.allocate();
        self.free(first);
    }

    fn free_and_keep(&self) {
        let first = self.allocate();
        self.free(first);
        self.allocate();
    }

    /// All blocks that were kept are the users', and the region goes back once.
    fn check(self, kept: usize) {
        assert_eq!(self.index.len(), kept);
        assert_eq!(self.ground.held(), 1);
        drop(self.allocator);
        assert_eq!(self.ground.held(), 0);
    }
}

#[test]
fn bump_allocator_behind_a_lock() {
    explore("locked bump allocator", 3, || {
        let global = Global::new(BumpAllocator::new);
        together(global, Global::keep_one, [Global::free_and_keep, Global::keep_one]).check(3);
    });
}

#[test]
fn size_class_allocator_behind_a_lock() {
    explore("locked size-class allocator", 3, || {
        let global = Global::new(SizeClassAllocator::new);
        together(global, Global::keep_one, [Global::keep_one_of_two, Global::keep_one]).check(3);
    });
}

#[test]
fn size_class_allocator_behind_a_lock_of_four() {
    explore("locked size-class allocator, 4 threads", 4, || {
        let global = Global::new(SizeClassAllocator::new);
        let others = [Global::free_and_keep, Global::keep_one, Global::keep_one];
        together(global, Global::keep_one, others).check(4);
    });
}
