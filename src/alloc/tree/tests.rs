//! Random operations on small regions, with everything checked after each.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::vec::Vec;

use core::mem::MaybeUninit;
use core::ptr::NonNull;

use std::alloc::System;

use typenum::consts::{U1, U3, U16, U32, U64};

use super::heap::rounded;
use super::{
    AdjoiningSource, KeepApart, MergeAdjacent, Merging, MultipleBinarySearchTreeAllocator, TreeCount,
};
use crate::adapt::{AllocatorSource, GlobalAllocToAllocatorAdaptor};
use crate::alloc::{Allocator, Reset, ResizeInPlace};
use crate::error::SourceError;
use crate::layout::NonZeroLayout;
use crate::ptr;
use crate::source::{MemorySource, Obtained, RegionSource};

/// Regions of the system's allocator.
const fn system() -> AllocatorSource<GlobalAllocToAllocatorAdaptor<'static, System>> {
    AllocatorSource::of_global(&System)
}

/// xorshift64*, of S. Vigna.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % limit
    }

    fn size(&mut self, largest: usize) -> usize {
        let bound = largest >> self.below(8);
        1 + self.below(bound.max(1))
    }
}

fn layout(size: usize, align: usize) -> NonZeroLayout {
    NonZeroLayout::from_size_align(size, align).unwrap()
}

/// The live blocks of an allocator, each with a byte that fills it.
struct Model<'a, S: MemorySource, T: TreeCount, M: Merging<S>> {
    allocator: &'a MultipleBinarySearchTreeAllocator<S, T, M>,
    blocks: Vec<(NonNull<u8>, NonZeroLayout, u8)>,
    refused: usize,
    in_place: usize,
}

impl<S: MemorySource, T: TreeCount, M: Merging<S>> Model<'_, S, T, M> {
    fn live(&self) -> BTreeMap<usize, usize> {
        let blocks = self.blocks.iter();
        let live: BTreeMap<_, _> =
            blocks.map(|(block, layout, _)| (block.addr().get(), rounded(layout.size()))).collect();
        assert_eq!(live.len(), self.blocks.len());
        live
    }

    fn check(&self) {
        assert_eq!(self.allocator.check(&self.live()), Ok(()));
    }

    fn check_merged(&self) {
        assert_eq!(self.allocator.check_merged(&self.live()), Ok(()));
    }

    fn fill(block: NonNull<[u8]>, layout: NonZeroLayout, byte: u8) {
        assert_eq!(block.len(), rounded(layout.size()));
        assert!(block.cast::<u8>().addr().get().is_multiple_of(layout.align()));
        // SAFETY: The block is allocated with this length.
        unsafe { block.cast::<u8>().write_bytes(byte, block.len()) };
    }

    fn verify(block: NonNull<u8>, len: usize, byte: u8) {
        // SAFETY: The block is allocated and filled.
        let bytes = unsafe { core::slice::from_raw_parts(block.as_ptr(), len) };
        assert!(bytes.iter().all(|&other| other == byte), "a block's contents changed");
    }

    fn allocate(&mut self, random: &mut Random, largest: usize) {
        let align = if random.below(4) == 0 { 1 << random.below(9) } else { 8 };
        let layout = layout(random.size(largest), align);
        let byte = random.below(256) as u8;
        match self.allocator.allocate(layout) {
            Ok(block) => {
                Self::fill(block, layout, byte);
                self.blocks.push((block.cast(), layout, byte));
            }
            Err(_) => self.refused += 1,
        }
    }

    fn free(&mut self, random: &mut Random) {
        let (block, layout, byte) = self.blocks.swap_remove(random.below(self.blocks.len()));
        Self::verify(block, rounded(layout.size()), byte);
        // SAFETY: The block is allocated with this layout, and forgotten here.
        unsafe { self.allocator.deallocate(block, layout) };
    }

    fn resize(&mut self, random: &mut Random, largest: usize) {
        let number = random.below(self.blocks.len());
        let (block, old, byte) = self.blocks[number];
        let new = layout(random.size(largest), old.align());
        let in_place = if new.size() > old.size() {
            // SAFETY: The block is allocated with this layout.
            unsafe { self.allocator.grow_in_place(block, old, new) }
        } else {
            // SAFETY: As above.
            unsafe { self.allocator.shrink_in_place(block, old, new) }
        };
        self.in_place += usize::from(in_place.is_ok());
        assert!(new.size() > old.size() || in_place.is_ok(), "a block did not shrink in place");
        let resized = in_place.or_else(|_| {
            self.check();
            // SAFETY: The block is allocated with this layout, and is to grow.
            unsafe { self.allocator.grow(block, old, new) }
        });
        match resized {
            Ok(resized) => {
                Self::verify(resized.cast(), old.size().min(new.size()), byte);
                Self::fill(resized, new, byte);
                self.blocks[number] = (resized.cast(), new, byte);
            }
            Err(_) => self.refused += 1,
        }
    }

    fn run(&mut self, seed: u64, operations: usize, largest: usize) {
        let mut random = Random(seed * 2 + 1);
        let mut many = 60;
        for _ in 0..operations {
            if random.below(200) == 0 {
                many = 1 + random.below(120);
            }
            match random.below(10) {
                0 | 1 if !self.blocks.is_empty() => self.resize(&mut random, largest),
                _ if random.below(2 * many) >= self.blocks.len() => self.allocate(&mut random, largest),
                _ if !self.blocks.is_empty() => self.free(&mut random),
                _ => {}
            }
            self.check();
            if random.below(50) == 0 {
                self.check_merged();
            }
        }
        while !self.blocks.is_empty() {
            self.free(&mut random);
            self.check();
        }
        self.check_merged();
    }
}

fn run<S: MemorySource, T: TreeCount, M: Merging<S>>(
    source: S,
    seed: u64,
    operations: usize,
    largest: usize,
) -> (usize, usize) {
    let mut allocator = MultipleBinarySearchTreeAllocator::<S, T, M>::new_in(source);
    let mut model = Model { allocator: &allocator, blocks: Vec::new(), refused: 0, in_place: 0 };
    model.run(seed, operations, largest);
    let result = (model.refused, model.in_place);
    allocator.allocate(layout(100, 8)).unwrap();
    allocator.reset();
    assert_eq!(allocator.check(&BTreeMap::new()), Ok(()));
    result
}

#[test]
fn every_operation_on_a_fixed_region_keeps_what_always_holds() {
    let mut bytes = std::vec![MaybeUninit::uninit(); 24 * 1024 + 7];
    for seed in 0..8 {
        // Rather full, so that neighbours of all kinds meet; and only small blocks, for the bins.
        let skew = seed as usize % 8;
        let (refused, in_place) =
            run::<_, U32, KeepApart>(RegionSource::new(&mut bytes[skew..]), seed, 4_000, 2_000);
        assert!(refused > 10 && in_place > 100, "{refused} {in_place}");
        run::<_, U3, KeepApart>(RegionSource::new(&mut bytes[skew..8000]), seed, 4_000, 100);
    }
}

/// Blocks that are too large for the bins, so that there is much in the trees.
fn in_trees<T: TreeCount>(largest: usize) {
    let mut bytes = std::vec![MaybeUninit::uninit(); 400_000];
    for seed in 10..13 {
        run::<_, T, KeepApart>(RegionSource::new(&mut bytes), seed, 3_000, largest);
    }
}

#[test]
fn every_operation_with_large_blocks_keeps_what_always_holds() {
    in_trees::<U1>(40_000);
    in_trees::<U3>(20_000);
    in_trees::<U32>(40_000);
    in_trees::<U64>(100_000);
}

#[test]
fn every_operation_on_growing_memory_keeps_what_always_holds() {
    for seed in 0..4 {
        run::<_, U1, KeepApart>(Cut::<false>::new(4096, 1 << 20), seed, 2_000, 1_500);
        run::<_, U16, KeepApart>(Cut::<true>::new(4096, 1 << 20), seed, 2_000, 1_500);
        run::<_, U64, KeepApart>(system(), seed, 300, 30_000);
    }
}

/// A source that cuts regions of fixed length off a buffer, from its end down or upward, each
/// adjoining the one before; it gives larger ones where asked. What is released is given again only
/// when everything was released.
struct Cut<const DOWN: bool> {
    bytes: NonNull<u8>,
    layout: NonZeroLayout,
    index: RefCell<Index>,
    step: usize,
}

#[derive(Default)]
struct Index {
    cut: usize,
    held: BTreeMap<usize, usize>,
    most: usize,
    obtained: usize,
}

impl<const DOWN: bool> Cut<DOWN> {
    fn new(step: usize, len: usize) -> Self {
        let layout = layout(len, 4096);
        // SAFETY: The layout's size is not zero.
        let bytes = unsafe { std::alloc::alloc(layout.layout()) };
        Self { bytes: NonNull::new(bytes).unwrap(), layout, index: RefCell::default(), step }
    }
}

impl<const DOWN: bool> Drop for Cut<DOWN> {
    fn drop(&mut self) {
        assert!(self.index.borrow().held.is_empty(), "a region was not released");
        // SAFETY: Allocated by `new` with this layout; no region of it is held.
        unsafe { std::alloc::dealloc(self.bytes.as_ptr(), self.layout.layout()) };
    }
}

// SAFETY: Regions are parts of the buffer, cut off one behind the other, so that those held do not
// overlap.
unsafe impl<const DOWN: bool> MemorySource for Cut<DOWN> {
    const MAX_REGION: usize = 16 * 1024;

    fn obtain(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, SourceError> {
        let mut index = self.index.borrow_mut();
        if layout.size() >= Self::MAX_REGION {
            return Err(SourceError::TooLarge);
        }
        let len = layout.size().next_multiple_of(self.step);
        assert!(layout.align() <= self.step);
        if index.cut + len > self.layout.size() {
            return Err(SourceError::Exhausted);
        }
        index.cut += len;
        let offset = if DOWN { self.layout.size() - index.cut } else { index.cut - len };
        let start = NonNull::new(ptr::up(self.bytes.as_ptr(), offset)).unwrap();
        assert_eq!(index.held.insert(start.addr().get(), len), None);
        // What a source that does not say otherwise gives is full of anything.
        // SAFETY: The bytes are the buffer's, and nobody holds them yet.
        unsafe { start.write_bytes(0xA5, len) };
        index.most = index.most.max(index.held.len());
        index.obtained += 1;
        Ok(ptr::bytes(start, len))
    }

    /// Gives no more than the least, so that there are many regions.
    fn obtain_between(&self, least: NonZeroLayout, _: usize) -> Result<Obtained, SourceError> {
        Ok(Obtained { region: self.obtain(least)?, zeroed: false })
    }

    unsafe fn release(&self, region: NonNull<[u8]>, layout: NonZeroLayout) {
        let mut index = self.index.borrow_mut();
        let len = index.held.remove(&region.cast::<u8>().addr().get());
        assert_eq!(len, Some(region.len()), "a region was released that is not held");
        assert_eq!(layout.size(), region.len());
        if index.held.is_empty() {
            index.cut = 0;
        }
    }
}

// SAFETY: All regions are parts of one buffer, and their pointers come from the buffer's.
unsafe impl<const DOWN: bool> AdjoiningSource for Cut<DOWN> {}

fn merging<const DOWN: bool>() {
    for seed in 0..4 {
        let source = Cut::<DOWN>::new(4096, 1 << 20);
        run::<_, U16, MergeAdjacent>(&source, seed, 2_000, 1_500);
        let source = Cut::<DOWN>::new(528, 1 << 20);
        run::<_, U16, MergeAdjacent>(&source, seed, 2_000, 600);
        assert!(source.index.borrow().most > 3, "too few regions to tell");
    }
}

#[test]
fn every_operation_on_merging_regions_keeps_what_always_holds() {
    merging::<false>();
    merging::<true>();
}

fn adjacent_regions_make_one_block<const DOWN: bool>() {
    let source = Cut::<DOWN>::new(4096, 1 << 20);
    let allocator = MultipleBinarySearchTreeAllocator::<_, U16, MergeAdjacent>::new_in(&source);
    let small = layout(3500, 8);
    let blocks: Vec<_> = (0..4).map(|_| allocator.allocate(small).unwrap()).collect();
    assert_eq!((source.index.borrow().held.len(), allocator.spans.iter().count()), (4, 1));
    let keeper = blocks[0];
    for block in &blocks[1..] {
        // SAFETY: Allocated above with this layout, and not used again.
        unsafe { allocator.deallocate(block.cast(), small) };
    }
    assert_eq!(source.index.borrow().held.len(), 4, "a part of a span was released");
    // Larger than any of the regions.
    let large = layout(10_000, 8);
    let block = allocator.allocate(large).unwrap();
    assert_eq!(source.index.borrow().held.len(), 4);
    // SAFETY: The block is allocated with this length.
    unsafe { block.cast::<u8>().write_bytes(1, block.len()) };
    // SAFETY: Allocated above with this layout, and not used again.
    unsafe { allocator.deallocate(block.cast(), large) };
    // SAFETY: As above.
    unsafe { allocator.deallocate(keeper.cast(), small) };
    assert_eq!(allocator.free_bytes(), allocator.largest_free_block());
    drop(allocator);
    assert!(source.index.borrow().held.is_empty());
}

#[test]
fn regions_merge_whichever_comes_first() {
    adjacent_regions_make_one_block::<false>();
    adjacent_regions_make_one_block::<true>();
}

#[test]
fn blocks_stay_in_their_region_unless_regions_merge() {
    let source = Cut::<false>::new(4096, 1 << 20);
    let allocator = MultipleBinarySearchTreeAllocator::<_, U16, KeepApart>::new_in(&source);
    let blocks: Vec<_> = (0..4).map(|_| allocator.allocate(layout(3500, 8)).unwrap()).collect();
    assert_eq!(allocator.spans.iter().count(), 4);
    for block in blocks {
        // SAFETY: Allocated above with this layout, and not used again.
        unsafe { allocator.deallocate(block.cast(), layout(3500, 8)) };
    }
    assert_eq!(source.index.borrow().held.len(), 1, "one free region is kept");
    assert!(allocator.largest_free_block() < 4096);
}

/// A region at the edge of two keeps no region from being released, and makes no system call when
/// used again and again.
#[test]
fn the_region_kept_spares_requests() {
    let source = Cut::<false>::new(4096, 1 << 20);
    let allocator = MultipleBinarySearchTreeAllocator::<_, U16, KeepApart>::new_in(&source);
    let keeper = allocator.allocate(layout(3000, 8)).unwrap();
    for _ in 0..1000 {
        let block = allocator.allocate(layout(2000, 8)).unwrap();
        // SAFETY: Just allocated with this layout, and not used again.
        unsafe { allocator.deallocate(block.cast(), layout(2000, 8)) };
    }
    assert_eq!(source.index.borrow().obtained, 2);
    // SAFETY: Allocated above with this layout, and not used again.
    unsafe { allocator.deallocate(keeper.cast(), layout(3000, 8)) };
    assert_eq!(source.index.borrow().held.len(), 1);
}

#[test]
fn the_best_block_is_taken_and_of_equals_the_lowest() {
    let allocator = MultipleBinarySearchTreeAllocator::new(system());
    let sizes = [5_000, 2_000, 3_000, 2_000, 4_000];
    let blocks: Vec<_> = sizes
        .iter()
        .map(|&size| {
            let block = allocator.allocate(layout(size, 8)).unwrap();
            // Of a size that is not cut ahead.
            allocator.allocate(layout(600, 8)).unwrap();
            block
        })
        .collect();
    for (block, &size) in blocks.iter().zip(&sizes).rev() {
        // SAFETY: Allocated above with this layout, and not used again.
        unsafe { allocator.deallocate(block.cast(), layout(size, 8)) };
    }
    let take = |size| allocator.allocate(layout(size, 8)).unwrap().cast::<u8>();
    let mut addresses = std::vec![take(1_990), take(2_000)];
    // What waits is for requests of its own size, until it is merged.
    assert_eq!(allocator.largest_free_block() % 16, 0);
    addresses.extend([take(2_500), take(3_500)]);
    assert_eq!(addresses, [1, 3, 2, 4].map(|number: usize| blocks[number].cast::<u8>()));
}

/// What waits is merged before a request is refused, and for a large block before it is moved.
#[test]
fn what_waits_is_no_loss() {
    let mut bytes = std::vec![MaybeUninit::uninit(); 64 * 1024];
    let allocator =
        MultipleBinarySearchTreeAllocator::<_, U32, KeepApart>::new_in(RegionSource::new(&mut bytes));
    let first = allocator.allocate(layout(16, 8)).unwrap();
    let all = 16 + allocator.largest_free_block();
    // SAFETY: Allocated above with this layout, and not used again.
    unsafe { allocator.deallocate(first.cast(), layout(16, 8)) };
    assert_eq!(allocator.largest_free_block(), all);
    for size in [all, all - 16] {
        let large = layout(5_000, 8);
        let grown = layout(size, 8);
        let block = allocator.allocate(large).unwrap().cast::<u8>();
        let sizes = (1..).map(|number| layout(16 * number, 8));
        let small: Vec<_> =
            sizes.map_while(|layout| Some((allocator.allocate(layout).ok()?.cast::<u8>(), layout))).collect();
        assert!(small.len() > 50, "{}", small.len());
        for &(block, layout) in &small {
            // SAFETY: Allocated above with this layout, and not used again.
            unsafe { allocator.deallocate(block, layout) };
        }
        // SAFETY: The block is allocated with this layout.
        let block = unsafe { allocator.grow_in_place(block, large, grown) }.unwrap();
        // SAFETY: The block is allocated with a layout that it fits.
        unsafe { allocator.deallocate(block.cast(), grown) };
        let block = allocator.allocate(layout(all, 8)).unwrap();
        // SAFETY: Just allocated with this layout, and not used again.
        unsafe { allocator.deallocate(block.cast(), layout(all, 8)) };
    }
}
