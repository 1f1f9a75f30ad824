//! The switchable allocator: the paths that every allocation and every free take.
//!
//! Allocation asks the thread's context which tier is current. Free asks the page map whose the
//! block is, and never what is current: it only compares the owner with the heaps that this thread
//! uses, to know whether the free is local or remote. What is not short is in
//! [`slow`](super::slow), out of line.

use core::alloc::{GlobalAlloc, Layout};
use core::fmt;
use core::ptr::{NonNull, null_mut};

use super::Policy;
use super::accounting::{Pending, Totals};
use super::context::{Stage, tier};
use super::control::{HeapRef, Shared};
use super::large::LargeObjects;
use super::parking::ParkingLot;
use super::pool::Pool;
use super::statistics::Lifetimes;
use super::thread_end::Hooks;
use super::tier_source::BlockHeader;
use super::tiers::{
    CacheOf, Coroutine, Declaration, GLOBAL_INDEX, Kind, StateOf, Thread, TierAllocator, TierSet,
};
use crate::alloc::{Allocator, LocalAllocator, Pushed, ThreadCache, ThreadCacheFor};
use crate::page_map::{Entry, tag};
use crate::{AllocError, NonZeroLayout, ptr};

/// An allocator that switches, per thread and at run time, between three tiers: a heap for each
/// context, a heap for each thread, and a global allocator.
///
/// It is declared by
/// [`global_thread_and_coroutine_switchable_allocator!`](crate::global_thread_and_coroutine_switchable_allocator),
/// which installs it as the `#[global_allocator]`, or by
/// [`switchable_allocator!`](crate::switchable_allocator), which does not. What is allocated comes
/// from the tier that is current in the calling thread:
///
/// - inside [`Heap::enter`](super::Heap::enter) from that heap,
/// - inside [`with_thread`](Self::with_thread) or by default from the thread's own heap,
/// - inside [`with_global`](Self::with_global), or where there is no thread tier, from the global
///   tier.
///
/// A block may be freed, grown and shrunk anywhere: on any thread, in any tier, after the handle of
/// its heap was dropped. Growing moves a block to the current tier if its heap is not in use on the
/// calling thread.
///
/// Allocating in a signal handler is unsupported, as with every `malloc`: the handler may have
/// interrupted the allocator.
#[doc(alias = "GlobalThreadAndCoroutineSwitchableAllocator")]
pub struct SwitchableAllocator<D: Declaration> {
    tiers: D::Tiers,
    pub(super) coroutine_pool: Pool,
    pub(super) thread_pool: Pool,
    pub(super) parking: ParkingLot,
    pub(super) large: LargeObjects,
    pub(super) hooks: Hooks,
    pub(super) totals: Totals,
    pub(super) lifetimes: Lifetimes,
}

pub(super) type PolicyOf<D> = <<D as Declaration>::Tiers as TierSet>::Policy;

/// Whether there is a tier of that kind.
pub(super) const fn present<D: Declaration, K: Kind<D>>() -> bool {
    <K::Allocator as TierAllocator>::PRESENT
}

/// Whether threads keep a part of their heaps near them.
pub(super) const fn has_thread_cache<D: Declaration>() -> bool {
    <Thread as Kind<D>>::CACHED
}

impl<D: Declaration> SwitchableAllocator<D> {
    crate::sync::const_fn! {
        /// The allocator of a declaration: called by the macros.
        ///
        /// # Safety
        /// This makes the static that `D::allocator()` gives, and is called for nothing else:
        /// heaps, page map and thread-locals are the declaration's, so a second allocator of it
        /// would share them without sharing their locks.
        #[doc(hidden)]
        pub unsafe fn declare(tiers: D::Tiers) -> Self {
            Self {
                tiers,
                coroutine_pool: Pool::new(),
                thread_pool: Pool::new(),
                parking: ParkingLot::new(),
                large: LargeObjects::new(),
                hooks: Hooks::new::<D>(),
                totals: Totals::new(),
                lifetimes: Lifetimes::new(),
            }
        }
    }

    #[inline(always)]
    pub(super) fn tiers(&self) -> &D::Tiers {
        &self.tiers
    }

    /// The calling thread's state.
    ///
    /// The compiler computes its address once in a function and keeps it, whatever that function
    /// calls. So the rule of this module: a function that calls this is not inlined into a function
    /// that may suspend a coroutine, nor runs code that may. Entry points are `#[inline(never)]`,
    /// and so is each function that needs the state again after the user's code ran.
    #[inline(always)]
    pub(super) fn state<'a>() -> &'a StateOf<D> {
        // SAFETY: A `Declaration` gives a thread-local without destructor, which lives as long as
        // the thread, and which only shared references are made of; no caller keeps it beyond its
        // own straight-line code.
        unsafe { &*D::thread_state() }
    }

    /// Allocates from the current tier; null where there is no memory.
    #[inline(never)]
    pub(super) fn allocate_block(&self, layout: NonZeroLayout) -> *mut u8 {
        let block = self.allocate_from_front(layout.layout());
        if block.is_null() { self.allocate_behind_front(layout) } else { block }
    }

    /// The entry point of `GlobalAlloc::alloc`. It takes what `__rust_alloc` is given, in the same
    /// registers, so that a jump leads here.
    ///
    /// # Safety
    /// Size and alignment are those of a layout.
    #[inline(never)]
    unsafe fn allocate_entry(size: usize, align: usize) -> *mut u8 {
        // SAFETY: The caller's promises.
        let layout = unsafe { Layout::from_size_align_unchecked(size, align) };
        let allocator = D::allocator();
        let block = allocator.allocate_from_front(layout);
        if !block.is_null() {
            return block;
        }
        if has_thread_cache::<D>() {
            // SAFETY: They are those of a layout.
            return unsafe { Self::allocate_out_of_line(size, align) };
        }
        match NonZeroLayout::new(layout) {
            Some(layout) => allocator.allocate_behind_front(layout),
            None => allocator.allocate_one_byte(layout),
        }
    }

    /// The entry point of `GlobalAlloc::dealloc`, as [`allocate_entry`](Self::allocate_entry).
    ///
    /// # Safety
    /// As [`Allocator::deallocate`]; size and alignment are those of the layout, but for a size of
    /// zero, which stands for one byte.
    #[inline(never)]
    unsafe fn free_entry(block: *mut u8, size: usize, align: usize) {
        let allocator = D::allocator();
        // SAFETY: The block was allocated, so it is not null.
        let block = unsafe { NonNull::new_unchecked(block) };
        // SAFETY: The caller's promises.
        if unsafe { allocator.free_to_front(block, size.max(1)) } {
            return;
        }
        if has_thread_cache::<D>() {
            // SAFETY: The caller's promises.
            return unsafe { Self::free_out_of_line(block.as_ptr(), size, align) };
        }
        // SAFETY: The caller's promises.
        let layout = unsafe { Layout::from_size_align_unchecked(size, align) };
        match NonZeroLayout::new(layout) {
            // SAFETY: The caller's promises.
            Some(layout) => unsafe { allocator.free_behind_front(block, layout) },
            // SAFETY: The caller's promises.
            None => unsafe { allocator.free_one_byte(block, layout) },
        }
    }

    /// As [`allocate_behind_front`](Self::allocate_behind_front), out of line: size and alignment
    /// stay in the registers that they came in.
    ///
    /// # Safety
    /// They are those of a layout.
    #[inline(never)]
    unsafe fn allocate_out_of_line(size: usize, align: usize) -> *mut u8 {
        // SAFETY: The caller's promises.
        let layout = unsafe { Layout::from_size_align_unchecked(size, align) };
        match NonZeroLayout::new(layout) {
            Some(layout) => D::allocator().allocate_behind_front(layout),
            None => D::allocator().allocate_one_byte(layout),
        }
    }

    /// Allocates from what the thread's heap keeps near the thread, if the thread tier is current;
    /// null where there is nothing.
    #[inline(always)]
    fn allocate_from_front(&self, layout: Layout) -> *mut u8 {
        let state = Self::state();
        // SAFETY: The front is used by the thread's heap alone, from when the thread has it until
        // `detach`.
        let block = unsafe { state.thread_cache.pop(layout.size(), layout.align()) };
        if PolicyOf::<D>::ACCOUNTING && !block.is_null() {
            self.account_in_thread(state, layout.size().cast_signed());
        }
        block
    }

    /// Allocates from the current tier where the front gave nothing; null where there is no memory.
    #[inline(always)]
    fn allocate_behind_front(&self, layout: NonZeroLayout) -> *mut u8 {
        let state = Self::state();
        let context = state.context.get();
        // Two tests rather than a table of jumps: the first is nearly always decided as it was the
        // last time.
        if present::<D, Coroutine>() && context.tier() == tier::COROUTINE {
            // SAFETY: The heap in a context of this declaration is one of its coroutine tier.
            let heap = unsafe { HeapRef::from_shared(context.current_heap()) };
            // SAFETY: The heap is in this thread's context, so this thread uses it.
            unsafe { self.allocate_in::<Coroutine>(heap, state, layout) }
        } else if present::<D, Thread>() && context.tier() == tier::THREAD {
            // SAFETY: The tier is THREAD only on a thread that has a heap.
            let heap = unsafe { NonNull::new_unchecked(state.thread_heap.get()) };
            // SAFETY: A thread's heap is one of the thread tier.
            let heap = unsafe { HeapRef::from_shared(heap) };
            // SAFETY: The thread's heap is used by its thread.
            unsafe { self.allocate_in::<Thread>(heap, state, layout) }
        } else {
            self.allocate_elsewhere(layout)
        }
    }

    /// Allocates from a heap.
    ///
    /// # Safety
    /// The calling thread uses the heap.
    #[inline(always)]
    pub(super) unsafe fn allocate_in<K: Kind<D>>(
        &self,
        heap: HeapRef<D, K>,
        state: &StateOf<D>,
        layout: NonZeroLayout,
    ) -> *mut u8 {
        if K::CACHED {
            // SAFETY: The calling thread uses the heap, which is fronted.
            return unsafe { self.allocate_through_front(heap.as_shared(), state, layout) };
        }
        // SAFETY: The calling thread uses the heap, and has no other reference to its allocator
        // here.
        let Some(block) = (unsafe { heap.allocator() }).allocate_at_hand(layout) else {
            // SAFETY: The calling thread uses the heap.
            return unsafe { self.allocate_slowly(heap, layout) };
        };
        // SAFETY: The calling thread uses the heap.
        unsafe { self.count_allocated(heap, state, layout) };
        block.as_ptr()
    }

    /// Counts a block that was handed out.
    ///
    /// # Safety
    /// The calling thread uses the heap.
    #[inline(always)]
    pub(super) unsafe fn count_allocated<K: Kind<D>>(
        &self,
        heap: HeapRef<D, K>,
        state: &StateOf<D>,
        layout: NonZeroLayout,
    ) {
        // SAFETY: The calling thread uses the heap.
        let local = unsafe { heap.local() };
        local.count_allocated();
        if PolicyOf::<D>::ACCOUNTING {
            local.add_bytes(layout.size());
            self.account(state).allocated(&self.totals, K::INDEX, layout.size());
        }
    }

    /// What the calling thread counts, seen to it that it is added to the totals when the thread
    /// ends.
    #[inline(always)]
    pub(super) fn account<'a>(&self, state: &'a StateOf<D>) -> &'a Pending {
        if state.stage.get() == Stage::New {
            self.armed(state);
        }
        &state.pending
    }

    /// Counts a block that the heap's user freed.
    ///
    /// # Safety
    /// The calling thread uses the heap.
    #[inline(always)]
    pub(super) unsafe fn count_freed<K: Kind<D>>(
        &self,
        heap: HeapRef<D, K>,
        state: &StateOf<D>,
        layout: NonZeroLayout,
    ) {
        // SAFETY: The calling thread uses the heap.
        let local = unsafe { heap.local() };
        local.count_freed();
        if PolicyOf::<D>::ACCOUNTING {
            local.add_bytes(layout.size().wrapping_neg());
            self.account(state).freed(&self.totals, K::INDEX, layout.size());
        }
    }

    /// The global tier, to allocate from. If it has locks to be held around a fork, the hooks are
    /// set before its first use: a program may never make a heap, which sets them otherwise.
    #[inline]
    pub(super) fn global(&self, state: &StateOf<D>) -> &<D::Tiers as TierSet>::Global {
        if state.stage.get() == Stage::New && self.tiers.global_takes_part_in_forks() {
            self.armed(state);
        }
        self.tiers.global()
    }

    #[inline]
    pub(super) fn allocate_global(&self, state: &StateOf<D>, layout: NonZeroLayout) -> *mut u8 {
        // SAFETY: The layout has a size.
        let block = unsafe { self.global(state).alloc(layout.layout()) };
        if PolicyOf::<D>::ACCOUNTING && !block.is_null() {
            self.account(state).allocated(&self.totals, GLOBAL_INDEX, layout.size());
        }
        block
    }

    /// Frees a block of any tier.
    ///
    /// # Safety
    /// As [`Allocator::deallocate`].
    #[inline(never)]
    pub(super) unsafe fn free_block(&self, block: NonNull<u8>, layout: NonZeroLayout) {
        // SAFETY: The caller's promises.
        if unsafe { !self.free_to_front(block, layout.size()) } {
            // SAFETY: The caller's promises; the front did not take the block.
            unsafe { self.free_behind_front(block, layout) };
        }
    }

    /// Frees a block of the thread's heap, if the front knows it to be one; whether it does.
    ///
    /// # Safety
    /// As [`Allocator::deallocate`].
    #[inline(always)]
    unsafe fn free_to_front(&self, block: NonNull<u8>, size: usize) -> bool {
        let state = Self::state();
        // SAFETY: As in `allocate_from_front`; the caller gives the block up.
        let pushed = unsafe { state.thread_cache.push(block) };
        if pushed == Pushed::Elsewhere {
            return false;
        }
        if PolicyOf::<D>::ACCOUNTING {
            self.account_in_thread(state, size.cast_signed().wrapping_neg());
        }
        if let Pushed::Transition(what) = pushed {
            self.slab_transition(what);
        }
        true
    }

    /// As [`free_behind_front`](Self::free_behind_front), out of line: the arguments stay in the
    /// registers that they came in.
    ///
    /// # Safety
    /// As [`Allocator::deallocate`]; size and alignment are those of the layout, but for a size of
    /// zero, which stands for one byte.
    #[inline(never)]
    unsafe fn free_out_of_line(block: *mut u8, size: usize, align: usize) {
        // SAFETY: The caller's promises.
        let block = unsafe { NonNull::new_unchecked(block) };
        // SAFETY: The caller's promises.
        let layout = unsafe { Layout::from_size_align_unchecked(size, align) };
        match NonZeroLayout::new(layout) {
            // SAFETY: The caller's promises.
            Some(layout) => unsafe { D::allocator().free_behind_front(block, layout) },
            // SAFETY: The caller's promises.
            None => unsafe { D::allocator().free_one_byte(block, layout) },
        }
    }

    /// Frees a block that the front did not take.
    ///
    /// # Safety
    /// As [`Allocator::deallocate`].
    #[inline(always)]
    unsafe fn free_behind_front(&self, block: NonNull<u8>, layout: NonZeroLayout) {
        let state = Self::state();
        let context = state.context.get();
        if present::<D, Coroutine>() && context.tier() == tier::COROUTINE {
            // SAFETY: The heap in a context of this declaration is one of its coroutine tier.
            let heap = unsafe { HeapRef::<D, Coroutine>::from_shared(context.current_heap()) };
            // SAFETY: The heap is in this thread's context, so this thread uses it.
            if unsafe { heap.allocator() }.owns_at_hand(block) {
                // SAFETY: As above; the block lies in a region of the heap, which therefore handed
                // it out. An allocator that knows its blocks has no slabs, so that the region does
                // not matter.
                unsafe { self.free_locally(heap, state, block, block, layout) };
                return;
            }
        }
        let entry = D::page_map().find(block.addr().get());
        if entry.tag() == tag::MASKED {
            let header = entry.block_start(block.addr().get());
            // SAFETY: The entry says that the slice consists of blocks with headers, whose address
            // is not null.
            let region = unsafe { NonNull::new_unchecked(header) };
            let owner = masked_owner(entry, block);
            // SAFETY: The owner is the heap that handed the block out, which the map says.
            unsafe { self.free_in(owner, region, block, layout) }
        } else if entry.tag() == tag::GLOBAL {
            if PolicyOf::<D>::ACCOUNTING {
                self.account(Self::state()).freed(&self.totals, GLOBAL_INDEX, layout.size());
            }
            // SAFETY: The block is in no slice of ours, so the global tier allocated it, with this
            // layout.
            unsafe { self.tiers.global().dealloc(block.as_ptr(), layout.layout()) };
        } else {
            // SAFETY: The caller's promises; the entry is the block's.
            unsafe { self.free_of_other_kind(entry, block, layout) }
        }
    }

    /// Frees a block of a heap that has whole slices, or a large object.
    ///
    /// # Safety
    /// As [`Allocator::deallocate`]; the entry is the block's, and direct or large.
    #[inline(never)]
    unsafe fn free_of_other_kind(&self, entry: Entry, block: NonNull<u8>, layout: NonZeroLayout) {
        if entry.tag() == tag::DIRECT {
            // SAFETY: The owner is the heap that handed the block out, which the map says.
            unsafe { self.free_in(entry.pointer(), block, block, layout) }
        } else {
            // SAFETY: The block is a large object, which the map says, and the caller gives it up.
            unsafe { self.free_large(entry, block, layout) }
        }
    }

    /// Frees a block of a heap, locally or remotely.
    ///
    /// # Safety
    /// As [`Allocator::deallocate`], and `owner` is the heap that handed out the block, which is no
    /// large object; `region` is as for [`LocalAllocator::deallocate_in`].
    #[inline(always)]
    unsafe fn free_in(
        &self,
        owner: *mut Shared,
        region: NonNull<u8>,
        block: NonNull<u8>,
        layout: NonZeroLayout,
    ) {
        let state = Self::state();
        // SAFETY: The map leads to control blocks, whose address is not null.
        let shared = unsafe { NonNull::new_unchecked(owner) };
        if present::<D, Coroutine>() && owner == state.context.get().heap() {
            // SAFETY: The heap in a context of this declaration is one of its coroutine tier.
            let heap = unsafe { HeapRef::from_shared(shared) };
            // SAFETY: The heap is in this thread's context, so this thread uses it; the caller
            // gives the block up.
            unsafe { self.free_locally::<Coroutine>(heap, state, region, block, layout) };
        } else if present::<D, Thread>() && owner == state.thread_heap.get() {
            // The same address, but not at the end of the look-up's three loads: the block goes on
            // the heap's list without waiting for them. A plain read would let the compiler use
            // `owner` after all.
            // SAFETY: The cell is the calling thread's.
            let own = unsafe { state.thread_heap.as_ptr().read_volatile() };
            // SAFETY: It equals `owner`, which is not null.
            let own = unsafe { NonNull::new_unchecked(own) };
            // SAFETY: A thread's heap is one of the thread tier.
            let heap = unsafe { HeapRef::from_shared(own) };
            // SAFETY: The thread's heap is used by its thread; the caller gives the block up.
            unsafe { self.free_locally::<Thread>(heap, state, region, block, layout) };
        } else {
            // SAFETY: The caller gives the block up; places are for heaps of the thread tier, whose
            // allocator reuses blocks.
            let kept =
                has_thread_cache::<D>() && unsafe { state.remote_cache.put_along(shared, block, layout) };
            if !kept {
                // SAFETY: The caller's promises; the owner is a heap that this thread does not use.
                unsafe { self.free_remotely(shared, block, layout) };
            }
        }
    }

    /// Frees a block of a heap that the calling thread uses.
    ///
    /// # Safety
    /// The calling thread uses the heap, which handed out the block, and the caller gives it up;
    /// `layout` fits it, and `region` is as for [`LocalAllocator::deallocate_in`].
    #[inline(always)]
    pub(super) unsafe fn free_locally<K: Kind<D>>(
        &self,
        heap: HeapRef<D, K>,
        state: &StateOf<D>,
        region: NonNull<u8>,
        block: NonNull<u8>,
        layout: NonZeroLayout,
    ) {
        if K::CACHED {
            // SAFETY: The calling thread uses the heap, which is fronted; the caller's promises.
            unsafe { self.free_through_front(heap.as_shared(), region, block, layout) };
            return;
        }
        // SAFETY: The calling thread uses the heap, and has no other reference to its allocator
        // here.
        let allocator = unsafe { heap.allocator() };
        // SAFETY: The heap's allocator handed out the block, and the layout fits it.
        unsafe { CacheOf::<D, K>::deallocate_in(allocator, region, block, layout) };
        // SAFETY: The calling thread uses the heap.
        unsafe { self.count_freed(heap, state, layout) };
    }
}

/// The heap of a block in a masked slice.
#[inline(always)]
pub(super) fn masked_owner(entry: Entry, block: NonNull<u8>) -> *mut Shared {
    let header: *mut BlockHeader = entry.block_start(block.addr().get()).cast();
    // SAFETY: The entry says that the slice consists of blocks with headers. The one at hand was
    // written before any block in it was handed out, and is not written again while one is
    // allocated.
    unsafe { (*header).control }
}

// SAFETY: Blocks come from the global tier or from a heap's allocator or are large objects; each of
// these keeps the contract of blocks that nothing else uses. The pointer decides where a block goes
// back to. Nothing unwinds or panics: tiers must not by their own contracts, and this module's
// paths don't. Requests for no bytes are served as one byte.
unsafe impl<D: Declaration> GlobalAlloc for SwitchableAllocator<D> {
    #[inline(always)]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: They are those of a layout.
        unsafe { Self::allocate_entry(layout.size(), layout.align()) }
    }

    #[inline(always)]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: The caller got the block here, with this layout.
        unsafe { Self::free_entry(block, layout.size(), layout.align()) };
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        NonZeroLayout::at_least_one(layout).map_or(null_mut(), |layout| self.allocate_zeroed_block(layout))
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: The caller got the block here, so it is not null.
        let block = unsafe { NonNull::new_unchecked(block) };
        let Ok(old) = NonZeroLayout::at_least_one(layout) else { return null_mut() };
        let Ok(new) = old.with_size(new_size.max(1)) else { return null_mut() };
        // SAFETY: The caller got the block here with this layout.
        unsafe { self.resize_block(block, old, new) }
    }
}

/// The block, or the reason why there is none, as far as it is known.
#[inline(always)]
fn found(block: *mut u8, layout: NonZeroLayout) -> Result<NonNull<[u8]>, AllocError> {
    NonNull::new(block).map(|block| ptr::bytes(block, layout.size())).ok_or(AllocError::Refused)
}

// SAFETY: As for `GlobalAlloc`. A block's length is what was asked for, so one size fits.
unsafe impl<D: Declaration> Allocator for SwitchableAllocator<D> {
    #[inline(always)]
    fn allocate(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, AllocError> {
        found(self.allocate_block(layout), layout)
    }

    #[inline]
    fn allocate_zeroed(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, AllocError> {
        found(self.allocate_zeroed_block(layout), layout)
    }

    #[inline(always)]
    unsafe fn deallocate(&self, block: NonNull<u8>, layout: NonZeroLayout) {
        // SAFETY: The caller's promises.
        unsafe { self.free_block(block, layout) };
    }

    #[inline]
    unsafe fn grow(
        &self,
        block: NonNull<u8>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        // SAFETY: The caller's promises.
        found(unsafe { self.resize_block(block, old, new) }, new)
    }

    #[inline]
    unsafe fn shrink(
        &self,
        block: NonNull<u8>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        // SAFETY: The caller's promises.
        found(unsafe { self.resize_block(block, old, new) }, new)
    }
}

impl<D: Declaration> fmt::Debug for SwitchableAllocator<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SwitchableAllocator").finish_non_exhaustive()
    }
}
