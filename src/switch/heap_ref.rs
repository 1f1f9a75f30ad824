//! References to heaps, and what they prove.
//!
//! ```text
//!   HeapRef      a control block of that tier of that declaration: says nothing of its use
//!   UsedHeap     the calling thread uses the heap: it may count and allocate
//!   IdleHeap     no block of the heap is allocated and no other thread knows it: it may be changed
//! ```
//!
//! The two proofs are made unsafely, in few places: from a thread's state (`current.rs`), and when
//! a heap begins or ends (`heaps.rs`, `threads.rs`). Their methods are safe.
//!
//! Always: a [`UsedHeap`] does not outlive the straight-line code that made it. It borrows the
//! thread's state, and no function holds it while the user's code runs, which may leave the heap or
//! suspend the coroutine.

use core::cell::Cell;
use core::marker::PhantomData;
use core::ops::Deref;

use super::allocator::{CacheOf, Declaration, HeapAllocator, HeapsOf, Thread, TierSource};
use super::control::{Control, ControlRef, HeapTier, Shared};
use super::local::Local;
use super::tier_source::MOST_KEPT;
use crate::alloc::{LocalAllocator, ThreadCacheFor};
use crate::sync::atomic::Ordering::Relaxed;

/// A control block of a tier of the allocator that `D` declares, its allocator included.
pub(super) struct HeapRef<D: Declaration, Tier: HeapsOf<D>> {
    control: ControlRef,
    tier: PhantomData<fn() -> (D, Tier)>,
}

impl<D: Declaration, Tier: HeapsOf<D>> Clone for HeapRef<D, Tier> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<D: Declaration, Tier: HeapsOf<D>> Copy for HeapRef<D, Tier> {}

impl<D: Declaration, Tier: HeapsOf<D>> Deref for HeapRef<D, Tier> {
    type Target = Shared;

    #[inline(always)]
    fn deref(&self) -> &Shared {
        self.control.shared()
    }
}

impl<D: Declaration, Tier: HeapsOf<D>> HeapRef<D, Tier> {
    /// # Safety
    /// The control block is of this tier of `D`, and its allocator was made.
    #[inline(always)]
    pub(super) unsafe fn new(control: ControlRef) -> Self {
        Self { control, tier: PhantomData }
    }

    #[inline(always)]
    pub(super) fn control(self) -> ControlRef {
        self.control
    }

    /// Where the heap's allocator is.
    #[inline(always)]
    pub(super) fn allocator(self) -> *mut HeapAllocator<D, Tier> {
        let control = self.control.as_ptr().cast::<Control<HeapAllocator<D, Tier>>>();
        // SAFETY: The control block is of the tier whose heaps have this allocator, and is reached
        // by shared reference only.
        unsafe { control.as_ref() }.allocator()
    }
}

/// A heap that the calling thread uses.
pub(super) struct UsedHeap<'a, D: Declaration, Tier: HeapsOf<D>> {
    heap: HeapRef<D, Tier>,
    /// For as long as this borrow of the thread's state; not to be sent to another thread.
    used: PhantomData<&'a Cell<()>>,
}

impl<D: Declaration, Tier: HeapsOf<D>> Clone for UsedHeap<'_, D, Tier> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<D: Declaration, Tier: HeapsOf<D>> Copy for UsedHeap<'_, D, Tier> {}

impl<D: Declaration, Tier: HeapsOf<D>> Deref for UsedHeap<'_, D, Tier> {
    type Target = Shared;

    #[inline(always)]
    fn deref(&self) -> &Shared {
        self.heap.control.shared()
    }
}

impl<'a, D: Declaration, Tier: HeapsOf<D>> UsedHeap<'a, D, Tier> {
    /// # Safety
    /// The calling thread uses the heap for `'a`, and there is no [`IdleHeap`] of it.
    #[inline(always)]
    pub(super) unsafe fn new(heap: HeapRef<D, Tier>) -> Self {
        Self { heap, used: PhantomData }
    }

    #[inline(always)]
    pub(super) fn control(self) -> ControlRef {
        self.heap.control
    }

    /// The same heap, if the tier's heaps keep a part of their allocator in a thread cache: then it
    /// is the thread tier.
    #[inline(always)]
    pub(super) fn cached(self) -> Option<UsedHeap<'a, D, Thread>> {
        const { assert!(!Tier::CACHED || matches!(Tier::TIER, HeapTier::Thread)) };
        let heap = HeapRef { control: self.heap.control, tier: PhantomData };
        Tier::CACHED.then_some(UsedHeap { heap, used: PhantomData })
    }

    /// The heap's counts.
    #[inline(always)]
    pub(super) fn local(self) -> &'a Local {
        // SAFETY: The calling thread uses the heap, as `new` was promised.
        unsafe { self.heap.control.local() }
    }

    #[inline(always)]
    pub(super) fn allocator(self) -> &'a HeapAllocator<D, Tier> {
        // SAFETY: The calling thread uses the heap, so no other reaches the allocator, and there is
        // no `IdleHeap`, which alone has mutable references.
        unsafe { &*self.heap.allocator() }
    }

    /// Adds to the heap's count what its allocator has handed out and got back, if it counts.
    pub(super) fn recount(self) {
        self.local().add_live(CacheOf::<D, Tier>::counted(self.allocator()));
    }
}

/// A heap without blocks that no other thread knows.
pub(super) struct IdleHeap<D: Declaration, Tier: HeapsOf<D>>(HeapRef<D, Tier>);

impl<D: Declaration, Tier: HeapsOf<D>> Deref for IdleHeap<D, Tier> {
    type Target = Shared;

    #[inline(always)]
    fn deref(&self) -> &Shared {
        self.0.control.shared()
    }
}

impl<D: Declaration, Tier: HeapsOf<D>> IdleHeap<D, Tier> {
    /// # Safety
    /// The heap has no block, no handle and no user, is in no context, and no other thread knows
    /// it.
    #[inline(always)]
    pub(super) unsafe fn new(heap: HeapRef<D, Tier>) -> Self {
        Self(heap)
    }

    /// As [`new`](Self::new), of a control block.
    ///
    /// # Safety
    /// As `new`; the control block is of this tier of `D`, and its allocator was made.
    #[inline(always)]
    pub(super) unsafe fn of(control: ControlRef) -> Self {
        // SAFETY: The control block is of this tier, its allocator included.
        Self(unsafe { HeapRef::new(control) })
    }

    /// The heap, to be handed on.
    #[inline(always)]
    pub(super) fn into_ref(self) -> HeapRef<D, Tier> {
        self.0
    }

    pub(super) fn control(&self) -> ControlRef {
        self.0.control
    }

    /// Blocks handed out minus blocks freed by the heap's last user.
    pub(super) fn live(&self) -> usize {
        self.0.control.live()
    }

    /// Makes the allocator as good as new, but for one region that it may keep.
    #[inline(always)]
    pub(super) fn recycle(&mut self) {
        // SAFETY: No other thread knows the heap, and this is the only `IdleHeap` of it, which is
        // borrowed mutably.
        unsafe { &mut *self.0.allocator() }.recycle();
    }

    /// As [`recycle`](Self::recycle), if that takes a few instructions; whether it did.
    #[inline(always)]
    pub(super) fn recycle_at_hand(&mut self) -> bool {
        // SAFETY: As in `recycle`.
        unsafe { &mut *self.0.allocator() }.recycle_at_hand()
    }

    /// Whether the heap holds what it was expected to, so that the next one may have the same
    /// region; or nothing.
    #[inline(always)]
    pub(super) fn is_as_expected(&self) -> bool {
        let held = self.held();
        held == 0 || (held == self.expected() && held <= MOST_KEPT)
    }

    /// Makes the counts those of a heap without blocks.
    pub(super) fn clear_counts(&mut self) {
        // SAFETY: The heap has no block, and no other thread knows it.
        unsafe { self.0.control.clear() };
    }

    /// Makes the bytes that are counted those of a heap without blocks, whose blocks its user
    /// freed: others may have resized some.
    pub(super) fn clear_bytes(&mut self) {
        self.remote_bytes.store(0, Relaxed);
        // SAFETY: No other thread knows the heap.
        let local = unsafe { self.0.control.local() };
        local.add_bytes(0isize.wrapping_sub_unsigned(local.live_bytes()));
    }

    /// Releases all regions, by making the allocator anew.
    pub(super) fn release_regions(&mut self) {
        let fresh = HeapAllocator::<D, Tier>::new_in(TierSource::new(self.0.control));
        // SAFETY: As in `recycle`. The assignment drops the old allocator, which releases its
        // regions.
        *unsafe { &mut *self.0.allocator() } = fresh;
    }
}
