//! One shard: an allocator behind a lock, and the blocks that were freed while the lock was taken.
//!
//! Always:
//! - The allocator is touched only by who holds the lock.
//! - A block of this shard that was given back is in exactly one place: free in the allocator, or
//!   on the list.
//! - Who takes the lock to use the allocator puts what is on the list back first. Who pushes on the
//!   list tries the lock once more behind it; so what stays there was pushed while another thread
//!   held the lock, and waits for the next one.

use core::ptr::NonNull;

use super::source::{Ground, ShardSource};
use crate::alloc::{Allocator, LocalAllocator};
use crate::layout::NonZeroLayout;
use crate::sync::cell::UnsafeCell;
use crate::sync::{ForkHold, RawLock, RemoteList, const_fn};

/// The allocator of a shard.
pub(super) type Over<A> = <A as LocalAllocator>::WithSource<ShardSource<A>>;

/// On cache lines of its own (a pair of them, which some processors fetch together).
#[repr(C, align(128))]
pub(super) struct Shard<A: LocalAllocator, L> {
    lock: L,
    fork: ForkHold,
    freed: RemoteList,
    /// None before it is first used, because allocators are not made in const context.
    allocator: UnsafeCell<Option<Over<A>>>,
}

impl<A: LocalAllocator, L: RawLock> Shard<A, L> {
    const_fn! {
        /// A shard that nobody has used, with a free lock.
        pub(super) fn new(lock: L) -> Self {
            Self { lock, fork: ForkHold::new(), freed: RemoteList::new(), allocator: UnsafeCell::new(None) }
        }
    }

    /// Runs `f` on the allocator, if nobody else uses the shard. `number` is always the same for
    /// one shard.
    #[inline(always)]
    pub(super) fn try_with<R>(
        &self,
        ground: &Ground<A>,
        shards: &[Self],
        number: usize,
        f: impl FnOnce(&Over<A>) -> R,
    ) -> Option<R> {
        // SAFETY: The lock was just taken.
        self.lock.try_lock().then(|| unsafe { self.with_held(ground, shards, number, f, true) })
    }

    /// Waits for the shard, and runs `f` on its allocator.
    pub(super) fn with<R>(
        &self,
        ground: &Ground<A>,
        shards: &[Self],
        number: usize,
        f: impl FnOnce(&Over<A>) -> R,
    ) -> R {
        let taken = self.fork.lock(&self.lock);
        // SAFETY: The lock was just taken, or this thread holds it for a fork.
        unsafe { self.with_held(ground, shards, number, f, taken) }
    }

    /// Runs `f` on the allocator, and gives the lock back if it was `taken`.
    ///
    /// # Safety
    /// The caller has taken the lock, and does not give it back; or its thread holds it for a fork.
    #[inline(always)]
    unsafe fn with_held<R>(
        &self,
        ground: &Ground<A>,
        shards: &[Self],
        number: usize,
        f: impl FnOnce(&Over<A>) -> R,
        taken: bool,
    ) -> R {
        let result = self.allocator.with_mut(|place| {
            // SAFETY: The lock is held, so nobody else reaches the allocator, and this is the only
            // place in which a call holds a reference to it: sources do not call back, as
            // `MemorySource` promises.
            let allocator = unsafe { &mut *place };
            if ground.budget.asks(number) {
                self.look_after(allocator, ground, shards, number);
            }
            // SAFETY: The shard does not ask, or was looked after just now: it has an allocator.
            let allocator = unsafe { allocator.as_ref().unwrap_unchecked() };
            allocator.source().stand_on(ground);
            if !self.freed.is_empty() {
                self.take_back(allocator);
            }
            f(allocator)
        });
        if taken {
            // SAFETY: The caller took the lock. No method of an allocator unwinds, so this is
            // reached.
            unsafe { self.lock.unlock() };
        }
        result
    }

    /// Makes the allocator if there is none; and where the shards hold too much, lets each of them
    /// that nobody uses give back what no block lies in.
    ///
    /// `number` is this shard's.
    #[cold]
    #[inline(never)]
    fn look_after(
        &self,
        allocator: &mut Option<Over<A>>,
        ground: &Ground<A>,
        shards: &[Self],
        number: usize,
    ) {
        let allocator = allocator.get_or_insert_with(|| Over::<A>::new_in(ShardSource::new(number)));
        if ground.budget.is_due() {
            allocator.source().stand_on(ground);
            self.trim_held(allocator);
            for shard in shards {
                // This one's lock is taken. To wait for another one's could be to wait for a thread
                // that waits for this one's.
                if shard.lock.try_lock() {
                    // SAFETY: The lock was just taken.
                    unsafe { shard.trim_and_unlock(ground, true) };
                }
            }
            ground.budget.looked_after();
        }
        // Last, since what was released meanwhile asked too.
        ground.budget.set_asks(number, false);
    }

    /// Waits for the shard, and gives back what no block of it lies in.
    pub(super) fn trim(&self, ground: &Ground<A>) {
        let taken = self.fork.lock(&self.lock);
        // SAFETY: The lock was just taken, or this thread holds it for a fork.
        unsafe { self.trim_and_unlock(ground, taken) };
    }

    /// Gives the lock back if it was `taken`.
    ///
    /// # Safety
    /// As [`with_held`](Self::with_held).
    unsafe fn trim_and_unlock(&self, ground: &Ground<A>, taken: bool) {
        self.allocator.with_mut(|place| {
            // SAFETY: The lock is held, so nobody else reaches the allocator, and no call of it
            // runs: sources do not call back.
            let allocator = unsafe { &*place };
            if let Some(allocator) = allocator {
                allocator.source().stand_on(ground);
                self.trim_held(allocator);
            }
        });
        if taken {
            // SAFETY: The caller took the lock. No method of an allocator unwinds, so this is
            // reached.
            unsafe { self.lock.unlock() };
        }
    }

    /// Gives back what no block lies in, counting what was freed while the lock was taken; it is
    /// taken now.
    fn trim_held(&self, allocator: &Over<A>) {
        if !self.freed.is_empty() {
            self.take_back(allocator);
        }
        allocator.trim();
    }

    /// Puts what was freed while the lock was taken back.
    #[cold]
    #[inline(never)]
    fn take_back(&self, allocator: &Over<A>) {
        for (block, layout) in self.freed.take() {
            // SAFETY: `free_later` pushed a block of this shard that was given back, with a layout
            // that fits it, and `take` gives it once.
            unsafe { allocator.deallocate(block, layout) };
        }
    }

    /// Gives a block back: to the allocator, or, if somebody uses that, to who does so next. Never
    /// waits.
    ///
    /// # Safety
    /// As [`Allocator::deallocate`], for the allocator of this shard.
    #[inline(always)]
    pub(super) unsafe fn free(
        &self,
        ground: &Ground<A>,
        shards: &[Self],
        number: usize,
        block: NonNull<u8>,
        layout: NonZeroLayout,
    ) {
        // SAFETY: The block is allocated here, the layout fits it, and the caller gives it up.
        let freed =
            self.try_with(ground, shards, number, |allocator| unsafe { allocator.deallocate(block, layout) });
        if freed.is_none() {
            // SAFETY: The block is allocated here, the layout fits it, and the caller gives it up.
            unsafe { self.free_later(ground, shards, number, block, layout) };
        }
    }

    /// # Safety
    /// As [`free`](Self::free).
    #[cold]
    #[inline(never)]
    unsafe fn free_later(
        &self,
        ground: &Ground<A>,
        shards: &[Self],
        number: usize,
        block: NonNull<u8>,
        layout: NonZeroLayout,
    ) {
        // What never uses a block again need not be told.
        if Over::<A>::REUSES_BLOCKS {
            // SAFETY: The block is given back, so it is ours; blocks of such an allocator are two
            // words at a multiple of 8.
            unsafe { self.freed.push(block, layout) };
            let _taken_back = self.try_with(ground, shards, number, |_| ());
        }
    }

    /// Takes the lock for the time of a fork.
    pub(super) fn hold_for_fork(&self) {
        self.fork.hold(&self.lock);
    }

    /// Gives back what [`hold_for_fork`](Self::hold_for_fork) took.
    ///
    /// # Safety
    /// This thread, or the thread that forked this process, called `hold_for_fork` more often than
    /// this.
    pub(super) unsafe fn release_after_fork(&self) {
        // SAFETY: This thread, or the one that forked it, took the lock before the fork, for this
        // call.
        unsafe { self.fork.release(&self.lock) };
    }
}

impl<A: LocalAllocator, L> Shard<A, L> {
    /// Drops the allocator, which releases its regions. `number` is this shard's.
    pub(super) fn clear(&mut self, ground: &Ground<A>, number: usize) {
        self.allocator.with_mut(|place| {
            // SAFETY: The shard is borrowed mutably, so nobody else reaches it.
            let allocator = unsafe { &mut *place };
            if let Some(allocator) = allocator {
                allocator.source().stand_on(ground);
            }
            *allocator = None;
        });
        ground.budget.set_asks(number, true);
    }
}
