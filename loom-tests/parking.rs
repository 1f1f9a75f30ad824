//! The heap of a thread that ends is parked, adopted and parked again while its blocks are freed
//! elsewhere.
//!
//! A heap is emptied only while it is parked without a block; the lists of its blocks are
//! checked whenever it is, and at the end.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use loom::sync::atomic::AtomicUsize as LoomUsize;
use loom::sync::atomic::Ordering::AcqRel;

use super::heap::Heap;
use super::{explore, together};
use crate::switch::control::{HeapTier, Phase};
use crate::switch::parking::ParkingLot;

struct Process {
    lot: ParkingLot,
    heap: Heap,
    /// Whether some thread has the heap.
    taken: AtomicBool,
    emptied: AtomicUsize,
    /// A block on its way to another thread, plus 1; or 0.
    sent: LoomUsize,
}

impl Process {
    /// A heap that has a user, who has allocated the first `blocks` blocks.
    fn new(blocks: usize) -> Self {
        Self {
            lot: ParkingLot::new(),
            heap: Heap::new(HeapTier::Thread, blocks),
            taken: AtomicBool::new(true),
            emptied: AtomicUsize::new(0),
            sent: LoomUsize::new(0),
        }
    }

    /// As `SwitchableAllocator::detach`.
    fn park(&self) {
        self.heap.collect_remote();
        self.heap.touch();
        assert!(self.taken.swap(false, Relaxed));
        // SAFETY: The thread is the heap's user, and uses it no more.
        unsafe { self.lot.park(self.heap.control(), |_| self.empty()) };
    }

    /// As `SwitchableAllocator::free_remotely` and what it calls.
    fn free(&self, block: usize) {
        if self.heap.free_remotely(block) {
            self.lot.last_freed(self.heap.control(), || self.empty());
        }
    }

    /// The same of several blocks at once, as `SwitchableAllocator::send`.
    fn free_together<const N: usize>(&self, blocks: [usize; N]) {
        if self.heap.free_together(blocks) {
            self.lot.last_freed(self.heap.control(), || self.empty());
        }
    }

    /// As `SwitchableAllocator::adopt_or_make`; whether there was a heap to adopt.
    fn adopt(&self) -> bool {
        let Some(heap) = self.lot.adopt() else { return false };
        assert_eq!(heap, self.heap.control());
        assert!(!self.taken.swap(true, Relaxed));
        self.heap.touch();
        true
    }

    /// As the first half of `SwitchableAllocator::trim`.
    fn trim(&self) {
        self.lot.for_each_empty(|_| self.empty());
    }

    fn empty(&self) {
        assert_eq!(self.heap.control().phase(), Phase::Emptying);
        assert!(!self.taken.load(Relaxed), "nobody uses the heap");
        self.emptied.fetch_add(1, Relaxed);
        self.heap.clear();
    }

    /// At the end: all blocks were freed. A heap that is still parked was emptied.
    fn check(self) {
        if self.taken.load(Relaxed) {
            assert_eq!(self.heap.control().phase(), Phase::Alive);
        } else {
            assert_eq!(self.heap.control().phase(), Phase::Parked);
            assert!(self.emptied.load(Relaxed) > 0);
        }
        self.heap.check_without_blocks();
    }
}

#[test]
fn owner_parks_while_two_free() {
    explore("parking, 2 free", 3, || {
        let others = [|process: &Process| process.free(0), |process: &Process| process.free(1)];
        let process = together(Process::new(2), Process::park, others);
        assert_eq!(process.emptied.load(Relaxed), 1, "emptied once");
        process.check();
    });
}

#[test]
fn owner_uses_the_heap_and_parks() {
    explore("parking, 2 free and the owner allocates", 3, || {
        let owner = |process: &Process| {
            process.heap.collect_remote();
            let block = process.heap.allocate();
            process.heap.free_locally(block);
            process.park();
        };
        let others = [|process: &Process| process.free(0), |process: &Process| process.free(1)];
        let process = together(Process::new(2), owner, others);
        assert_eq!(process.emptied.load(Relaxed), 1, "emptied once");
        process.check();
    });
}

#[test]
fn owner_parks_while_two_send_batches() {
    explore("parking, 2 send batches", 3, || {
        let others = [
            |process: &Process| process.free_together([0, 1]),
            |process: &Process| {
                process.free_together([2, 3]);
            },
        ];
        let process = together(Process::new(4), Process::park, others);
        assert_eq!(process.emptied.load(Relaxed), 1, "emptied once");
        process.check();
    });
}

#[test]
fn another_thread_adopts_while_a_batch_is_sent() {
    explore("parking, adopt, and a batch", 3, || {
        let adopt = |process: &Process| {
            if process.adopt() {
                process.heap.collect_remote();
                let block = process.heap.allocate();
                process.heap.free_locally(block);
            }
        };
        together(Process::new(3), Process::park, [|process| process.free_together([0, 1, 2]), adopt]).check();
    });
}

#[test]
fn a_batch_and_single_blocks_and_an_adopter() {
    explore("parking, adopt, a batch and a block", 4, || {
        let adopt = |process: &Process| {
            if process.adopt() {
                process.heap.collect_remote();
            }
        };
        let others =
            [|process: &Process| process.free_together([0, 1]), |process: &Process| process.free(2), adopt];
        together(Process::new(3), Process::park, others).check();
    });
}

#[test]
fn another_thread_adopts() {
    explore("parking, adopt", 3, || {
        let adopt = |process: &Process| {
            if process.adopt() {
                process.heap.collect_remote();
                let block = process.heap.allocate();
                process.heap.free_locally(block);
            }
        };
        together(Process::new(1), Process::park, [|process| process.free(0), adopt]).check();
    });
}

/// The adopter parks the heap again, and a block of its own outlives that: a thread that freed the
/// last block before comes late.
#[test]
fn another_thread_adopts_and_parks() {
    explore("parking, adopt and park again", 3, || {
        let adopt_and_park = |process: &Process| {
            if process.adopt() {
                let block = process.heap.allocate();
                process.park();
                process.free(block);
            }
        };
        let free = |process: &Process| process.free(0);
        together(Process::new(1), Process::park, [free, adopt_and_park]).check();
    });
}

/// The adopter parks the heap without a block, and empties it while the late one comes.
#[test]
fn another_thread_adopts_and_parks_without_blocks() {
    explore("parking, adopt and park without blocks", 3, || {
        let adopt_and_park = |process: &Process| {
            if process.adopt() {
                process.park();
            }
        };
        together(Process::new(1), Process::park, [|process| process.free(0), adopt_and_park]).check();
    });
}

/// Here the heap's user is the thread that allocated, and the adopter at once; its block goes to
/// the thread that frees.
#[test]
fn a_block_goes_out_and_comes_back() {
    explore("parking, a block sent to who frees", 3, || {
        let adopt_and_send = |process: &Process| {
            if process.adopt() {
                process.heap.collect_remote();
                process.sent.swap(process.heap.allocate() + 1, AcqRel);
                process.park();
            }
        };
        let free = |process: &Process| {
            process.free(0);
            let sent = process.sent.swap(0, AcqRel);
            if sent != 0 {
                process.free(sent - 1);
            }
        };
        let process = together(Process::new(1), Process::park, [free, adopt_and_send]);
        let sent = process.sent.swap(0, AcqRel);
        if sent != 0 {
            process.free(sent - 1);
        }
        process.check();
    });
}

#[test]
fn another_thread_trims() {
    explore("parking, trim", 3, || {
        let free_two = |process: &Process| (process.free(0), process.free(1)).1;
        together(Process::new(2), Process::park, [free_two, Process::trim]).check();
    });
}

/// The heap is emptied and adopted before the thread that freed the last block comes to empty it:
/// it finds a user there.
#[test]
fn another_thread_trims_and_adopts() {
    explore("parking, trim and adopt", 3, || {
        let trim_and_adopt = |process: &Process| {
            process.trim();
            if process.adopt() {
                let block = process.heap.allocate();
                process.heap.free_locally(block);
            }
        };
        together(Process::new(1), Process::park, [|process| process.free(0), trim_and_adopt]).check();
    });
}

#[test]
fn four_threads_park_adopt_and_free() {
    explore("parking, 4 threads", 4, || {
        let adopt_and_park = |process: &Process| {
            if process.adopt() {
                process.heap.collect_remote();
                let block = process.heap.allocate();
                process.park();
                process.free(block);
            }
        };
        let others =
            [|process: &Process| process.free(0), |process: &Process| process.free(1), adopt_and_park];
        together(Process::new(2), Process::park, others).check();
    });
}

#[test]
fn four_threads_park_trim_and_free() {
    explore("parking, 4 threads, one trims", 4, || {
        let others = [
            |process: &Process| process.free(0),
            |process: &Process| process.free(1),
            |process: &Process| process.trim(),
        ];
        together(Process::new(2), Process::park, others).check();
    });
}
