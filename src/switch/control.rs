//! The control block of a heap.
//!
//! ```text
//!   Control<A>, for a bump allocator two cache lines
//!   +----------------------------------------------------------------+
//!   | Shared   balance, remote list, bytes held, limit, large, next  |  any thread
//!   +----------------------------------------------------------------+
//!   | Local    state, outer context, live, bytes  | allocator        |  the heap's user
//!   +----------------------------------------------------------------+
//! ```
//!
//! Control blocks live in slabs of the [pool](super::pool) that are never unmapped. So a
//! [`ControlRef`] is good for ever; what it says belongs to the heap that the block stands for at
//! the moment.
//!
//! One thread at a time is the heap's *user*: the thread in whose context the heap is or, while the
//! heap is entered nowhere, the holder of its handle. [`Local::state`] tells which of the two.
//!
//! This file knows no declaration, so the models of `loom-tests` call its functions.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::ops::Deref;
use core::ptr::{NonNull, null_mut, without_provenance_mut};

use super::balance::{Balance, Frees};
use super::context::Context;
use super::local::Local;
use super::standing::Standing;
use crate::layout::NonZeroLayout;
use crate::list::{Linked, Links, List};
use crate::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use crate::sync::atomic::{AtomicU8, AtomicU32, AtomicUsize};
use crate::sync::cell::Cell;
use crate::sync::{Batch, RemoteList};

/// The part of a control block that any thread may touch.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Shared {
    pub(crate) balance: Balance,
    pub(crate) remote: RemoteList,
    /// Bytes of regions and large objects that the heap holds.
    held: AtomicUsize,
    /// The most that `held` may become.
    limit: AtomicUsize,
    /// Bytes of blocks that threads which did not use the heap freed, if they are counted.
    pub(crate) remote_bytes: AtomicUsize,
    /// The large objects of a heap of the coroutine tier; guarded by the lock of the large objects.
    pub(crate) large: List<Record>,
    /// The next on the list that the control block is on (a thread's cache, the pool, the parked
    /// heaps), and that list's. Of a coroutine heap, which is on none, its user's.
    pub(crate) next: Link,
    /// Which tier the heap serves; never changes.
    pub(crate) tier: HeapTier,
    phase: AtomicU8,
    /// The most that the heap has held when a region of it became empty, as a power of two. It
    /// belongs to the heap's user.
    most_held: AtomicU8,
    /// How many bytes the heap is expected to hold, as a power of two, or 0 if nothing is known. It
    /// belongs to the heap's user or, while the control block stands for no heap, to its holder.
    expected: AtomicU8,
    /// See [`Standing`]. It belongs to the heap's user.
    standing: AtomicU32,
}

/// The next control block on a list; or, of a coroutine heap, which is on none, a size that its
/// user notes: the request that passed a limit last or, while the reserve is open, how much may be
/// taken from it.
#[derive(Debug)]
pub(crate) struct Link(Cell<*mut Shared>);

impl Link {
    fn new() -> Self {
        Self(Cell::new(null_mut()))
    }

    /// The next on the list, of a control block that is on one.
    #[inline(always)]
    pub(crate) fn get(&self) -> Option<ControlRef> {
        // SAFETY: On a list, the link is what `set` made of a control block, or null.
        NonNull::new(self.0.get()).map(|next| unsafe { ControlRef::from_ptr(next) })
    }

    #[inline(always)]
    pub(crate) fn set(&self, next: Option<ControlRef>) {
        self.0.set(next.map_or(null_mut(), |next| next.as_ptr().as_ptr()));
    }

    pub(crate) fn note(&self, bytes: usize) {
        self.0.set(without_provenance_mut(bytes));
    }

    pub(crate) fn noted(&self) -> usize {
        self.0.get().addr()
    }
}

/// The tiers that consist of heaps.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum HeapTier {
    /// A heap for each context.
    Coroutine,
    /// A heap for each thread.
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
    /// A heap of a thread that ended, without blocks, whose memory some thread returns just now.
    Emptying = 5,
}

impl Shared {
    fn new(tier: HeapTier) -> Self {
        Self {
            balance: Balance::new(),
            remote: RemoteList::new(),
            held: AtomicUsize::new(0),
            limit: AtomicUsize::new(usize::MAX),
            remote_bytes: AtomicUsize::new(0),
            large: List::new(),
            next: Link::new(),
            tier,
            phase: AtomicU8::new(Phase::Free as u8),
            most_held: AtomicU8::new(0),
            expected: AtomicU8::new(0),
            standing: AtomicU32::new(0),
        }
    }

    /// How many bytes the heap is expected to hold, or 0: never 1.
    #[inline(always)]
    pub(crate) fn expected(&self) -> usize {
        (1_usize << (self.expected.load(Relaxed) & 63)) & !1
    }

    #[inline(always)]
    pub(crate) fn standing(&self) -> Standing {
        Standing::from_word(self.standing.load(Relaxed))
    }

    #[inline]
    pub(crate) fn set_standing(&self, standing: Standing) {
        self.standing.store(standing.word(), Relaxed);
    }

    /// Notes that the heap holds so much at the moment.
    pub(crate) fn note_held(&self) {
        let order = self.held().max(1).next_power_of_two().ilog2();
        let most = u32::from(self.most_held.load(Relaxed)).max(order);
        self.most_held.store(u8::try_from(most).unwrap_or(u8::MAX), Relaxed);
    }

    /// Has the next heap be expected to hold what this one held at most, but no more than `most`
    /// bytes, a power of two.
    pub(crate) fn expect_as_much(&self, most: usize) {
        self.note_held();
        let order = u32::from(self.most_held.load(Relaxed)).min(most.ilog2());
        self.most_held.store(0, Relaxed);
        self.expected.store(u8::try_from(order).unwrap_or(u8::MAX), Relaxed);
    }

    /// Has nothing be expected of the next heap.
    pub(crate) fn expect_nothing(&self) {
        self.expected.store(0, Relaxed);
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

    /// Whether this is a parked heap without a block; the caller holds the parking lot's lock.
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

    /// Adds to the bytes held; `false`, and nothing changed, if they would pass the limit by more
    /// than `beyond` bytes.
    #[inline]
    pub(crate) fn charge(&self, bytes: usize, beyond: usize) -> bool {
        let before = self.held.fetch_add(bytes, Relaxed);
        if before.saturating_add(bytes) > self.limit.load(Relaxed).saturating_add(beyond) {
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

    /// Counts `blocks` blocks that a thread freed which does not use the heap; those of `batch`
    /// wait for the heap's user, who gives them back to the allocator. The heap may be gone when
    /// this returns.
    ///
    /// The blocks are on the list before they are counted: whoever counts the last block of a
    /// retired heap clears the list.
    ///
    /// # Safety
    /// The blocks belong to the heap and were freed, and are the caller's alone; `batch` holds no
    /// others.
    #[inline(always)]
    pub(crate) unsafe fn return_blocks(&self, batch: Option<Batch>, blocks: usize) -> Frees {
        if let Some(batch) = batch {
            // SAFETY: The batch holds blocks of this heap, which are the caller's.
            unsafe { self.remote.push_all(batch) };
        }
        self.balance.remote_frees(blocks)
    }

    /// Gives `free` each block that other threads returned; how many there were.
    ///
    /// They stay counted as live by the user and as freed by the balance, which cancel out.
    pub(crate) fn collect_remote(&self, mut free: impl FnMut(NonNull<u8>, NonZeroLayout)) -> usize {
        let mut blocks = 0;
        for (block, layout) in self.remote.take() {
            free(block, layout);
            blocks += 1;
        }
        blocks
    }
}

/// The heap is in some context: one that a thread runs in, or a saved one.
const ENTERED: u32 = 1;
/// The handle was dropped while the heap was entered; whoever leaves it retires it.
const DROPPED: u32 = 2;

/// A heap: what any thread may touch, what its user may, and the allocator.
#[repr(C)]
pub(crate) struct Control<A> {
    shared: Shared,
    local: Local,
    allocator: UnsafeCell<MaybeUninit<A>>,
}

// SAFETY: The atomics may be shared. Each cell, and the allocator, is reached only by one thread at
// a time, as its comment says; the functions that reach it ask for that.
unsafe impl<A> Sync for Control<A> {}

impl<A> Control<A> {
    /// A control block of no heap, whose allocator is still to be made.
    pub(crate) fn new(tier: HeapTier) -> Self {
        Self {
            shared: Shared::new(tier),
            local: Local::new(),
            allocator: UnsafeCell::new(MaybeUninit::uninit()),
        }
    }

    /// Where the allocator is.
    #[inline(always)]
    pub(crate) fn allocator(&self) -> *mut A {
        self.allocator.get().cast()
    }
}

/// A control block: initialised and never unmapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct ControlRef(NonNull<Shared>);

// SAFETY: The shared part may be touched by any thread; what may not is behind unsafe functions.
unsafe impl Send for ControlRef {}

impl Deref for ControlRef {
    type Target = Shared;

    #[inline(always)]
    fn deref(&self) -> &Shared {
        self.shared()
    }
}

impl ControlRef {
    /// # Safety
    /// There is an initialised control block, its allocator perhaps not made yet, which is never
    /// unmapped, and the pointer may access all of it.
    #[inline(always)]
    pub(crate) const unsafe fn new<A>(control: NonNull<Control<A>>) -> Self {
        Self(control.cast())
    }

    /// # Safety
    /// The pointer came from [`as_ptr`](Self::as_ptr).
    #[inline(always)]
    pub(crate) const unsafe fn from_ptr(control: NonNull<Shared>) -> Self {
        Self(control)
    }

    #[inline(always)]
    pub(crate) const fn as_ptr(self) -> NonNull<Shared> {
        self.0
    }

    #[inline(always)]
    pub(crate) fn addr(self) -> usize {
        self.0.addr().get()
    }

    #[inline(always)]
    pub(crate) fn shared(self) -> &'static Shared {
        // SAFETY: The control block is initialised and never unmapped; its shared part is only ever
        // reached by shared reference.
        unsafe { self.0.as_ref() }
    }

    /// The user's part. Any thread may ask for its state and read its counts.
    #[inline(always)]
    pub(super) fn any_local(self) -> &'static Local {
        // The parts lie where they lie whatever the allocator is.
        let control = self.0.cast::<Control<()>>();
        // SAFETY: The control block is initialised and never unmapped, and this pointer may access
        // all of it; the part is only ever reached by shared reference.
        unsafe { &(*control.as_ptr()).local }
    }

    /// The user's part.
    ///
    /// # Safety
    /// The caller is the heap's user for `'a`.
    #[inline(always)]
    pub(crate) unsafe fn local<'a>(self) -> &'a Local {
        self.any_local()
    }

    /// Blocks handed out minus blocks freed by the heap's user.
    #[inline]
    pub(crate) fn live(self) -> usize {
        self.any_local().live()
    }

    /// Bytes of its blocks that are allocated now, if they are counted.
    pub(super) fn live_bytes(self) -> usize {
        self.any_local().live_bytes().saturating_sub(self.remote_bytes.load(Relaxed))
    }

    /// Blocks of the heap that are allocated now, and blocks that threads freed which did not use
    /// it.
    pub(crate) fn blocks(self) -> (usize, usize) {
        let live = self.live();
        let balance = self.balance.get();
        match self.phase() {
            // Retired: the balance is the remote frees minus the live blocks.
            Phase::Orphan | Phase::Parked => {
                let allocated = balance.unsigned_abs();
                (allocated, live.saturating_sub(allocated))
            }
            // It has no block, and its counts are on their way to zero.
            Phase::Emptying => (0, 0),
            Phase::Leaked => {
                let counted = balance.unsigned_abs();
                (counted.saturating_sub(1), live.saturating_sub(counted))
            }
            _ => {
                let remote_frees = usize::try_from(balance).unwrap_or(0);
                (live.saturating_sub(remote_frees), remote_frees)
            }
        }
    }

    /// Whether the heap is in some context. The holder of the handle who sees that it is not is its
    /// user.
    #[inline(always)]
    pub(crate) fn is_entered(self) -> bool {
        self.state() & ENTERED != 0
    }

    /// Acquire, because a context that was given up on another thread may have been the last to use
    /// the heap.
    #[inline(always)]
    fn state(self) -> u32 {
        self.any_local().state.load(Acquire)
    }

    /// Enters the heap from a context; `false`, and nothing changed, if it is entered already.
    ///
    /// # Safety
    /// The caller holds the heap's handle, and is the thread that runs in `from`.
    #[inline(always)]
    pub(crate) unsafe fn enter(self, from: Context) -> bool {
        if self.is_entered() {
            return false;
        }
        // The handle is here and the heap is in no context, so the caller is its user.
        let local = self.any_local();
        local.state.store(ENTERED, Relaxed);
        local.outer.set(from);
        true
    }

    /// As [`enter`](Self::enter), but `false` too if `from` is not the default context.
    ///
    /// # Safety
    /// As `enter`.
    #[inline(always)]
    pub(crate) unsafe fn enter_from_default(self, from: Context) -> bool {
        // The handle is there, so the state is zero if and only if the heap is not entered.
        if !from.is_default_and_zero(self.state()) {
            return false;
        }
        let local = self.any_local();
        debug_assert!(local.outer.get().is_default());
        local.state.store(ENTERED, Relaxed);
        true
    }

    /// Whether the heap was entered from the default context.
    ///
    /// # Safety
    /// The heap is in the calling thread's context.
    #[inline(always)]
    pub(crate) unsafe fn was_entered_from_default(self) -> bool {
        self.any_local().outer.get().is_default()
    }

    /// Leaves the heap by a guard; the context that it was entered from.
    ///
    /// A plain store, and Relaxed: the guard borrows the handle, so the handle was not dropped and
    /// only the guard's thread touches the state. The thread that enters the heap next has the
    /// handle, which it got after the guard had ended the borrow.
    ///
    /// # Safety
    /// The heap is in the calling thread's context, and its handle is borrowed.
    #[inline(always)]
    pub(crate) unsafe fn leave_by_guard(self) -> Context {
        let local = self.any_local();
        debug_assert_eq!(local.state.load(Relaxed), ENTERED);
        local.state.store(0, Relaxed);
        local.outer.replace(Context::DEFAULT)
    }

    /// Drops the handle; `true` if the heap is in no context, so that the caller retires it.
    ///
    /// Otherwise the heap is retired by the thread that gives up the context. Acquire, for what was
    /// done by the thread that left it meanwhile.
    ///
    /// # Safety
    /// The caller holds the handle, which is not used again.
    #[inline(always)]
    pub(crate) unsafe fn drop_handle(self) -> bool {
        !self.is_entered() || self.drop_handle_of_entered()
    }

    #[cold]
    #[inline(never)]
    fn drop_handle_of_entered(self) -> bool {
        let state = &self.any_local().state;
        if state.fetch_or(DROPPED, Acquire) & ENTERED != 0 {
            return false;
        }
        state.store(0, Relaxed);
        true
    }

    /// Leaves the heap for a context that is given up, while any thread may hold or drop the
    /// handle; `true` if the handle was dropped before, so that the caller retires the heap.
    ///
    /// Release, for what was done in the heap: the holder may enter or retire it now. Nothing comes
    /// the other way, because what the holder did in the heap was before it was entered, and moving
    /// the context ordered that.
    #[inline]
    pub(super) fn leave(self) -> bool {
        let Local { state, outer, .. } = self.any_local();
        outer.set(Context::DEFAULT);
        if state.fetch_and(!ENTERED, Release) & DROPPED == 0 {
            return false;
        }
        // The handle is gone and the heap is in no context, so no other thread touches the state.
        state.store(0, Relaxed);
        true
    }

    /// Ends the user's counting: from here on the thread that frees the last block ends the heap.
    /// Returns how many blocks are not freed yet; 0 to the last.
    ///
    /// # Safety
    /// The caller is the heap's user, and uses it no more unless the answer is 0.
    #[inline]
    pub(crate) unsafe fn retire(self, phase: Phase) -> usize {
        let live = self.live();
        self.set_phase(phase);
        self.balance.retire(live)
    }

    /// Makes the counts those of a heap without blocks, which is entered nowhere and has a handle.
    ///
    /// # Safety
    /// No block of the heap is allocated, and no other thread knows of it.
    #[inline]
    pub(crate) unsafe fn clear(self) {
        self.balance.clear();
        self.remote.clear();
        self.remote_bytes.store(0, Relaxed);
        let local = self.any_local();
        local.clear_counts();
        local.state.store(0, Relaxed);
    }
}

/// What the region of a large object begins with.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Record {
    /// The heap that the object is a block of.
    pub(crate) control: ControlRef,
    /// Links of the heap's list, guarded by the lock of the large objects.
    pub(crate) links: Links<Record>,
    /// Bytes of the region that were asked for, whole slices; as many are charged to the heap.
    /// The object's owner touches it.
    pub(crate) size: core::cell::Cell<usize>,
    /// Alignment of the region in bytes.
    pub(crate) align: usize,
    /// Bytes from the region's start to the object.
    pub(crate) offset: usize,
    /// Whether the object's bytes were zero when it was made.
    pub(crate) zeroed: bool,
}

// SAFETY: The field is for that list only.
unsafe impl Linked<()> for Record {
    #[inline]
    fn links(&self) -> &Links<Self> {
        &self.links
    }
}

impl Record {
    /// Whether the record's object begins at `block` and has room for `layout`.
    pub(crate) fn fits(&self, block: NonNull<u8>, layout: NonZeroLayout) -> bool {
        let object = core::ptr::from_ref(self).addr() + self.offset;
        block.addr().get() == object && layout.size() <= self.size.get() - self.offset
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_shared_part_takes_one_cache_line() {
        assert_eq!(size_of::<Shared>(), 64);
        assert_eq!(size_of::<Option<ControlRef>>(), size_of::<usize>());
    }
}
