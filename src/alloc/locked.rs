//! A lock around an allocator, so that threads can share it.

use core::cell::UnsafeCell;
use core::fmt;
use core::ptr::NonNull;

use super::{Allocator, Owns, Reset};
use crate::error::AllocError;
use crate::layout::NonZeroLayout;
use crate::sync::{ForkHold, RawLock, SpinFutexLock};

/// An allocator of one thread, shared by many through a lock.
///
/// It is `Sync` where the allocator is `Send`, works behind `.adapt()` as a `#[global_allocator]`,
/// and as the global tier of the switchable allocator.
///
/// # Held memory
/// What the allocator inside holds: see there.
///
/// # Examples
/// ```
/// use context_allocator::{Allocator, BumpAllocator, Locked, MmapSource, NonZeroLayout};
///
/// static SHARED: Locked<BumpAllocator<MmapSource>> =
///     Locked::new(BumpAllocator::new(MmapSource::new()));
///
/// let layout = NonZeroLayout::of::<[u8; 100]>().unwrap();
/// std::thread::scope(|scope| {
///     for _ in 0..2 {
///         scope.spawn(|| assert!(SHARED.allocate(layout).is_ok()));
///     }
/// });
/// ```
pub struct Locked<A, L = SpinFutexLock> {
    lock: L,
    fork: ForkHold,
    allocator: UnsafeCell<A>,
}

// SAFETY: The allocator is reached only by who holds the lock, one thread at a time, and a thread's
// use of it happens before the next one's (`RawLock`); passing it on like that is sending it, which
// `A: Send` allows.
unsafe impl<L: RawLock + Sync, A: Send> Sync for Locked<A, L> {}

#[cfg(not(all(test, loom)))]
impl<A> Locked<A> {
    /// `allocator` behind a free lock.
    pub const fn new(allocator: A) -> Self {
        Self::with_lock(allocator, SpinFutexLock::FREE)
    }
}

impl<A, L: RawLock> Locked<A, L> {
    /// `allocator` behind `lock`, which nobody holds.
    pub const fn with_lock(allocator: A, lock: L) -> Self {
        Self { lock, fork: ForkHold::new(), allocator: UnsafeCell::new(allocator) }
    }

    /// The allocator, which nobody else can reach meanwhile.
    pub fn get_mut(&mut self) -> &mut A {
        self.allocator.get_mut()
    }

    /// The allocator, without its lock.
    pub fn into_inner(self) -> A {
        self.allocator.into_inner()
    }

    /// Runs `f` on the allocator while the lock is held.
    ///
    /// Not public: `f` could allocate through this very lock, and wait for itself.
    #[inline(always)]
    fn with<R>(&self, f: impl FnOnce(&A) -> R) -> R {
        struct Unlock<'a, L: RawLock>(&'a L, bool);
        impl<L: RawLock> Drop for Unlock<'_, L> {
            #[inline(always)]
            fn drop(&mut self) {
                if self.1 {
                    // SAFETY: `with` took the lock before it made this, and only this drop gives it
                    // back.
                    unsafe { self.0.unlock() };
                }
            }
        }
        let _unlock = Unlock(&self.lock, self.fork.lock(&self.lock));
        // SAFETY: The lock is held until `_unlock` drops, so no other thread has a reference; `f`
        // is given a shared one, and this function is the only place that makes one.
        f(unsafe { &*self.allocator.get() })
    }
}

// SAFETY: Every call goes to the one allocator inside, under the lock; it keeps the contract.
unsafe impl<L: RawLock, A: Allocator> Allocator for Locked<A, L> {
    #[inline]
    fn allocate(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, AllocError> {
        self.with(|allocator| allocator.allocate(layout))
    }

    #[inline]
    fn allocate_zeroed(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, AllocError> {
        self.with(|allocator| allocator.allocate_zeroed(layout))
    }

    #[inline]
    unsafe fn deallocate(&self, block: NonNull<u8>, layout: NonZeroLayout) {
        // SAFETY: The caller's promises hold for the allocator inside.
        self.with(|allocator| unsafe { allocator.deallocate(block, layout) });
    }

    #[inline]
    unsafe fn grow(
        &self,
        block: NonNull<u8>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        // SAFETY: The caller's promises hold for the allocator inside.
        self.with(|allocator| unsafe { allocator.grow(block, old, new) })
    }

    #[inline]
    unsafe fn grow_zeroed(
        &self,
        block: NonNull<u8>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        // SAFETY: The caller's promises hold for the allocator inside.
        self.with(|allocator| unsafe { allocator.grow_zeroed(block, old, new) })
    }

    #[inline]
    unsafe fn shrink(
        &self,
        block: NonNull<u8>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        // SAFETY: The caller's promises hold for the allocator inside.
        self.with(|allocator| unsafe { allocator.shrink(block, old, new) })
    }

    fn trim(&self) -> usize {
        self.with(|allocator| allocator.trim())
    }

    unsafe fn before_fork(&self) {
        self.fork.hold(&self.lock);
        // SAFETY: The lock is held by this thread, so no other thread has a reference.
        let allocator = unsafe { &*self.allocator.get() };
        // SAFETY: The caller's promises, for the allocator inside.
        unsafe { allocator.before_fork() };
    }

    unsafe fn after_fork(&self) {
        // SAFETY: `before_fork` took the lock, and nothing has given it back.
        let allocator = unsafe { &*self.allocator.get() };
        // SAFETY: `before_fork` called the allocator's, and the caller promises that this call
        // follows it.
        unsafe { allocator.after_fork() };
        // SAFETY: `before_fork` took the lock, and the caller promises that this call follows it.
        unsafe { self.fork.release(&self.lock) };
    }
}

// SAFETY: The answer is the allocator's own.
unsafe impl<L: RawLock, A: Owns> Owns for Locked<A, L> {
    fn owns(&self, address: NonNull<u8>) -> bool {
        self.with(|allocator| allocator.owns(address))
    }
}

impl<L: RawLock, A: Reset> Reset for Locked<A, L> {
    fn reset(&mut self) {
        self.get_mut().reset();
    }
}

impl<L: fmt::Debug, A> fmt::Debug for Locked<A, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Locked").field("lock", &self.lock).finish_non_exhaustive()
    }
}
