//! The contract of `Allocator`, line by line.
//!
//! The [`Ledger`] checks length, alignment, overlap and contents at each step; what is here makes
//! the steps.

use std::boxed::Box;
use std::hint::black_box;
use std::rc::Rc;
use std::sync::Arc;
use std::vec::Vec;

use crate::alloc::Allocator;
use crate::layout::NonZeroLayout;

use super::{LARGEST, alignments, impossible_sizes, sizes};
use crate::testing::layout;
use crate::testing::ledger::{Held, Ledger, Way};

/// Tests everything that the `Allocator` contract says of one value.
///
/// An allocator that `make` made must serve every size up to [`LARGEST`] at alignments up to 4096
/// bytes, 8 MiB in all at a time.
pub fn allocator<A: Allocator>(make: impl Fn() -> A) {
    let tests: [fn(&dyn Allocator); 7] = [
        sizes_and_alignments,
        reuse_with_any_fitting_layout,
        zeroed_after_use,
        growing,
        shrinking,
        impossible_requests_change_nothing,
        fork_hooks,
    ];
    for test in tests {
        test(&make());
    }
    moved(make());
}

/// Tests an allocator through each pointer that forwards to it.
pub fn forwarded_allocator<A: Allocator>(make: impl Fn() -> A) {
    let shared = make();
    allocator(|| &shared);
    allocator(|| Rc::new(make()));
    allocator(|| Arc::new(make()));
    between(&&shared, &shared);
    let counted = Rc::new(make());
    between(&counted, &*counted);
    let counted = Arc::new(make());
    between(&counted, &*counted);
}

/// Tests that a clone is the same allocator.
pub fn cloned_allocator<A: Allocator + Clone>(make: impl Fn() -> A) {
    let first = make();
    let second = first.clone();
    between(&first, &second);
    between(&second, &first);
    let mut ledger = Ledger::new(&second);
    for held in some_blocks(&first).take_all() {
        ledger.put(held);
    }
    drop(second.clone());
    ledger.verify();
    ledger.free_all();
}

/// Frees and resizes through one what the other allocated; both are the same allocator.
fn between(first: &dyn Allocator, second: &dyn Allocator) {
    let mut other = Ledger::new(second);
    for held in some_blocks(first).take_all() {
        other.put(held);
    }
    let addresses: Vec<usize> = other.iter().map(|held| held.address()).collect();
    for address in addresses {
        let old = other.get(address).layout();
        other.resize(address, layout(old.size() * 2, old.align()), Way::Grow).expect("the block grows");
    }
    let mut ledger = Ledger::new(first);
    for held in other.take_all() {
        ledger.put(held);
    }
    ledger.free_all();
}

fn some_blocks<'a>(allocator: &'a (dyn Allocator + 'a)) -> Ledger<'a> {
    let mut ledger = Ledger::new(allocator);
    for size in [1, 8, 24, 100, 1000, 5000] {
        for align in [1, 8, 64] {
            ledger.allocate(layout(size, align)).expect("the allocator serves this");
        }
    }
    ledger
}

fn sizes_and_alignments(allocator: &dyn Allocator) {
    for align in alignments() {
        let mut ledger = Ledger::new(allocator);
        for size in sizes(LARGEST) {
            // Large blocks at each alignment would only repeat each other.
            if size <= 130 || align.ilog2().is_multiple_of(3) {
                ledger.allocate(layout(size, align)).expect("the allocator serves every size");
                ledger.allocate_zeroed(layout(size, align)).expect("the allocator serves every size");
            }
        }
        ledger.verify();
        ledger.free_all();
    }
}

fn reuse_with_any_fitting_layout(allocator: &dyn Allocator) {
    let mut ledger = Ledger::new(allocator);
    for align in [1, 8, 16, 32, 256] {
        for size in sizes(3000) {
            for kind in 0..3 {
                let address = ledger.allocate(layout(size, align)).expect("the allocator serves every size");
                let held = ledger.take(address);
                let fitting = [size, size.midpoint(held.len()), held.len()][kind];
                ledger.free_as(&held, fitting);
                // Were the block put back as another size, these two would overlap or reach beyond
                // it.
                let next = ledger.allocate(layout(fitting, align)).expect("the allocator serves every size");
                let after = ledger.allocate(layout(size, align)).expect("the allocator serves every size");
                if size.is_multiple_of(2) {
                    ledger.free(next);
                    ledger.free(after);
                }
            }
        }
        ledger.verify();
        ledger.free_all();
    }
}

fn zeroed_after_use(allocator: &dyn Allocator) {
    for align in alignments() {
        for size in [1, 7, 8, 16, 40, 100, 1024, 5000, LARGEST] {
            let mut ledger = Ledger::new(allocator);
            for _ in 0..4 {
                ledger.allocate(layout(size, align)).expect("the allocator serves every size");
            }
            // What is freed here is full of bytes that are not zero.
            ledger.free_all();
            for _ in 0..4 {
                ledger.allocate_zeroed(layout(size, align)).expect("the allocator serves every size");
            }
            ledger.free_all();
        }
    }
}

/// Layouts to resize between: sizes on both sides of class and page borders, alignments that rise
/// and fall.
fn stations() -> impl Iterator<Item = NonZeroLayout> + Clone {
    [1, 7, 8, 16, 17, 100, 512, 1025, 4096, 9000, LARGEST]
        .into_iter()
        .flat_map(|size| [1, 8, 16, 32, 512, 4096].into_iter().map(move |align| layout(size, align)))
}

fn growing(allocator: &dyn Allocator) {
    for way in [Way::Grow, Way::GrowZeroed] {
        for old in stations() {
            let mut ledger = Ledger::new(allocator);
            for new in stations().filter(|new| new.size() >= old.size()) {
                let last = ledger.allocate(old).expect("the allocator serves every size");
                ledger.resize(last, new, way).expect("the block grows");
                let covered = ledger.allocate(old).expect("the allocator serves every size");
                let cover = ledger.allocate(layout(24, 8)).expect("the allocator serves every size");
                ledger.resize(covered, new, way).expect("the block grows");
                ledger.free(cover);
                ledger.free_all();
            }
        }
    }
}

fn shrinking(allocator: &dyn Allocator) {
    for old in stations() {
        let mut ledger = Ledger::new(allocator);
        for new in stations().filter(|new| new.size() <= old.size()) {
            let last = ledger.allocate(old).expect("the allocator serves every size");
            let last = ledger.resize(last, new, Way::Shrink).expect("the block shrinks");
            let next = ledger.allocate(new).expect("the allocator serves every size");
            let covered = ledger.allocate(old).expect("the allocator serves every size");
            let cover = ledger.allocate(layout(24, 8)).expect("the allocator serves every size");
            let covered = ledger.resize(covered, new, Way::Shrink).expect("the block shrinks");
            ledger.free(cover);
            ledger.resize(covered, old, Way::GrowZeroed).expect("the block grows again");
            ledger.resize(last, old, Way::Grow).expect("the block grows again");
            ledger.free(next);
            ledger.free_all();
        }
    }
}

fn impossible_requests_change_nothing(allocator: &dyn Allocator) {
    let mut ledger = some_blocks(allocator);
    let addresses: Vec<usize> = ledger.iter().map(|held| held.address()).collect();
    for align in [1, 8, 4096, 1 << 40, 1 << 62] {
        for size in impossible_sizes() {
            let Ok(huge) = NonZeroLayout::from_size_align(size, align) else { continue };
            let huge = black_box(huge);
            assert!(ledger.allocate(huge).is_err(), "{huge:?} was granted");
            assert!(ledger.allocate_zeroed(huge).is_err(), "{huge:?} was granted");
            for &address in &addresses {
                assert!(ledger.resize(address, huge, Way::Grow).is_err(), "{huge:?} was granted");
                assert!(ledger.resize(address, huge, Way::GrowZeroed).is_err(), "{huge:?} was granted");
            }
        }
    }
    // A block that cannot be had at this alignment stays as it was when it shrinks towards it.
    for &address in &addresses {
        let old = ledger.get(address).layout();
        let misfit = black_box(layout(1, 1 << 62));
        assert!(ledger.resize(address, misfit, Way::Shrink).is_err(), "{misfit:?} was granted");
        assert_eq!(ledger.get(address).layout(), old);
    }
    ledger.verify();
    // The allocator works as before.
    let address = ledger.allocate(layout(100, 8)).expect("the allocator serves every size");
    ledger.resize(address, layout(200, 8), Way::Grow).expect("the block grows");
    ledger.free_all();
}

/// Moving the allocator leaves its blocks where they are.
fn moved<A: Allocator>(allocator: A) {
    let blocks = some_blocks(&allocator).take_all();
    let elsewhere = black_box(Box::new(allocator));
    still_there(&*elsewhere, blocks);
}

fn still_there(allocator: &dyn Allocator, blocks: Vec<Held>) {
    let mut ledger = Ledger::new(allocator);
    for held in blocks {
        ledger.put(held);
    }
    let more = some_blocks(allocator).take_all();
    for held in more {
        ledger.put(held);
    }
    ledger.verify();
    ledger.free_all();
}

/// After a fork's hooks the allocator is as before.
fn fork_hooks(allocator: &dyn Allocator) {
    let mut ledger = some_blocks(allocator);
    for _ in 0..2 {
        // SAFETY: The call that follows is the other one.
        unsafe { allocator.before_fork() };
        // SAFETY: This thread just called `before_fork`, and this is the one call that follows it.
        unsafe { allocator.after_fork() };
        ledger.allocate(layout(64, 8)).expect("the allocator serves every size");
    }
    ledger.free_all();
}
