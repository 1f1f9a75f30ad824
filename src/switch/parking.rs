//! Heaps whose thread has ended.
//!
//! A heap is retired when it is parked (see [`Balance`](super::balance::Balance)), and revived when
//! the next thread that needs a heap adopts it. Both happen under one lock. A remote free that
//! takes a parked heap's balance to 0 takes the lock too. By then the heap may have been adopted,
//! or even parked again, so it looks at what the heap is *now*: only a heap that is parked and even
//! is emptied, and such a heap has no block and no user.
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

use super::control::{ControlRef, Phase, Shared};
use crate::sync::Guarded;

/// The parked heaps of a switchable allocator.
#[derive(Debug)]
pub(crate) struct ParkingLot {
    heaps: Guarded<Parked>,
}

/// A list of heaps, linked through `next`.
#[derive(Debug)]
struct Parked {
    first: Option<ControlRef>,
    count: usize,
}

/// A heap that is parked without blocks when more than this are parked, itself included, keeps no
/// memory for the next thread.
const MANY: usize = 16;

impl ParkingLot {
    crate::sync::const_fn! {
        pub(crate) fn new() -> Self {
            Self { heaps: Guarded::new(Parked { first: None, count: 0 }) }
        }
    }

    /// Parks the heap of a thread that ends; calls `empty` if all its blocks are free already, with
    /// whether the heap is one of many that are parked.
    ///
    /// # Safety
    /// The caller is the heap's user, and uses it no more unless `empty` is called.
    pub(crate) unsafe fn park(&self, heap: ControlRef, empty: impl FnOnce(bool)) {
        let mut heaps = self.heaps.lock();
        // SAFETY: The caller is the heap's user, and uses it no more.
        let even = unsafe { heap.retire(Phase::Parked) } == 0;
        if even {
            heap.set_phase(Phase::Emptying);
        }
        heaps.push(heap);
        let is_one_of_many = heaps.count > MANY;
        drop(heaps);
        if even {
            empty(is_one_of_many);
            self.emptied(heap);
        }
    }

    /// Takes a parked heap, if there is one; the caller is its user from then on.
    pub(crate) fn adopt(&self) -> Option<ControlRef> {
        let mut heaps = self.heaps.lock();
        let heap = heaps.take(|heap| heap.phase() == Phase::Parked)?;
        heap.balance.revive(heap.live());
        heap.set_phase(Phase::Alive);
        Some(heap)
    }

    /// Called by the remote free that took a retired heap's last block: calls `empty` if the heap
    /// is parked and has no block.
    pub(crate) fn last_freed(&self, heap: ControlRef, empty: impl FnOnce()) {
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
    pub(crate) fn for_each_empty(&self, mut empty: impl FnMut(ControlRef)) {
        let mut taken = Parked { first: None, count: 0 };
        let mut heaps = self.heaps.lock();
        while let Some(heap) = heaps.take(Shared::is_parked_without_blocks) {
            heap.set_phase(Phase::Emptying);
            taken.push(heap);
        }
        drop(heaps);
        while let Some(heap) = taken.take(|_| true) {
            empty(heap);
            let mut heaps = self.heaps.lock();
            heaps.push(heap);
            heap.set_phase(Phase::Parked);
        }
    }

    /// The heap was emptied, and may be adopted.
    fn emptied(&self, heap: ControlRef) {
        let _heaps = self.heaps.lock();
        heap.set_phase(Phase::Parked);
    }

    pub(crate) fn before_fork(&self) {
        self.heaps.hold_for_fork();
    }

    /// # Safety
    /// As [`Guarded::release_after_fork`].
    pub(crate) unsafe fn after_fork(&self) {
        // SAFETY: The caller called `before_fork` on this thread, or on the one that forked it.
        unsafe { self.heaps.release_after_fork() };
    }
}

impl Parked {
    fn push(&mut self, heap: ControlRef) {
        heap.next.set(self.first);
        self.first = Some(heap);
        self.count += 1;
    }

    /// Takes the first heap off the list that is `wanted`.
    fn take(&mut self, wanted: impl Fn(&Shared) -> bool) -> Option<ControlRef> {
        let mut before: Option<ControlRef> = None;
        let mut next = self.first;
        while let Some(heap) = next {
            next = heap.next.get();
            if wanted(&heap) {
                heap.next.set(None);
                self.count -= 1;
                match before {
                    Some(before) => before.next.set(next),
                    None => self.first = next,
                }
                return Some(heap);
            }
            before = Some(heap);
        }
        None
    }
}
