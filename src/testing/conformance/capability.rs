//! The contracts of the capability traits.

use std::boxed::Box;
use std::hint::black_box;
use std::ptr::NonNull;

use crate::alloc::{Allocator, Owns, Reset, ResizeInPlace};

use super::{alignments, impossible_sizes, sizes};
use crate::testing::layout;
use crate::testing::ledger::{Ledger, Way};

/// Tests `ResizeInPlace`: a success leaves the block where it is with its contents, a failure
/// changes nothing. Returns how often blocks grew and shrank in place, for the caller to compare
/// with what its allocator can do.
pub fn resize_in_place<A: ResizeInPlace>(make: impl Fn() -> A) -> (usize, usize) {
    resized_in_place(&make())
}

fn resized_in_place(allocator: &dyn ResizeInPlace) -> (usize, usize) {
    let (mut grown, mut shrunk) = (0, 0);
    for align in alignments() {
        for size in sizes(3000) {
            let mut ledger = Ledger::in_place(allocator);
            let covered = ledger.allocate(layout(size, 8)).expect("the allocator serves every size");
            let last = ledger.allocate(layout(size, 8)).expect("the allocator serves every size");
            for address in [last, covered] {
                for larger in [size, size + 1, size + 8, 2 * size] {
                    let old = ledger.get(address).layout();
                    if larger >= old.size() {
                        let new = layout(larger, align);
                        grown += usize::from(ledger.resize_in_place(address, new, Way::Grow).is_ok());
                    }
                }
                for smaller in [size, size - size / 4, size / 2, 1] {
                    let old = ledger.get(address).layout();
                    if smaller >= 1 && smaller <= old.size() {
                        let new = layout(smaller, align);
                        shrunk += usize::from(ledger.resize_in_place(address, new, Way::Shrink).is_ok());
                    }
                }
            }
            // What shrinking made free may be given out again, and must not be part of what is
            // left.
            for _ in 0..2 {
                ledger.allocate(layout(size, 8)).expect("the allocator serves every size");
            }
            ledger.free_all();
        }
    }
    let mut ledger = Ledger::in_place(allocator);
    let address = ledger.allocate(layout(100, 8)).expect("the allocator serves every size");
    for size in impossible_sizes() {
        let huge = black_box(layout(size, 1));
        assert!(ledger.resize_in_place(address, huge, Way::Grow).is_err(), "{huge:?} was granted");
    }
    ledger.free_all();
    (grown, shrunk)
}

/// Tests `Owns`: every byte of a block that is allocated, and nothing of other objects.
pub fn owns<A: Owns>(make: impl Fn() -> A) {
    static STATIC: u64 = 1;
    let (allocator, other) = (make(), make());
    let local = 1_u64;
    let boxed = Box::new(1_u64);
    let foreign = |allocator: &A| {
        for object in [&STATIC, &local, &*boxed] {
            assert!(!allocator.owns(NonNull::from(black_box(object)).cast()), "an object of somebody else");
        }
    };
    foreign(&allocator);
    let mut ledger = Ledger::new(&allocator);
    let mut others = Ledger::new(&other);
    for size in sizes(3000).chain([32 * 1024]) {
        for ledger in [&mut ledger, &mut others] {
            ledger.allocate(layout(size, 8)).expect("the allocator serves every size");
        }
    }
    for (held, own) in ledger.iter().map(|held| (held, true)).chain(others.iter().map(|held| (held, false))) {
        for byte in [0, held.len() / 2, held.len() - 1] {
            let address = NonNull::from(&held.bytes()[byte]);
            assert_eq!(allocator.owns(address), own, "byte {byte} of {held:?}");
            assert_eq!(other.owns(address), !own, "byte {byte} of {held:?}");
        }
    }
    foreign(&allocator);
    ledger.free_all();
    others.free_all();
}

/// Tests `Reset`: afterwards everything can be allocated again, any number of times, and what was
/// live before is not missed.
pub fn reset<A: Reset>(make: impl Fn() -> A) {
    let mut allocator = make();
    allocator.reset();
    for round in 0..20 {
        let mut ledger = Ledger::new(&allocator);
        for size in sizes(4096) {
            let address = ledger.allocate(layout(size, 8)).expect("the allocator serves every size");
            if size.is_multiple_of(3) {
                ledger.free(address);
            }
        }
        ledger.verify();
        if round % 2 == 0 {
            ledger.free_all();
        }
        allocator.reset();
    }
    work_after(&allocator);
}

fn work_after(allocator: &dyn Allocator) {
    let mut ledger = Ledger::new(allocator);
    let address = ledger.allocate_zeroed(layout(1000, 64)).expect("the allocator serves every size");
    ledger.resize(address, layout(2000, 64), Way::GrowZeroed).expect("the block grows");
    ledger.free_all();
}
