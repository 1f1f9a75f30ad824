//! The heap of a thread that ends is parked, adopted and parked again while its blocks are freed elsewhere.
//!
//! The heap reuses its blocks, so each block is with a user, on the remote list, or on the allocator's own list; the sum of these
//! is checked whenever the heap is emptied, and at the end. A heap is emptied only while it is parked without a block.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::vec::Vec;

use core::ptr::NonNull;

use loom::sync::atomic::AtomicUsize as LoomUsize;
use loom::sync::atomic::Ordering::AcqRel;

use super::ground::{Ground, Place};
use super::{explore, together};
use crate::NonZeroLayout;
use crate::switch::control::{HeapTier, Local, Phase, Shared};
use crate::switch::parking::ParkingLot;

const BLOCK: usize = 16;
const BLOCKS: usize = 4;

struct Process {
    lot: ParkingLot,
    shared: Shared,
    local: LocalPart,
    /// What only the heap's user touches: the allocator.
    user: Place,
    /// The allocator's free blocks. Loom does not see this lock; `user` says who may take it.
    free: Mutex<Vec<usize>>,
    ground: Ground,
    /// Blocks that somebody uses.
    used: AtomicUsize,
    /// Whether some thread has the heap.
    taken: AtomicBool,
    emptied: AtomicUsize,
    /// A block on its way to another thread, plus 1; or 0.
    sent: LoomUsize,
}

/// `Local` is not `Sync`, since it has a cell; the models use only its atomics.
struct LocalPart(Local);

// SAFETY: Only atomics of it are used.
unsafe impl Sync for LocalPart {}

impl Process {
    /// A heap that has a user, who has allocated the first `blocks` blocks.
    fn new(blocks: usize) -> Self {
        let shared = Shared::new(HeapTier::Thread);
        shared.set_phase(Phase::Alive);
        let local = LocalPart(Local::new());
        (0..blocks).for_each(|_| local.0.count_allocated());
        Self {
            lot: ParkingLot::new(),
            shared,
            local,
            user: Place::new(),
            free: Mutex::new((blocks..BLOCKS).collect()),
            ground: Ground::new(1, BLOCKS * BLOCK, BLOCK),
            used: AtomicUsize::new(blocks),
            taken: AtomicBool::new(true),
            emptied: AtomicUsize::new(0),
            sent: LoomUsize::new(0),
        }
    }

    /// The control block, as long as the allocator lives for all that the lot cares.
    fn control(&self) -> &'static Shared {
        // SAFETY: The lot, which is all that keeps the reference, goes together with the control block.
        unsafe { &*core::ptr::from_ref(&self.shared) }
    }

    fn layout() -> NonZeroLayout {
        NonZeroLayout::of::<[u64; 2]>().unwrap()
    }

    // What the heap's user does.

    fn allocate(&self) -> usize {
        self.user.touch();
        let block = self.free.lock().unwrap().pop().expect("blocks enough");
        self.ground.touch(self.ground.at(block));
        self.used.fetch_add(1, Relaxed);
        self.local.0.count_allocated();
        block
    }

    fn free_locally(&self, block: usize) {
        self.ground.touch(self.ground.at(block));
        self.used.fetch_sub(1, Relaxed);
        self.free_in_allocator(block);
        self.local.0.count_freed();
    }

    fn free_in_allocator(&self, block: usize) {
        self.user.touch();
        self.ground.touch(self.ground.at(block));
        let mut free = self.free.lock().unwrap();
        assert!(!free.contains(&block), "freed once");
        free.push(block);
    }

    fn bring_home(&self) {
        let blocks: Vec<NonNull<u8>> = self.shared.remote.take().map(|(block, _)| block).collect();
        blocks.into_iter().for_each(|block| self.free_in_allocator(self.ground.unit_of(block)));
    }

    /// As `SwitchableAllocator::detach`.
    fn park(&self) {
        self.bring_home();
        let live = self.local.0.live();
        assert!(self.taken.swap(false, Relaxed));
        self.lot.park(self.control(), live, || self.empty());
    }

    // What anybody does.

    /// As `SwitchableAllocator::free_remotely` and what it calls.
    fn free_remotely(&self, block: usize) {
        self.ground.touch(self.ground.at(block));
        self.used.fetch_sub(1, Relaxed);
        // SAFETY: The models free a block that the thread has, of two words.
        unsafe { self.shared.remote.push(self.ground.at(block), Self::layout()) };
        if self.shared.balance.remote_free() {
            self.lot.last_freed(&self.shared, || self.empty());
        }
    }

    /// As `SwitchableAllocator::adopt_or_make`; whether there was a heap to adopt.
    fn adopt(&self) -> bool {
        let live = |heap: NonNull<Shared>| {
            assert_eq!(heap, NonNull::from(&self.shared));
            // Under the lock, so that nobody empties the heap from here on.
            assert!(!self.taken.swap(true, Relaxed));
            self.local.0.live()
        };
        let adopted = self.lot.adopt(live).is_some();
        if adopted {
            self.user.touch();
        }
        adopted
    }

    /// As the first half of `SwitchableAllocator::trim`.
    fn trim(&self) {
        self.lot.for_each_empty(|_| self.empty());
    }

    /// As `SwitchableAllocator::empty_parked`.
    fn empty(&self) {
        assert_eq!(self.shared.phase(), Phase::Parked);
        assert!(!self.taken.load(Relaxed), "nobody uses the heap");
        assert_eq!(self.used.load(Relaxed), 0, "nobody uses a block");
        self.emptied.fetch_add(1, Relaxed);
        self.user.touch();
        (0..BLOCKS).for_each(|block| self.ground.touch(self.ground.at(block)));
        self.shared.balance.clear();
        self.shared.remote.clear();
        self.local.0.clear();
        *self.free.lock().unwrap() = (0..BLOCKS).collect();
    }

    /// At the end: all blocks were freed. A parked heap was emptied, and one with a user has every block on one of its lists.
    fn check(self) {
        assert_eq!(self.used.load(Relaxed), 0);
        let (live, balance) = (self.local.0.live(), self.shared.balance.get());
        if self.taken.load(Relaxed) {
            assert_eq!(self.shared.phase(), Phase::Alive);
            assert_eq!(live.cast_signed(), balance, "as many freed as handed out");
        } else {
            assert_eq!(self.shared.phase(), Phase::Parked);
            assert!(self.emptied.load(Relaxed) > 0);
            assert_eq!((live, balance), (0, 0));
        }
        self.bring_home();
        assert_eq!(self.free.lock().unwrap().len(), BLOCKS);
    }
}

#[test]
fn owner_parks_while_two_free() {
    explore("parking, 2 free", 3, || {
        let others =
            [|process: &Process| process.free_remotely(0), |process: &Process| process.free_remotely(1)];
        let process = together(Process::new(2), Process::park, others);
        assert_eq!(process.emptied.load(Relaxed), 1, "emptied once");
        process.check();
    });
}

#[test]
fn owner_uses_the_heap_and_parks() {
    explore("parking, 2 free and the owner allocates", 3, || {
        let owner = |process: &Process| {
            process.bring_home();
            let block = process.allocate();
            process.free_locally(block);
            process.park();
        };
        let others =
            [|process: &Process| process.free_remotely(0), |process: &Process| process.free_remotely(1)];
        let process = together(Process::new(2), owner, others);
        assert_eq!(process.emptied.load(Relaxed), 1, "emptied once");
        process.check();
    });
}

#[test]
fn another_thread_adopts() {
    explore("parking, adopt", 3, || {
        let adopt = |process: &Process| {
            if process.adopt() {
                process.bring_home();
                let block = process.allocate();
                process.free_locally(block);
            }
        };
        together(Process::new(1), Process::park, [|process| process.free_remotely(0), adopt]).check();
    });
}

/// The adopter parks the heap again, and a block of its own outlives that: a thread that freed the last block before comes late.
#[test]
fn another_thread_adopts_and_parks() {
    explore("parking, adopt and park again", 3, || {
        let adopt_and_park = |process: &Process| {
            if process.adopt() {
                let block = process.allocate();
                process.park();
                process.free_remotely(block);
            }
        };
        let free = |process: &Process| process.free_remotely(0);
        together(Process::new(1), Process::park, [free, adopt_and_park]).check();
    });
}

/// Here the heap's user is the thread that allocated, and the adopter at once; its block goes to the thread that frees.
#[test]
fn a_block_goes_out_and_comes_back() {
    explore("parking, a block sent to who frees", 3, || {
        let adopt_and_send = |process: &Process| {
            if process.adopt() {
                process.bring_home();
                process.sent.swap(process.allocate() + 1, AcqRel);
                process.park();
            }
        };
        let free = |process: &Process| {
            process.free_remotely(0);
            let sent = process.sent.swap(0, AcqRel);
            if sent != 0 {
                process.free_remotely(sent - 1);
            }
        };
        let process = together(Process::new(1), Process::park, [free, adopt_and_send]);
        let sent = process.sent.swap(0, AcqRel);
        if sent != 0 {
            process.free_remotely(sent - 1);
        }
        process.check();
    });
}

#[test]
fn another_thread_trims() {
    explore("parking, trim", 3, || {
        let free_two = |process: &Process| (process.free_remotely(0), process.free_remotely(1)).1;
        together(Process::new(2), Process::park, [free_two, Process::trim]).check();
    });
}

#[test]
fn four_threads_park_adopt_and_free() {
    explore("parking, 4 threads", 4, || {
        let adopt_and_park = |process: &Process| {
            if process.adopt() {
                process.bring_home();
                let block = process.allocate();
                process.park();
                process.free_remotely(block);
            }
        };
        let others = [
            |process: &Process| process.free_remotely(0),
            |process: &Process| process.free_remotely(1),
            adopt_and_park,
        ];
        together(Process::new(2), Process::park, others).check();
    });
}

#[test]
fn four_threads_park_trim_and_free() {
    explore("parking, 4 threads, one trims", 4, || {
        let others = [
            |process: &Process| process.free_remotely(0),
            |process: &Process| process.free_remotely(1),
            |process: &Process| process.trim(),
        ];
        together(Process::new(2), Process::park, others).check();
    });
}
