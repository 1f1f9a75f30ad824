//! Blocks that are freed twice, or by an allocator that is not theirs: slow paths find out, and end
//! the process, in release builds too.
//!
//! Each test runs its misuse in a process of its own. Without the check it would go on, loop for
//! ever, or end in another way.

use std::hint::black_box;
use std::ptr::NonNull;

use crate::support::layout;
use crate::support::misuse::ends_the_process;
use context_allocator::alloc::{FixedBitSetAllocator, LocalAllocator};
use context_allocator::size::{U64, U65536};
use context_allocator::{
    Allocator, BitSetAllocator, MmapSource, MultipleBinarySearchTreeAllocator, NonZeroLayout, SlabAllocator,
};

type BitSet = BitSetAllocator<MmapSource, U64>;
type Fixed = FixedBitSetAllocator<MmapSource, U64, typenum::U100>;
type Slab = SlabAllocator<MmapSource, U65536>;

const TWICE: &str = "freed twice";
const FOREIGN: &str = "none of this";

fn bit_set() -> BitSet {
    BitSet::new(MmapSource::new())
}

fn slab() -> Slab {
    Slab::new(MmapSource::new())
}

fn take<A: Allocator>(allocator: &A, layout: NonZeroLayout) -> NonNull<u8> {
    black_box(allocator.allocate(layout)).expect("a source without end").cast()
}

/// Frees a block, which may be the misuse.
fn free<A: Allocator>(allocator: &A, block: NonNull<u8>, layout: NonZeroLayout) {
    // SAFETY: There is none, for some calls: that is what is tested, in a process that must end.
    unsafe { allocator.deallocate(block, layout) };
}

/// A block that was freed twice leads the list of its length in a circle.
fn twice_while_it_waits(blocks: usize) {
    let allocator = bit_set();
    let run = layout(64 * blocks, 8);
    let (first, _live) = (take(&allocator, run), take(&allocator, run));
    free(&allocator, first, run);
    free(&allocator, first, run);
    // Asks for what is free, and so empties the lists.
    black_box(allocator.longest_free_run());
}

#[test]
fn a_waiting_block_of_a_bit_set_freed_twice() {
    ends_the_process(module_path!(), "a_waiting_block_of_a_bit_set_freed_twice", TWICE, || {
        twice_while_it_waits(1)
    });
}

#[test]
fn a_waiting_run_of_a_bit_set_freed_twice() {
    ends_the_process(module_path!(), "a_waiting_run_of_a_bit_set_freed_twice", TWICE, || {
        twice_while_it_waits(5)
    });
}

/// The circle gives the block away again and again, and the list's count passes nothing.
#[test]
fn a_circle_of_a_bit_set_that_was_popped() {
    ends_the_process(module_path!(), "a_circle_of_a_bit_set_that_was_popped", TWICE, || {
        let allocator = bit_set();
        let one = layout(64, 8);
        let (first, _live) = (take(&allocator, one), take(&allocator, one));
        free(&allocator, first, one);
        free(&allocator, first, one);
        (0..5).for_each(|_| _ = take(&allocator, one));
        black_box(allocator.longest_free_run());
    });
}

/// With other blocks freed in between, there is no circle of one.
#[test]
fn a_block_of_a_bit_set_freed_twice_among_others() {
    ends_the_process(module_path!(), "a_block_of_a_bit_set_freed_twice_among_others", TWICE, || {
        let allocator = bit_set();
        let run = layout(64 * 3, 8);
        let runs: Vec<_> = (0..10).map(|_| take(&allocator, run)).collect();
        runs[..5].iter().for_each(|&freed| free(&allocator, freed, run));
        free(&allocator, runs[2], run);
        // More than all regions have: what waits is given back before one is obtained.
        take(&allocator, layout(1 << 20, 8));
    });
}

/// Long runs, and those that find their list full, go to the map at once.
#[test]
fn a_long_run_of_a_bit_set_freed_twice() {
    ends_the_process(module_path!(), "a_long_run_of_a_bit_set_freed_twice", TWICE, || {
        let allocator = bit_set();
        let run = layout(64 * 100, 8);
        let (first, _live) = (take(&allocator, run), take(&allocator, run));
        free(&allocator, first, run);
        free(&allocator, first, run);
    });
}

#[test]
fn a_run_of_a_bit_set_freed_twice_behind_a_full_list() {
    ends_the_process(module_path!(), "a_run_of_a_bit_set_freed_twice_behind_a_full_list", TWICE, || {
        let allocator = bit_set();
        let run = layout(64 * 2, 8);
        let runs: Vec<_> = (0..200).map(|_| take(&allocator, run)).collect();
        runs[..100].iter().for_each(|&freed| free(&allocator, freed, run));
        free(&allocator, runs[99], run);
    });
}

#[test]
fn a_block_of_another_bit_set() {
    ends_the_process(module_path!(), "a_block_of_another_bit_set", FOREIGN, || {
        let (allocator, other) = (bit_set(), bit_set());
        let run = layout(64 * 100, 8);
        let (_live, foreign) = (take(&allocator, run), take(&other, run));
        free(&allocator, foreign, run);
    });
}

#[test]
fn a_waiting_block_of_another_bit_set() {
    ends_the_process(module_path!(), "a_waiting_block_of_another_bit_set", FOREIGN, || {
        let (allocator, other) = (bit_set(), bit_set());
        let one = layout(64, 8);
        let (_live, foreign) = (take(&allocator, one), take(&other, one));
        free(&allocator, foreign, one);
        black_box(allocator.longest_free_run());
    });
}

#[test]
fn a_piece_of_a_block_of_a_bit_set() {
    ends_the_process(module_path!(), "a_piece_of_a_block_of_a_bit_set", FOREIGN, || {
        let allocator = bit_set();
        let run = layout(64 * 100, 8);
        let block = take(&allocator, run);
        // SAFETY: Eight bytes on is still in the block.
        free(&allocator, unsafe { block.add(8) }, layout(64 * 50, 8));
    });
}

#[test]
fn a_large_block_of_a_bit_set_freed_by_another() {
    ends_the_process(module_path!(), "a_large_block_of_a_bit_set_freed_by_another", FOREIGN, || {
        let (allocator, other) = (bit_set(), bit_set());
        let large = layout(20 << 20, 8);
        let (_live, foreign) = (take(&allocator, large), take(&other, large));
        free(&allocator, foreign, large);
    });
}

#[test]
fn a_run_of_a_fixed_bit_set_freed_twice() {
    ends_the_process(module_path!(), "a_run_of_a_fixed_bit_set_freed_twice", TWICE, || {
        let allocator = Fixed::new(MmapSource::new());
        let run = layout(64 * 70, 8);
        let first = take(&allocator, run);
        free(&allocator, first, run);
        free(&allocator, first, run);
    });
}

#[test]
fn a_block_of_another_fixed_bit_set() {
    ends_the_process(module_path!(), "a_block_of_another_fixed_bit_set", FOREIGN, || {
        let (allocator, other) = (Fixed::new(MmapSource::new()), Fixed::new(MmapSource::new()));
        let one = layout(64, 8);
        let (_live, foreign) = (take(&allocator, one), take(&other, one));
        free(&allocator, foreign, one);
    });
}

/// The list that the class takes from the slab leads to itself.
#[test]
fn a_block_of_a_slab_freed_twice() {
    ends_the_process(module_path!(), "a_block_of_a_slab_freed_twice", TWICE, || {
        let allocator = slab();
        let small = layout(48, 8);
        let blocks: Vec<_> = (0..3000).map(|_| take(&allocator, small)).collect();
        blocks[..700].iter().for_each(|&freed| free(&allocator, freed, small));
        free(&allocator, blocks[699], small);
        (0..100).for_each(|_| _ = take(&allocator, small));
        black_box(allocator.live_blocks());
    });
}

/// The slab counts none before all are free.
#[test]
fn more_blocks_of_a_slab_freed_than_allocated() {
    ends_the_process(module_path!(), "more_blocks_of_a_slab_freed_than_allocated", TWICE, || {
        let allocator = slab();
        let small = layout(1024, 8);
        let blocks: Vec<_> = (0..200).map(|_| take(&allocator, small)).collect();
        for _ in 0..10 {
            blocks[..60].iter().for_each(|&freed| free(&allocator, freed, small));
        }
        black_box(allocator.live_blocks());
    });
}

#[test]
fn a_block_of_another_slab_allocator() {
    ends_the_process(module_path!(), "a_block_of_another_slab_allocator", FOREIGN, || {
        let (allocator, other) = (slab(), slab());
        let small = layout(1024, 8);
        take(&allocator, small);
        let blocks: Vec<_> = (0..200).map(|_| take(&other, small)).collect();
        blocks.iter().for_each(|&foreign| free(&allocator, foreign, small));
    });
}

/// A block that the thread cache does not know is checked.
#[test]
fn a_piece_of_a_block_of_a_slab() {
    ends_the_process(module_path!(), "a_piece_of_a_block_of_a_slab", FOREIGN, || {
        use context_allocator::alloc::{ThreadCache, ThreadCacheFor};
        static CACHE: Shared = Shared(<Slab as LocalAllocator>::Cache::EMPTY);
        let allocator = slab();
        let small = layout(1024, 8);
        // SAFETY: This allocator alone uses the cache, on this thread.
        let block = unsafe { CACHE.0.fill(&allocator, small) }.expect("a source without end");
        // SAFETY: Sixteen bytes on is still in the block.
        let piece = unsafe { block.add(16) };
        // SAFETY: There is none: that is what is tested.
        unsafe { CACHE.0.push_unknown(&allocator, piece, piece, small) };
    });
}

fn tree() -> MultipleBinarySearchTreeAllocator<MmapSource> {
    MultipleBinarySearchTreeAllocator::new(MmapSource::new())
}

/// The list ends behind fewer blocks than it counts, or never.
#[test]
fn a_waiting_block_of_a_tree_freed_twice() {
    ends_the_process(module_path!(), "a_waiting_block_of_a_tree_freed_twice", TWICE, || {
        let allocator = tree();
        let large = layout(1024, 8);
        let (first, _live) = (take(&allocator, large), take(&allocator, large));
        free(&allocator, first, large);
        free(&allocator, first, large);
        black_box(allocator.largest_free_block());
    });
}

/// The circle gives the block away as often as the list counts, and is there still.
#[test]
fn a_circle_of_a_tree_that_was_popped() {
    ends_the_process(module_path!(), "a_circle_of_a_tree_that_was_popped", TWICE, || {
        let allocator = tree();
        let large = layout(1024, 8);
        let (first, _live) = (take(&allocator, large), take(&allocator, large));
        free(&allocator, first, large);
        free(&allocator, first, large);
        (0..2).for_each(|_| _ = take(&allocator, large));
        black_box(allocator.largest_free_block());
    });
}

/// What was merged waits, and a full list is merged with its neighbour.
#[test]
fn a_free_block_of_a_tree_in_a_run() {
    ends_the_process(module_path!(), "a_free_block_of_a_tree_in_a_run", TWICE, || {
        let allocator = tree();
        let large = layout(1024, 8);
        let blocks: Vec<_> = (0..40).map(|_| take(&allocator, large)).collect();
        // 15 wait, none beside another; the others are merged at once.
        blocks.iter().step_by(2).for_each(|&freed| free(&allocator, freed, large));
        (0..15).for_each(|_| _ = take(&allocator, large));
        blocks[..28].iter().step_by(2).for_each(|&freed| free(&allocator, freed, large));
        // The fifteenth is free already, and the next one adjoins it.
        free(&allocator, blocks[38], large);
        free(&allocator, blocks[37], large);
    });
}

/// A list that is full leaves it to the bitmap.
#[test]
fn a_block_of_a_tree_freed_twice_behind_a_full_list() {
    ends_the_process(module_path!(), "a_block_of_a_tree_freed_twice_behind_a_full_list", TWICE, || {
        let allocator = tree();
        let large = layout(1024, 8);
        let blocks: Vec<_> = (0..40).map(|_| take(&allocator, large)).collect();
        blocks.iter().step_by(2).for_each(|&freed| free(&allocator, freed, large));
        free(&allocator, blocks[38], large);
    });
}

struct Shared(<Slab as LocalAllocator>::Cache);

// SAFETY: One thread of one process uses it.
unsafe impl Sync for Shared {}
