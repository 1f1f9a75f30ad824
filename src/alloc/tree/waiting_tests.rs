//! What waits: how many, in which order, and that it is merged in the end.

use std::collections::BTreeMap;
use std::vec::Vec;

use core::mem::MaybeUninit;
use core::ptr::NonNull;

use super::MultipleBinarySearchTreeAllocator;
use super::count::{BINNED, BINS, size_of_bin};
use super::quick_fit::most;
use super::waiting::may_cut_ahead;
use crate::alloc::Allocator;
use crate::layout::NonZeroLayout;
use crate::source::RegionSource;

type Tree<'a> = MultipleBinarySearchTreeAllocator<RegionSource<'a>>;

fn layout(size: usize) -> NonZeroLayout {
    NonZeroLayout::from_size_align(size, 8).unwrap()
}

/// Runs `f` with an allocator over a region of 2 MiB.
fn over_a_region(f: impl FnOnce(&Tree<'_>)) {
    let mut bytes = std::vec![MaybeUninit::uninit(); 2 << 20];
    let tree = Tree::new_in(RegionSource::new(&mut bytes));
    f(&tree);
    assert_eq!(tree.free_bytes(), tree.largest_free_block(), "all is one block again");
}

fn take(tree: &Tree<'_>, size: usize, blocks: usize) -> Vec<NonNull<u8>> {
    (0..blocks).map(|_| tree.allocate(layout(size)).unwrap().cast()).collect()
}

fn give<'a>(tree: &Tree<'_>, size: usize, blocks: impl IntoIterator<Item = &'a NonNull<u8>>) {
    for &block in blocks {
        // SAFETY: `take` allocated it with this layout, and it is not used again.
        unsafe { tree.deallocate(block, layout(size)) };
    }
}

/// The blocks of a size that wait, the next to be taken first.
fn waiting(tree: &Tree<'_>, size: usize) -> Vec<usize> {
    let mut found = Vec::new();
    tree.quick.for_each(|block, len| {
        if len == size {
            found.push(block.address())
        }
    });
    assert_eq!(found.len(), tree.quick.waiting(size));
    found
}

fn live(size: usize, blocks: &[NonNull<u8>]) -> BTreeMap<usize, usize> {
    blocks.iter().map(|block| (block.addr().get(), size)).collect()
}

/// Every size has a list, and all lists together stay within what the documentation says.
#[test]
fn few_enough_blocks_wait() {
    let sizes = || (0..BINS).map(size_of_bin);
    assert!(sizes().all(|size| (7..=64).contains(&most(size))));
    assert!(sizes().map(most).is_sorted_by(|less, more| less >= more));
    assert!(sizes().map(most).sum::<usize>() <= 3_600);
    assert!(sizes().map(|size| size * most(size)).sum::<usize>() <= 5 << 20);
}

#[test]
fn what_was_freed_last_is_used_first() {
    for size in [16, 64, 1024, BINNED] {
        over_a_region(|tree| {
            let blocks = take(tree, size, 2 * most(size));
            tree.flush_quick();
            // No two of those that are freed adjoin each other.
            let freed: Vec<_> = blocks.iter().step_by(2).take(most(size)).collect();
            give(tree, size, freed.iter().copied());
            let expected: Vec<_> = freed.iter().rev().map(|block| block.addr().get()).collect();
            assert_eq!(waiting(tree, size), expected);
            let again = take(tree, size, most(size));
            assert!(again.iter().map(|block| block.addr().get()).eq(expected));
            give(tree, size, &blocks);
        });
    }
}

/// Blocks that are freed one behind the other, up or down, leave their list together when it is
/// full; one that adjoins none of them leaves the list as it is.
#[test]
fn a_full_list_is_merged_as_far_as_its_blocks_adjoin() {
    for size in [16, 64, 1024, BINNED] {
        for down in [false, true] {
            over_a_region(|tree| {
                let full = most(size);
                let mut blocks = take(tree, size, full + 4);
                tree.flush_quick();
                blocks.sort_by_key(|block| block.addr().get());
                if down {
                    blocks.reverse();
                }
                // Stay live.
                let ends = [blocks[0], blocks[full + 2], blocks[full + 3]];
                let run = &blocks[1..full + 2];
                give(tree, size, &run[..full]);
                assert_eq!(waiting(tree, size).len(), full);
                give(tree, size, &run[full..]);
                assert!(waiting(tree, size).is_empty());
                let mut whole = Vec::new();
                tree.free.for_each(|block, len| whole.push((block.address(), len)));
                let start = run.iter().map(|block| block.addr().get()).min().unwrap();
                assert!(whole.contains(&(start, (full + 1) * size)), "{whole:x?}");
                assert_eq!(tree.check(&live(size, &ends)), Ok(()));
                give(tree, size, &ends);
            });
        }
        over_a_region(|tree| {
            let full = most(size);
            let blocks = take(tree, size, 2 * full + 3);
            tree.flush_quick();
            let (freed, kept): (Vec<_>, Vec<_>) = (0..blocks.len()).partition(|number| number % 2 == 0);
            let [freed, kept] = [freed, kept]
                .map(|numbers| -> Vec<_> { numbers.into_iter().map(|number| blocks[number]).collect() });
            give(tree, size, &freed[..full]);
            let before = waiting(tree, size);
            give(tree, size, &freed[full..]);
            assert_eq!(waiting(tree, size), before);
            assert_eq!(tree.check(&live(size, &kept)), Ok(()));
            give(tree, size, &kept);
        });
    }
}

/// What is cut ahead ascends behind the first block, is no more than half of what may wait, and is
/// not counted as live.
#[test]
fn small_blocks_are_cut_ahead() {
    for size in (16..=BINNED).step_by(16) {
        over_a_region(|tree| {
            let first = take(tree, size, 1);
            let ahead = waiting(tree, size);
            assert_eq!(ahead.is_empty(), !may_cut_ahead(size), "{size}");
            assert!(ahead.len() <= most(size) / 2 && ahead.len() * size <= 1024);
            let behind = (1..).map(|number| first[0].addr().get() + number * size);
            assert!(ahead.iter().copied().eq(behind.take(ahead.len())));
            assert_eq!(tree.check(&live(size, &first)), Ok(()));
            // The next pair needs no tree.
            let second = take(tree, size, 1);
            give(tree, size, &second);
            assert_eq!(waiting(tree, size).len(), ahead.len().max(1));
            give(tree, size, &first);
        });
    }
}

/// In a small region, next to nothing is cut ahead: what was allocated before still fits.
#[test]
fn a_small_block_is_not_in_the_way() {
    for (region, small) in [(4096, 64), (8192, 32), (64 << 10, 64)] {
        let mut bytes = std::vec![MaybeUninit::uninit(); region];
        let tree = Tree::new_in(RegionSource::new(&mut bytes));
        let kept = take(&tree, small, 1);
        let large = take(&tree, tree.largest_free_block() / 4, 1);
        let (free, largest) = (tree.free_bytes(), tree.largest_free_block());
        assert!(largest >= free - free / 8, "{largest} of {free}");
        drop((kept, large));
    }
}

/// All lists are full, and all that waits is merged at once before a request is refused; nothing of
/// it is lost.
#[test]
fn full_lists_are_no_loss() {
    let mut bytes = std::vec![MaybeUninit::uninit(); 16 << 20];
    let tree = Tree::new_in(RegionSource::new(&mut bytes));
    let kept = take(&tree, 16, 1);
    let all = tree.largest_free_block();
    let sizes: Vec<_> = (0..BINS).map(size_of_bin).collect();
    let blocks: Vec<_> = sizes.iter().map(|&size| take(&tree, size, 2 * most(size))).collect();
    tree.flush_quick();
    for (blocks, &size) in blocks.iter().zip(&sizes) {
        give(&tree, size, blocks.iter().step_by(2));
        assert_eq!(tree.quick.waiting(size), most(size));
    }
    tree.allocate(layout(all)).expect_err("half of the blocks are live");
    assert!(sizes.iter().all(|&size| tree.quick.waiting(size) == 0));
    let odd = blocks.iter().zip(&sizes).flat_map(|(blocks, &size)| {
        blocks.iter().skip(1).step_by(2).map(move |block| (block.addr().get(), size))
    });
    assert_eq!(tree.check(&odd.chain(live(16, &kept)).collect()), Ok(()));
    for (blocks, &size) in blocks.iter().zip(&sizes) {
        give(&tree, size, blocks.iter().skip(1).step_by(2));
    }
    let whole = tree.allocate(layout(all)).expect("all of it is free").cast();
    give(&tree, all, &[whole]);
    give(&tree, 16, &kept);
}

/// A request for which there is room once a few blocks are merged leaves the others as they are.
#[test]
fn a_request_merges_no_more_than_it_needs() {
    let mut bytes = std::vec![MaybeUninit::uninit(); 64 << 10];
    let tree = Tree::new_in(RegionSource::new(&mut bytes));
    let fill = |size| -> Vec<NonNull<u8>> {
        (0..).map_while(|_| Some(tree.allocate(layout(size)).ok()?.cast())).collect()
    };
    let large = take(&tree, 1024, 10);
    let mut small = fill(64);
    small.sort_by_key(|block| block.addr().get());
    let rest = fill(16);
    let (merged, kept) = small.split_at(2);
    give(&tree, 64, merged);
    give(&tree, 1024, &large[..1]);
    let block = take(&tree, 128, 1);
    assert_eq!(block[0], merged[0]);
    assert_eq!((waiting(&tree, 64), waiting(&tree, 1024)), (Vec::new(), std::vec![large[0].addr().get()]));
    // What is left to wait is merged before the next request is refused.
    tree.allocate(layout(2048)).expect_err("its neighbour is live");
    assert!(waiting(&tree, 1024).is_empty());
    give(&tree, 1024, &large[1..2]);
    let large_again = take(&tree, 2048, 1);
    let mut all: BTreeMap<_, _> = live(64, kept);
    for (size, blocks) in [(128, &block), (2048, &large_again), (16, &rest)] {
        all.extend(live(size, blocks));
    }
    all.extend(live(1024, &large[2..]));
    assert_eq!(tree.check(&all), Ok(()));
}
