//! Slices that several heaps hold blocks of: each block is with one of them or free, and a slice
//! leaves once, when all of its blocks are free.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use core::ptr::NonNull;

use super::ground::Place;
use super::{explore, together};
use crate::ptr;
use crate::source::SLICE;
use crate::switch::small_regions::{Block, LONGEST, SmallRegions};

/// Slices that there are, of two blocks each.
const SLICES: usize = 4;

struct Shared {
    regions: SmallRegions,
    places: [[Place; 2]; SLICES],
    /// Slices that were made, and that left.
    made: AtomicUsize,
    left: AtomicUsize,
}

impl Shared {
    fn new() -> Self {
        let place = || [Place::new(), Place::new()];
        let (made, left) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { regions: SmallRegions::new(), places: [place(), place(), place(), place()], made, left }
    }

    fn place(&self, block: &Block) -> &Place {
        let address = block.start.addr().get();
        &self.places[address / SLICE - 1][address % SLICE / (SLICE / 2)]
    }

    fn take(&self) -> Block {
        let block = self.regions.take(LONGEST).unwrap_or_else(|| {
            let number = self.made.fetch_add(1, Relaxed) + 1;
            assert!(number <= SLICES);
            // Only its address matters: nobody reads or writes it.
            let slice = NonNull::new(ptr::dangling(SLICE).wrapping_add((number - 1) * SLICE)).unwrap();
            // SAFETY: The slice is this call's alone.
            unsafe { self.regions.add(slice, LONGEST) }.expect("memory for a record")
        });
        self.place(&block).touch();
        // SAFETY: The block was just taken, by its heap's user.
        unsafe { block.live() }.set(3);
        block
    }

    fn give(&self, block: Block) {
        self.place(&block).touch();
        // SAFETY: The caller took the block, and is its heap's user.
        assert_eq!(unsafe { block.live() }.get(), 3);
        // SAFETY: The caller took the block, and gives it up.
        if unsafe { self.regions.give(block) }.is_some() {
            self.left.fetch_add(1, Relaxed);
        }
    }

    fn use_one(&self) {
        let block = self.take();
        self.give(block);
    }

    fn use_two(&self) {
        let (first, second) = (self.take(), self.take());
        self.give(first);
        self.give(second);
    }

    /// Every block is free, and each slice that was made is here or left.
    fn account(self) {
        let (made, left) = (self.made.load(Relaxed), self.left.load(Relaxed));
        assert_eq!(self.regions.free_bytes(), (made - left) * SLICE);
        let mut here = 0;
        while self.regions.take_empty().is_some() {
            here += 1;
        }
        assert_eq!((here, self.regions.free_bytes()), (made - left, 0));
        assert!(here <= 1, "of each length one stays");
    }
}

#[test]
fn blocks_of_shared_slices() {
    explore("small regions, two heaps", 2, || {
        together(Shared::new(), Shared::use_two, [Shared::use_two]).account();
    });
    explore("small regions, three heaps", 3, || {
        together(Shared::new(), Shared::use_one, [Shared::use_one, Shared::use_one]).account();
    });
}
