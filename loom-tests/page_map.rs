//! Who gets a block finds its owner; who asks about another address finds none, and a whole leaf.

use core::ptr::NonNull;

use loom::sync::atomic::AtomicUsize;
use loom::sync::atomic::Ordering::{Acquire, Release};

use super::ground::Door;
use super::{explore, together};
use crate::page_map::{Entry, PageMap};
use crate::source::SLICE;

/// Slices 0 and 1 are in the first leaf, 2 and 3 in the second.
struct Process {
    map: PageMap<2>,
    door: Door,
    /// Whether a block of each slice was handed to another thread.
    handed: [AtomicUsize; 4],
}

impl Process {
    fn new() -> Self {
        Self { map: PageMap::new(), door: Door::new(), handed: core::array::from_fn(|_| AtomicUsize::new(0)) }
    }

    /// The entry of a slice, of a control block that is never looked at.
    fn entry(slice: usize) -> Entry {
        let control = core::ptr::without_provenance_mut::<u64>(64 * (slice + 1));
        Entry::direct(NonNull::new(control).unwrap())
    }

    /// Obtains a slice, enters it and hands a block out.
    fn enter(&self, slice: usize) {
        self.door.pass();
        assert_eq!(self.map.insert(slice * SLICE, Self::entry(slice)), Ok(()));
        self.handed[slice].store(1, Release);
    }

    /// Obtains a block that is part of a slice, whose entry another block's user may have written
    /// already, and hands it out, as `TierSource` does.
    fn enter_unless_there(&self, slice: usize, place: usize) {
        self.door.pass();
        if self.map.get(slice * SLICE) != Self::entry(slice) {
            assert_eq!(self.map.insert(slice * SLICE, Self::entry(slice)), Ok(()));
        }
        self.handed[place].store(1, Release);
    }

    /// Frees a block of a slice, if it was handed to this thread.
    fn free(&self, slice: usize, place: usize) {
        self.door.pass();
        let handed = self.handed[place].load(Acquire) == 1;
        let found = self.map.get(slice * SLICE + 24);
        if handed {
            assert_eq!(found, Self::entry(slice));
        } else {
            assert!([Self::entry(slice), Entry::GLOBAL].contains(&found));
        }
    }

    /// Frees a block of the global tier, which has no slice.
    fn free_global(&self, slice: usize) {
        self.door.pass();
        assert_eq!(self.map.get(slice * SLICE + 24), Entry::GLOBAL);
    }
}

#[test]
fn two_threads_map_one_leaf() {
    explore("page map, two map one leaf", 3, || {
        let process = together(
            Process::new(),
            |process| (process.free(0, 0), process.free(1, 1), process.free_global(2)).2,
            [|process| process.enter(0), |process| process.enter(1)],
        );
        process.free(0, 0);
        process.free(1, 1);
    });
}

#[test]
fn an_address_of_nobody_is_asked_about_meanwhile() {
    explore("page map, unrelated address", 3, || {
        let process = together(
            Process::new(),
            |process| (process.free_global(1), process.free_global(3)).1,
            [|process| process.enter(0), |process| process.free(0, 0)],
        );
        process.free(0, 0);
    });
}

#[test]
fn two_blocks_share_a_slice() {
    explore("page map, two blocks of a slice", 3, || {
        let process = together(
            Process::new(),
            |process| (process.free(0, 0), process.free(0, 1)).1,
            [|process| process.enter_unless_there(0, 0), |process| process.enter_unless_there(0, 1)],
        );
        process.free(0, 0);
    });
}

#[test]
fn a_slice_that_was_left_is_nobodys() {
    explore("page map, leave", 3, || {
        let leave = |process: &Process| {
            process.enter(0);
            process.map.remove(0);
            // Now the memory is another's, in the global tier.
            process.handed[3].store(1, Release);
        };
        let free = |process: &Process| {
            if process.handed[3].load(Acquire) == 1 {
                process.free_global(0);
            }
        };
        let process = together(Process::new(), free, [leave, |process| process.enter(1)]);
        process.free_global(0);
        process.free(1, 2);
    });
}

#[test]
fn three_threads_enter() {
    explore("page map, 4 threads", 4, || {
        let process = together(
            Process::new(),
            |process| (process.free(0, 0), process.free(1, 1), process.free(2, 2)).2,
            [|process| process.enter(0), |process| process.enter(1), |process| process.enter(2)],
        );
        (0..3).for_each(|slice| process.free(slice, slice));
        process.free_global(3);
    });
}
