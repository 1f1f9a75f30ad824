//! The control block of a heap.
//!
//! ```text
//!   Control<A>, for a bump allocator two cache lines
//!   +----------------------------------------------------------------+
//!   | Shared   balance, remote list, bytes held, limit, large, next  |  touched by any thread
//!   +----------------------------------------------------------------+
//!   | Local    state, outer context, live, bytes  | allocator        |  touched by the heap's user
//!   +----------------------------------------------------------------+
//! ```
//!
//! Control blocks live in slabs of the [pool](super::pool) that are never unmapped, so a reference
//! to the shared part is good for ever; what it says belongs to the heap that the block stands for
//! at the moment.
//!
//! Who may touch the local part: the thread in whose context the heap is, or, while it is entered
//! nowhere, the holder of its handle. [`Local::state`] tells which of the two; see
//! [`HeapRef::begin_use`].

use core::cell::{Cell, UnsafeCell};
use core::mem::MaybeUninit;
use core::ptr::{NonNull, null_mut};

use super::balance::Balance;
use super::context::Context;
use super::large::Record;
use super::tiers::{Declaration, HeapAllocator, Kind};
use crate::sync::RemoteList;
use crate::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use crate::sync::atomic::{AtomicU8, AtomicUsize};

/// What any thread may touch.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Shared {
    pub(crate) balance: Balance,
    pub(crate) remote: RemoteList,
    /// Bytes of regions and large objects that the heap holds.
    held: AtomicUsize,
    /// The most that `held` may become.
    limit: AtomicUsize,
    /// Bytes of blocks freed remotely, if they are counted.
    pub(crate) remote_bytes: AtomicUsize,
    /// The first of the heap's large objects; guarded by the lock of the large objects.
    pub(crate) large: Cell<*mut Record>,
    /// The next on the list that the control block is on: a thread's cache, the pool, or the parked
    /// heaps.
    pub(crate) next: Cell<*mut Shared>,
    /// Which tier the heap serves; never changes.
    pub(crate) tier: HeapTier,
    phase: AtomicU8,
}

// SAFETY: The atomics may be shared. `large` and `next` are reached only by who holds the lock of
// the list that they link, or owns the control block alone; each use says which.
unsafe impl Sync for Shared {}

/// The tiers that consist of heaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum HeapTier {
    Coroutine,
    Thread,
}

/// What a control block stands for at the moment, for statistics and parking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// No heap.
    Free = 0,
    /// A heap with a handle, or of a running thread.
    Alive = 1,
    /// A heap whose handle is gone and whose blocks are not.
    Orphan = 2,
    /// A heap of a thread that ended.
    Parked = 3,
    /// An orphan that stays for ever: one block more is counted than there is.
    Leaked = 4,
    /// A heap of a thread that ended, without blocks, whose memory some thread gives back just now.
    Emptying = 5,
}

impl Shared {
    pub(crate) fn new(tier: HeapTier) -> Self {
        Self {
            balance: Balance::new(),
            remote: RemoteList::new(),
            held: AtomicUsize::new(0),
            limit: AtomicUsize::new(usize::MAX),
            remote_bytes: AtomicUsize::new(0),
            large: Cell::new(null_mut()),
            next: Cell::new(null_mut()),
            tier,
            phase: AtomicU8::new(Phase::Free as u8),
        }
    }

    #[inline]
    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Relaxed) {
            1 => Phase::Alive,
            2 => Phase::Orphan,
            3 => Phase::Parked,
            4 => Phase::Leaked,
            5 => Phase::Emptying,
            _ => Phase::Free,
        }
    }

    /// Whether this is a heap in the parking lot, whose lock the caller holds, without a block.
    #[inline]
    pub(crate) fn is_parked_without_blocks(&self) -> bool {
        self.phase() == Phase::Parked && self.balance.is_even()
    }

    #[inline(always)]
    pub(crate) fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Relaxed);
    }

    #[inline(always)]
    pub(crate) fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Relaxed);
    }

    /// Adds to the bytes held; `false`, and nothing changed, where the limit would be passed.
    #[inline]
    pub(crate) fn charge(&self, bytes: usize) -> bool {
        let before = self.held.fetch_add(bytes, Relaxed);
        if before.saturating_add(bytes) > self.limit.load(Relaxed) {
            self.held.fetch_sub(bytes, Relaxed);
            return false;
        }
        true
    }

    /// Adds to the bytes held, whatever the limit.
    #[inline]
    pub(crate) fn charge_beyond_limit(&self, bytes: usize) {
        self.held.fetch_add(bytes, Relaxed);
    }

    /// Takes from the bytes held what [`charge`](Self::charge) added.
    #[inline]
    pub(crate) fn refund(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Relaxed);
    }

    #[inline]
    pub(crate) fn held(&self) -> usize {
        self.held.load(Relaxed)
    }

    #[inline]
    pub(crate) fn limit(&self) -> usize {
        self.limit.load(Relaxed)
    }
}

/// The heap is in some context: one that a thread runs in, or a saved one.
const ENTERED: u8 = 1;
/// The handle was dropped while the heap was entered; who leaves it settles it.
const DROPPED: u8 = 2;

/// What the heap's user touches.
#[derive(Debug)]
pub(crate) struct Local {
    state: AtomicU8,
    /// While the heap is entered: the context that it was entered from.
    pub(crate) outer: Cell<Context>,
    /// Blocks handed out minus blocks freed by the heap's user. Written by plain stores; atomic so
    /// that statistics may read it.
    live: AtomicUsize,
    /// The same in bytes, if they are counted.
    pub(crate) live_bytes: AtomicUsize,
}

impl Local {
    pub(crate) fn new() -> Self {
        Self {
            state: AtomicU8::new(0),
            outer: Cell::new(Context::DEFAULT),
            live: AtomicUsize::new(0),
            live_bytes: AtomicUsize::new(0),
        }
    }

    #[inline(always)]
    pub(crate) fn live(&self) -> usize {
        self.live.load(Relaxed)
    }

    #[inline(always)]
    pub(crate) fn count_allocated(&self) {
        self.live.store(self.live() + 1, Relaxed);
    }

    #[inline(always)]
    pub(crate) fn count_freed(&self) {
        // Never below zero: each block freed here was counted when it was handed out. Wrapping only
        // spares the test.
        self.live.store(self.live().wrapping_sub(1), Relaxed);
    }

    /// Counts blocks that an allocator which counts them itself has given out, or got back.
    #[inline]
    pub(crate) fn add_live(&self, more: isize) {
        self.live.store(self.live().wrapping_add_signed(more), Relaxed);
    }

    #[inline(always)]
    pub(crate) fn add_bytes(&self, bytes: usize) {
        self.live_bytes.store(self.live_bytes.load(Relaxed).wrapping_add(bytes), Relaxed);
    }

    /// Back to that of a heap without blocks.
    #[inline]
    pub(crate) fn clear(&self) {
        self.live.store(0, Relaxed);
        self.live_bytes.store(0, Relaxed);
    }

    /// Whether the heap is in some context. Who holds the handle and sees that it is not may use
    /// the heap: Acquire, because a context that was given up on another thread may have been the
    /// last to use it.
    #[inline(always)]
    pub(crate) fn is_entered(&self) -> bool {
        self.state.load(Acquire) & ENTERED != 0
    }

    /// Marks the heap as entered. The caller holds the handle and saw that it is not entered.
    #[inline(always)]
    pub(crate) fn set_entered(&self) {
        self.state.store(ENTERED, Relaxed);
    }

    /// Marks the heap as left, by a guard: the guard borrows the handle, so that the handle was not
    /// dropped, and nobody but the guard's thread touches the state. A plain store, then, and
    /// Relaxed: who enters the heap next has the handle, which it got after the guard had ended the
    /// borrow.
    #[inline(always)]
    pub(crate) fn set_left_by_guard(&self) {
        debug_assert_eq!(self.state.load(Relaxed), ENTERED);
        self.state.store(0, Relaxed);
    }

    /// Marks the heap as left by a context that is given up, while anybody may hold or drop the
    /// handle; `true` where it was dropped before, so that the caller settles the heap.
    ///
    /// Release, for what was done in the heap: it is the holder's to enter or to settle now.
    /// Nothing comes the other way, because what the holder did in the heap was before it was
    /// entered, and moving the context ordered that.
    #[inline]
    pub(crate) fn set_left(&self) -> bool {
        self.state.fetch_and(!ENTERED, Release) & DROPPED != 0
    }

    /// Marks the handle as dropped; `true` where the heap is not entered any more, so that the
    /// caller settles it: Acquire, for what was done by who left it.
    #[inline]
    pub(crate) fn set_dropped(&self) -> bool {
        self.state.fetch_or(DROPPED, Acquire) & ENTERED == 0
    }

    /// Back to that of a heap that is not entered and has a handle.
    #[inline]
    pub(crate) fn clear_state(&self) {
        self.state.store(0, Relaxed);
    }
}

/// A heap: what any thread may touch, what its user may, and the allocator.
#[repr(C)]
pub(crate) struct Control<A> {
    shared: Shared,
    local: Local,
    allocator: UnsafeCell<MaybeUninit<A>>,
}

impl<A> Control<A> {
    /// Writes a control block of no heap, whose allocator is still to be made.
    ///
    /// # Safety
    /// `at` may be written and is aligned for it.
    pub(crate) unsafe fn init(at: NonNull<Self>, tier: HeapTier) {
        let control = Self {
            shared: Shared::new(tier),
            local: Local::new(),
            allocator: UnsafeCell::new(MaybeUninit::uninit()),
        };
        // SAFETY: The caller promises it.
        unsafe { at.write(control) };
    }
}

/// A control block of the tier `K` of the allocator `D`: initialised, its allocator too, and never
/// unmapped.
pub(crate) struct HeapRef<D: Declaration, K: Kind<D>>(NonNull<Control<HeapAllocator<D, K>>>);

impl<D: Declaration, K: Kind<D>> Clone for HeapRef<D, K> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<D: Declaration, K: Kind<D>> Copy for HeapRef<D, K> {}

impl<D: Declaration, K: Kind<D>> PartialEq for HeapRef<D, K> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<D: Declaration, K: Kind<D>> HeapRef<D, K> {
    /// # Safety
    /// `shared` is the first part of a control block of the tier `K` of `D` that the pool made,
    /// allocator included.
    #[inline(always)]
    pub(crate) unsafe fn from_shared(shared: NonNull<Shared>) -> Self {
        Self(shared.cast())
    }

    #[inline(always)]
    pub(crate) fn as_shared(self) -> NonNull<Shared> {
        self.0.cast()
    }

    #[inline(always)]
    pub(crate) fn shared(self) -> &'static Shared {
        // SAFETY: A `HeapRef` is of an initialised control block, in a slab that is never unmapped;
        // the shared part is only ever accessed by shared reference.
        unsafe { &(*self.0.as_ptr()).shared }
    }

    /// What the heap's user touches.
    ///
    /// # Safety
    /// The caller may touch the local part (see the head of this file), at least for the fields
    /// that it uses; `state` may be used by anyone.
    #[inline(always)]
    pub(crate) unsafe fn local(self) -> &'static Local {
        // SAFETY: As in `shared`; the caller may touch it.
        unsafe { &(*self.0.as_ptr()).local }
    }

    /// The allocator.
    ///
    /// # Safety
    /// The caller may touch the local part (see the head of this file), and no reference from
    /// [`allocator_mut`](Self::allocator_mut) is alive.
    #[inline(always)]
    pub(crate) unsafe fn allocator<'a>(self) -> &'a HeapAllocator<D, K> {
        // SAFETY: As in `shared`; the caller is the only one who touches it.
        let cell = unsafe { &(*self.0.as_ptr()).allocator };
        // SAFETY: The caller is the only one who touches it, and there is no mutable reference.
        let allocator = unsafe { &*cell.get() };
        // SAFETY: The allocator was made when the pool made the control block, and is replaced only
        // as a whole.
        unsafe { allocator.assume_init_ref() }
    }

    /// The allocator, to change it as a whole.
    ///
    /// # Safety
    /// As [`allocator`](Self::allocator), and no other reference to it is alive.
    #[inline(always)]
    pub(crate) unsafe fn allocator_mut<'a>(self) -> &'a mut HeapAllocator<D, K> {
        // SAFETY: As in `allocator`.
        let cell = unsafe { &(*self.0.as_ptr()).allocator };
        // SAFETY: The caller has the only reference.
        let allocator = unsafe { &mut *cell.get() };
        // SAFETY: As in `allocator`.
        unsafe { allocator.assume_init_mut() }
    }

    /// Where the allocator is, for the pool, which makes it.
    pub(crate) fn allocator_place(self) -> *mut HeapAllocator<D, K> {
        // SAFETY: The control block is initialised but for the allocator, whose place may be
        // pointed at.
        let cell = unsafe { &(*self.0.as_ptr()).allocator };
        cell.get().cast()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::switch::tiers::Coroutine;

    crate::switchable_allocator!(static ALLOC);

    #[test]
    fn a_heap_that_bumps_takes_two_cache_lines() {
        assert_eq!(size_of::<Shared>(), 64);
        assert_eq!(size_of::<Control<HeapAllocator<ALLOC, Coroutine>>>(), 128);
    }
}
