//! Heaps whose thread has ended.
//!
//! A heap is parked with its blocks settled (see [`Balance`](super::balance::Balance)), and adopted by the next thread that needs a heap,
//! which unsettles them. Both happen under one lock. A remote free that takes a parked heap's balance to 0 takes the lock
//! too, to empty the heap where it stands; by then the heap may have been adopted, or even parked again, so it looks at what
//! the heap is *now*: only a heap that is parked and even is emptied, and such a heap has no block and no user.

use core::ptr::{NonNull, null_mut};

use super::control::{Phase, Shared};
use crate::sync::Guarded;

/// The parked heaps of a switchable allocator.
#[derive(Debug)]
pub(crate) struct ParkingLot {
    heaps: Guarded<Parked>,
}

#[derive(Debug)]
struct Parked {
    first: *mut Shared,
}

// SAFETY: Parked heaps belong to the lot, not to a thread.
unsafe impl Send for Parked {}

impl ParkingLot {
    crate::sync::const_fn! {
        pub(crate) fn new() -> Self {
            Self { heaps: Guarded::new(Parked { first: null_mut() }) }
        }
    }

    /// Parks a heap with `live` blocks (handed out minus freed by its user); `empty` is called, under the lock, where all of them are
    /// gone already.
    pub(crate) fn park(&self, heap: &'static Shared, live: usize, empty: impl FnOnce()) {
        let mut heaps = self.heaps.lock();
        heap.set_phase(Phase::Parked);
        if heap.balance.settle(live) == 0 {
            empty();
        }
        heap.next.set(heaps.first);
        heaps.first = core::ptr::from_ref(heap).cast_mut();
    }

    /// Takes a parked heap, if there is one; `live` gives the number it was parked with, and is asked under the lock.
    pub(crate) fn adopt(&self, live: impl FnOnce(NonNull<Shared>) -> usize) -> Option<NonNull<Shared>> {
        let mut heaps = self.heaps.lock();
        let heap = NonNull::new(heaps.first)?;
        // SAFETY: A control block is never unmapped.
        let shared = unsafe { heap.as_ref() };
        heaps.first = shared.next.replace(null_mut());
        shared.balance.unsettle(live(heap));
        shared.set_phase(Phase::Alive);
        Some(heap)
    }

    /// Called by the remote free that saw the last block of a settled heap go: calls `empty`, under the lock, if the heap is parked and
    /// has no block.
    pub(crate) fn last_freed(&self, heap: &Shared, empty: impl FnOnce()) {
        let _heaps = self.heaps.lock();
        if heap.phase() == Phase::Parked && heap.balance.is_even() {
            empty();
        }
    }

    /// Calls `empty` with each parked heap that has no block, under the lock.
    pub(crate) fn for_each_empty(&self, mut empty: impl FnMut(NonNull<Shared>)) {
        let heaps = self.heaps.lock();
        let mut next = heaps.first;
        while let Some(heap) = NonNull::new(next) {
            // SAFETY: A control block is never unmapped.
            let shared = unsafe { heap.as_ref() };
            next = shared.next.get();
            if shared.balance.is_even() {
                empty(heap);
            }
        }
    }

    pub(crate) fn before_fork(&self) {
        self.heaps.hold_for_fork();
    }

    /// # Safety
    /// As [`Guarded::release_after_fork`].
    pub(crate) unsafe fn after_fork(&self) {
        // SAFETY: The caller's promises.
        unsafe { self.heaps.release_after_fork() };
    }
}
