//! Heaps whose thread has ended.
//!
//! A heap is parked with its blocks settled (see [`Balance`](super::balance::Balance)), and adopted
//! by the next thread that needs a heap, which unsettles them. Both happen under one lock. A remote
//! free that takes a parked heap's balance to 0 takes the lock too; by then the heap may have been
//! adopted, or even parked again, so it looks at what the heap is *now*: only a heap that is parked
//! and even is emptied, and such a heap has no block and no user.
//!
//! ```text
//!   alive --park, blocks--> parked --adopt--> alive
//!     |                      |  ^
//!     |            last block|  |emptied
//!     |                 gone v  |
//!     +--park, no block--> emptying
//! ```
//!
//! Always: nothing is emptied under the lock, because that calls the tier's source. A heap that is
//! being emptied says so in its phase, and is the emptying thread's alone: no thread adopts it, and
//! none empties it a second time.

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

    /// Parks a heap with `live` blocks (handed out minus freed by its user); calls `empty` if all
    /// of them are gone already.
    pub(crate) fn park(&self, heap: &'static Shared, live: usize, empty: impl FnOnce()) {
        let mut heaps = self.heaps.lock();
        let even = heap.balance.retire(live) == 0;
        heap.set_phase(if even { Phase::Emptying } else { Phase::Parked });
        heaps.push(heap);
        drop(heaps);
        if even {
            empty();
            self.emptied(heap);
        }
    }

    /// Takes a parked heap, if there is one; `live` gives the number it was parked with, and is
    /// asked under the lock.
    pub(crate) fn adopt(&self, live: impl FnOnce(NonNull<Shared>) -> usize) -> Option<NonNull<Shared>> {
        let mut heaps = self.heaps.lock();
        let heap = heaps.take(|heap| heap.phase() == Phase::Parked)?;
        // SAFETY: A control block is never unmapped.
        let shared = unsafe { heap.as_ref() };
        shared.balance.revive(live(heap));
        shared.set_phase(Phase::Alive);
        Some(heap)
    }

    /// Called by the remote free that saw the last block of a settled heap go: calls `empty` if the
    /// heap is parked and has no block.
    pub(crate) fn last_freed(&self, heap: &Shared, empty: impl FnOnce()) {
        let heaps = self.heaps.lock();
        if !heap.is_parked_without_blocks() {
            return;
        }
        heap.set_phase(Phase::Emptying);
        drop(heaps);
        empty();
        self.emptied(heap);
    }

    /// Calls `empty` with each parked heap that has no block.
    pub(crate) fn for_each_empty(&self, mut empty: impl FnMut(NonNull<Shared>)) {
        let mut taken = Parked { first: null_mut() };
        let mut heaps = self.heaps.lock();
        while let Some(heap) = heaps.take(Shared::is_parked_without_blocks) {
            // SAFETY: A control block is never unmapped.
            let shared = unsafe { heap.as_ref() };
            shared.set_phase(Phase::Emptying);
            taken.push(shared);
        }
        drop(heaps);
        while let Some(heap) = taken.take(|_| true) {
            empty(heap);
            // SAFETY: A control block is never unmapped.
            let shared = unsafe { heap.as_ref() };
            let mut heaps = self.heaps.lock();
            heaps.push(shared);
            shared.set_phase(Phase::Parked);
        }
    }

    /// The heap was emptied, and may be adopted.
    fn emptied(&self, heap: &Shared) {
        let _heaps = self.heaps.lock();
        heap.set_phase(Phase::Parked);
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

impl Parked {
    fn push(&mut self, heap: &Shared) {
        heap.next.set(self.first);
        self.first = core::ptr::from_ref(heap).cast_mut();
    }

    /// Takes the first heap off the list that is `wanted`.
    fn take(&mut self, wanted: impl Fn(&Shared) -> bool) -> Option<NonNull<Shared>> {
        let mut before: Option<&Shared> = None;
        let mut next = self.first;
        while let Some(heap) = NonNull::new(next) {
            // SAFETY: A control block is never unmapped.
            let shared = unsafe { heap.as_ref() };
            next = shared.next.get();
            if wanted(shared) {
                shared.next.set(null_mut());
                match before {
                    Some(before) => before.next.set(next),
                    None => self.first = next,
                }
                return Some(heap);
            }
            before = Some(shared);
        }
        None
    }
}
