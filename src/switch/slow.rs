//! The switchable allocator's paths that are not short, each out of line.

use core::alloc::GlobalAlloc;
use core::ptr::{NonNull, null_mut};

use super::Policy;
use super::allocator::{PolicyOf, SwitchableAllocator, has_thread_cache, masked_owner, present};
use super::balance::Frees;
use super::context::tier;
use super::control::{HeapRef, HeapTier, Phase, Shared};
use super::large::{LargeMemory, Record};
use super::remote_cache::Parcel;
use super::tiers::{
    CacheOf, Coroutine, Declaration, GLOBAL_INDEX, HeapAllocator, Kind, StateOf, Thread, TierSet,
};
use crate::alloc::{Allocator, LocalAllocator, ResizeInPlace, ThreadCache, ThreadCacheFor};
use crate::page_map::{Entry, tag};
use crate::sync::atomic::Ordering::Relaxed;
use crate::{AllocError, NonZeroLayout, SourceError, misuse};

/// The source of an allocator has no regions that large.
const TOO_LARGE: AllocError = AllocError::Source(SourceError::TooLarge);

const NO_HEAP: &str = "a block was freed again after the last one of its heap";
pub(super) const FREED_TWICE: &str =
    "a block of a heap was freed twice: more blocks came back than the heap gave out";
const NO_OBJECT: &str = "a large object was freed or resized by another address or with another layout";

/// What a declaration's large objects are made of.
pub(super) fn large_memory<D: Declaration>() -> LargeMemory<<PolicyOf<D> as Policy>::Large> {
    LargeMemory { source: PolicyOf::<D>::LARGE, owners: D::page_map() }
}

/// From this many bytes on, an allocator is asked whether it knows memory to be zero, rather than
/// the memory written.
const WORTH_KNOWING: usize = 4096;

/// Whether the allocator of a tier has a use for a freed block.
const fn reuses_blocks<D: Declaration, K: Kind<D>>() -> bool {
    <HeapAllocator<D, K> as LocalAllocator>::REUSES_BLOCKS
}

/// The index in the accounts of the tier that a heap is of.
fn tier_index<D: Declaration>(heap: &Shared) -> usize {
    match heap.tier {
        HeapTier::Coroutine => <Coroutine as Kind<D>>::INDEX,
        HeapTier::Thread => <Thread as Kind<D>>::INDEX,
    }
}

/// The heap of a block, if the calling thread uses it.
enum InUse<D: Declaration> {
    Coroutine(HeapRef<D, Coroutine>),
    Thread(HeapRef<D, Thread>),
    Elsewhere,
}

impl<D: Declaration> SwitchableAllocator<D> {
    /// Allocates from the global tier, or where the thread's context does not name a tier yet.
    #[inline(never)]
    pub(super) fn allocate_elsewhere(&self, layout: NonZeroLayout) -> *mut u8 {
        let state = Self::state();
        let context = state.context.get();
        if context.tier() == tier::DEFAULT
            && let Some(heap) = self.thread_heap(state)
        {
            state.set_context(context.with_tier(tier::THREAD));
            // SAFETY: The thread's heap is used by its thread.
            return unsafe { self.allocate_in(heap, state, layout) };
        }
        self.allocate_global(state, layout)
    }

    /// Serves a request for no bytes, which `GlobalAlloc` leaves undefined, as one for one byte.
    #[cold]
    #[inline(never)]
    pub(super) fn allocate_one_byte(&self, layout: core::alloc::Layout) -> *mut u8 {
        NonZeroLayout::at_least_one(layout).map_or(null_mut(), |layout| self.allocate_block(layout))
    }

    /// Frees what [`allocate_one_byte`](Self::allocate_one_byte) gave.
    ///
    /// # Safety
    /// It did, and the block is not used again.
    #[cold]
    #[inline(never)]
    pub(super) unsafe fn free_one_byte(&self, block: NonNull<u8>, layout: core::alloc::Layout) {
        if let Ok(layout) = NonZeroLayout::at_least_one(layout) {
            // SAFETY: The block was allocated with this layout.
            unsafe { self.free_block(block, layout) };
        }
    }

    /// Allocates where the heap's allocator has nothing at hand.
    ///
    /// # Safety
    /// The calling thread uses the heap.
    #[cold]
    #[inline(never)]
    pub(super) unsafe fn allocate_slowly<K: Kind<D>>(
        &self,
        heap: HeapRef<D, K>,
        layout: NonZeroLayout,
    ) -> *mut u8 {
        if K::TIER == HeapTier::Coroutine && std::thread::panicking() {
            return self.allocate_outside(layout);
        }
        // SAFETY: The calling thread uses the heap.
        match unsafe { self.allocate_from_regions(heap, layout) } {
            Ok(block) => {
                // SAFETY: As above.
                unsafe { self.count_allocated(heap, Self::state(), layout) };
                block.as_ptr()
            }
            // SAFETY: As above.
            Err(error) => unsafe { self.allocate_large(heap, layout, error) },
        }
    }

    /// Allocates from the thread's heap or else from the global tier, though a heap of the
    /// coroutine tier is current; null if neither has memory.
    ///
    /// A thread that panics gets its memory here: its heap's limit refuses it nothing, and what the
    /// panic makes for the process (the symbols of a backtrace, under a lock of the standard
    /// library) does not stay in a request's heap.
    #[cold]
    #[inline(never)]
    fn allocate_outside(&self, layout: NonZeroLayout) -> *mut u8 {
        let state = Self::state();
        if let Some(heap) = self.thread_heap(state) {
            // SAFETY: The thread's heap is used by its thread.
            let block = unsafe { self.allocate_in(heap, state, layout) };
            if !block.is_null() {
                return block;
            }
        }
        self.allocate_global(state, layout)
    }

    /// Makes a large object of what the heap's allocator refused as too large for it; null where it
    /// refused for another reason.
    ///
    /// # Safety
    /// The calling thread uses the heap.
    pub(super) unsafe fn allocate_large<K: Kind<D>>(
        &self,
        heap: HeapRef<D, K>,
        layout: NonZeroLayout,
        refusal: AllocError,
    ) -> *mut u8 {
        // More than the tier's allocator gives, or than fits in a block of its source behind
        // headers and padding.
        if !matches!(refusal, TOO_LARGE | AllocError::TooLarge) {
            return null_mut();
        }
        let Ok(block) = self.large.obtain(&large_memory::<D>(), heap.as_shared(), layout) else {
            return null_mut();
        };
        // SAFETY: The calling thread uses the heap.
        unsafe { self.count_allocated(heap, Self::state(), layout) };
        block.as_ptr()
    }

    /// Allocates from the heap's allocator, after blocks that were freed remotely came home.
    ///
    /// # Errors
    /// The allocator's; `TooLarge` where the layout is not one for the allocator.
    ///
    /// # Safety
    /// The calling thread uses the heap.
    unsafe fn allocate_from_regions<K: Kind<D>>(
        &self,
        heap: HeapRef<D, K>,
        layout: NonZeroLayout,
    ) -> Result<NonNull<u8>, AllocError> {
        if layout.size().max(layout.align()) > K::LARGEST {
            return Err(AllocError::TooLarge);
        }
        self.send_all(Self::state());
        // SAFETY: The calling thread uses the heap, and has no other reference to its allocator
        // here.
        let allocator = unsafe { heap.allocator() };
        // SAFETY: The calling thread uses the heap.
        if unsafe { self.collect_remote(heap) }
            && let Some(block) = allocator.allocate_at_hand(layout)
        {
            return Ok(block);
        }
        allocator.allocate(layout).map(NonNull::cast)
    }

    /// Gives blocks that were freed remotely back to their allocator; whether there were any.
    ///
    /// They stay counted as live here and as freed in the balance, which cancel out.
    ///
    /// # Safety
    /// The calling thread uses the heap.
    pub(super) unsafe fn collect_remote<K: Kind<D>>(&self, heap: HeapRef<D, K>) -> bool {
        if !reuses_blocks::<D, K>() {
            return false;
        }
        // SAFETY: The calling thread uses the heap, and has no other reference to its allocator
        // here.
        let allocator = unsafe { heap.allocator() };
        let mut blocks = 0;
        for (block, layout) in heap.shared().remote.take() {
            blocks += 1;
            if K::CACHED {
                // SAFETY: The calling thread uses the heap, which is fronted. Who freed the block
                // gave it up, and it fits the layout that came with it.
                unsafe { self.collect_block(heap.as_shared(), block, layout) };
                continue;
            }
            let region = D::page_map().find(block.addr().get()).region_of(block);
            // SAFETY: As above; the map leads to the block's region.
            unsafe { CacheOf::<D, K>::deallocate_in(allocator, region, block, layout) };
        }
        if K::CACHED && blocks > 0 {
            // The allocator counts them as freed, the balance does too; this cancels one of the
            // two.
            // SAFETY: The calling thread uses the heap.
            unsafe { heap.local() }.add_live(blocks);
            // SAFETY: As above.
            unsafe { self.recount(heap) };
        }
        blocks > 0
    }

    /// Frees a block of a heap that the calling thread does not use.
    ///
    /// # Safety
    /// As [`Allocator::deallocate`]; the heap handed out the block, which is no large object.
    #[cold]
    #[inline(never)]
    pub(super) unsafe fn free_remotely(
        &self,
        owner: NonNull<Shared>,
        block: NonNull<u8>,
        layout: NonZeroLayout,
    ) {
        // SAFETY: A control block is never unmapped.
        let shared = unsafe { owner.as_ref() };
        let reused = match shared.tier {
            HeapTier::Coroutine => reuses_blocks::<D, Coroutine>(),
            HeapTier::Thread => reuses_blocks::<D, Thread>(),
        };
        misuse::check(shared.phase() != Phase::Free, NO_HEAP, block.addr().get());
        let state = Self::state();
        if reused && shared.tier == HeapTier::Thread && self.armed(state) {
            // SAFETY: The caller gives the block up, and an allocator that reuses blocks promises
            // that they have room for a link.
            if let Some(parcel) = unsafe { state.remote_cache.put(owner, block, layout) } {
                self.send(parcel);
            }
            return;
        }
        if reused {
            // SAFETY: As above.
            unsafe { shared.remote.push(block, layout) };
        }
        self.count_remote_frees(owner, 1, layout.size());
    }

    /// Sends blocks that were kept back to their heap.
    fn send(&self, parcel: Parcel) {
        // SAFETY: A control block is never unmapped.
        let shared = unsafe { parcel.owner.as_ref() };
        // SAFETY: The blocks were freed, and belong to the heap, which waits for them.
        unsafe { shared.remote.push_all(parcel.batch) };
        self.count_remote_frees(parcel.owner, parcel.blocks, parcel.bytes);
    }

    /// Sends all blocks that this thread keeps back.
    pub(super) fn send_all(&self, state: &StateOf<D>) {
        while let Some(parcel) = state.remote_cache.take() {
            self.send(parcel);
        }
    }

    /// Counts blocks that were freed by somebody who does not use their heap. The heap may be gone
    /// when this returns.
    fn count_remote_frees(&self, owner: NonNull<Shared>, blocks: usize, bytes: usize) {
        // SAFETY: A control block is never unmapped.
        let shared = unsafe { owner.as_ref() };
        if PolicyOf::<D>::ACCOUNTING {
            shared.remote_bytes.fetch_add(bytes, Relaxed);
            self.account(Self::state()).freed_several(&self.totals, tier_index::<D>(shared), blocks, bytes);
        }
        match shared.balance.remote_frees(blocks) {
            Frees::Some => {}
            Frees::All => self.last_block_gone(owner),
            Frees::TooMany => misuse::end_process(FREED_TWICE, owner.addr().get()),
        }
    }

    /// Frees a large object.
    ///
    /// # Safety
    /// The entry is that of a large object, which the caller gives up.
    #[cold]
    #[inline(never)]
    pub(super) unsafe fn free_large(&self, entry: Entry, block: NonNull<u8>, layout: NonZeroLayout) {
        // SAFETY: The entry of a large object was made from its record, which is alive as long as
        // the object.
        let record: NonNull<Record> = unsafe { NonNull::new_unchecked(entry.pointer()) };
        // SAFETY: The record is alive until it is released below.
        let owner = unsafe { record.as_ref() }.control;
        // SAFETY: As above.
        misuse::check(unsafe { record.as_ref() }.fits(block, layout), NO_OBJECT, block.addr().get());
        // SAFETY: The caller gives the object up.
        unsafe { self.large.release(&large_memory::<D>(), record) };
        let state = Self::state();
        match self.in_use(state, owner) {
            // SAFETY: `in_use` says that the calling thread uses the heap.
            InUse::Coroutine(heap) => unsafe { self.count_freed(heap, state, layout) },
            // SAFETY: `in_use` says that the calling thread uses the heap.
            InUse::Thread(heap) => unsafe { self.count_freed(heap, state, layout) },
            InUse::Elsewhere => self.count_remote_frees(owner, 1, layout.size()),
        }
    }

    /// Whether the calling thread allocates from a heap now.
    fn is_current(&self, owner: NonNull<Shared>) -> bool {
        let state = Self::state();
        let context = state.context.get();
        match context.tier() {
            tier::COROUTINE => context.heap() == owner.as_ptr(),
            tier::THREAD => state.thread_heap.get() == owner.as_ptr(),
            _ => false,
        }
    }

    /// Whether, and as what, the calling thread uses a heap.
    fn in_use(&self, state: &StateOf<D>, owner: NonNull<Shared>) -> InUse<D> {
        if present::<D, Coroutine>() && owner.as_ptr() == state.context.get().heap() {
            // SAFETY: The heap in a context of this declaration is one of its coroutine tier.
            InUse::Coroutine(unsafe { HeapRef::from_shared(owner) })
        } else if present::<D, Thread>() && owner.as_ptr() == state.thread_heap.get() {
            // SAFETY: A thread's heap is one of the thread tier.
            InUse::Thread(unsafe { HeapRef::from_shared(owner) })
        } else {
            InUse::Elsewhere
        }
    }

    /// Allocates zeroed memory from the current tier; null where there is none.
    #[inline(never)]
    pub(super) fn allocate_zeroed_block(&self, layout: NonZeroLayout) -> *mut u8 {
        let state = Self::state();
        let context = state.context.get();
        if present::<D, Coroutine>() && context.tier() == tier::COROUTINE {
            // SAFETY: The heap in a context of this declaration is one of its coroutine tier.
            let heap = unsafe { HeapRef::<D, Coroutine>::from_shared(context.current_heap()) };
            // SAFETY: The heap is in this thread's context, so this thread uses it.
            return unsafe { self.allocate_zeroed_in(heap, state, layout) };
        }
        if matches!(context.tier(), tier::DEFAULT | tier::THREAD)
            && let Some(heap) = self.thread_heap(state)
        {
            state.set_context(context.with_tier(tier::THREAD));
            // SAFETY: The thread's heap is used by its thread.
            return unsafe { self.allocate_zeroed_in(heap, state, layout) };
        }
        // SAFETY: The layout has a size.
        let block = unsafe { self.global(state).alloc_zeroed(layout.layout()) };
        if PolicyOf::<D>::ACCOUNTING && !block.is_null() {
            self.account(state).allocated(&self.totals, GLOBAL_INDEX, layout.size());
        }
        block
    }

    /// Allocates zeroed memory from a heap, without writing what is known to be zero.
    ///
    /// # Safety
    /// The calling thread uses the heap.
    unsafe fn allocate_zeroed_in<K: Kind<D>>(
        &self,
        heap: HeapRef<D, K>,
        state: &StateOf<D>,
        layout: NonZeroLayout,
    ) -> *mut u8 {
        let known = !K::CACHED
            && (WORTH_KNOWING..=K::LARGEST).contains(&layout.size())
            && layout.align() <= K::LARGEST;
        if known {
            // SAFETY: The calling thread uses the heap, and has no other reference to its allocator
            // here.
            if let Ok(block) = unsafe { heap.allocator() }.allocate_zeroed(layout) {
                // SAFETY: The calling thread uses the heap.
                unsafe { self.count_allocated(heap, state, layout) };
                return block.cast().as_ptr();
            }
        }
        // SAFETY: The calling thread uses the heap.
        let block = unsafe { self.allocate_in(heap, state, layout) };
        if block.is_null() {
            return block;
        }
        let entry = D::page_map().find(block.addr());
        let zeroed = entry.tag() == tag::LARGE && {
            // SAFETY: The entry of a large object was made from its record, which is alive as long
            // as the object, just made.
            let record: &Record = unsafe { &*entry.pointer() };
            record.zeroed
        };
        if !zeroed {
            // SAFETY: The block was just allocated with this size.
            unsafe { block.write_bytes(0, layout.size()) };
        }
        block
    }

    /// Grows or shrinks a block; null, and nothing changed, where there is no memory.
    ///
    /// # Safety
    /// As [`Allocator::grow`] or [`Allocator::shrink`].
    #[inline(never)]
    pub(super) unsafe fn resize_block(
        &self,
        block: NonNull<u8>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> *mut u8 {
        let state = Self::state();
        let context = state.context.get();
        if present::<D, Coroutine>() && context.tier() == tier::COROUTINE {
            // SAFETY: The heap in a context of this declaration is one of its coroutine tier.
            let heap = unsafe { HeapRef::<D, Coroutine>::from_shared(context.current_heap()) };
            // SAFETY: The heap is in this thread's context, so this thread uses it.
            if unsafe { heap.allocator() }.owns_at_hand(block) {
                // SAFETY: As above; the block lies in a region of the heap, which therefore handed
                // it out, and is no large object; the caller's promises.
                return unsafe { self.resize_small(heap, block, old, new) };
            }
        }
        if has_thread_cache::<D>()
            && state.thread_cache.knows(block)
            && let Some(heap) = NonNull::new(state.thread_heap.get())
        {
            // SAFETY: A thread's heap is one of the thread tier.
            let heap = unsafe { HeapRef::<D, Thread>::from_shared(heap) };
            // SAFETY: The front says that the block is of the thread's heap, and it is no large
            // object, which it knows none of; the caller's promises.
            return unsafe { self.resize_small(heap, block, old, new) };
        }
        let entry = D::page_map().find(block.addr().get());
        let owner = match entry.tag() {
            // SAFETY: The block is in no slice of ours, so the global tier allocated it; the
            // caller's promises.
            tag::GLOBAL => return unsafe { self.resize_global(block, old, new) },
            tag::LARGE => {
                // SAFETY: As in `free_large`.
                let record: NonNull<Record> = unsafe { NonNull::new_unchecked(entry.pointer()) };
                // SAFETY: The object is alive, and so its record.
                let Record { control: owner, .. } = *unsafe { record.as_ref() };
                // SAFETY: As above.
                misuse::check(unsafe { record.as_ref() }.fits(block, old), NO_OBJECT, block.addr().get());
                // What grows where its heap is not in use moves to the heap that is.
                let may_grow = !matches!(self.in_use(state, owner), InUse::Elsewhere);
                let memory = large_memory::<D>();
                // SAFETY: The caller's promises.
                if let Some(object) = unsafe { self.large.resize(&memory, record, new, may_grow) } {
                    self.count_resized(owner, old, new);
                    return object.as_ptr();
                }
                owner
            }
            // SAFETY: The map leads to control blocks, whose address is not null.
            tag::DIRECT => unsafe { NonNull::new_unchecked(entry.pointer()) },
            // SAFETY: As above.
            _ => unsafe { NonNull::new_unchecked(masked_owner(entry, block)) },
        };
        let is_large = entry.tag() == tag::LARGE;
        let moved = match self.in_use(state, owner) {
            // SAFETY: `in_use` says that the calling thread uses the heap; the caller's promises.
            InUse::Coroutine(heap) => unsafe { self.resize_in(heap, block, old, new, is_large) },
            // SAFETY: `in_use` says that the calling thread uses the heap; the caller's promises.
            InUse::Thread(heap) => unsafe { self.resize_in(heap, block, old, new, is_large) },
            InUse::Elsewhere => Resized::Elsewhere(self.allocate_block(new)),
        };
        match moved {
            Resized::InPlace => block.as_ptr(),
            // SAFETY: The block was just allocated for `new`; the caller's promises.
            Resized::Elsewhere(to) => unsafe { self.move_block(block, old, to, new) },
        }
    }

    /// Resizes a block of a heap in place, or moves it within the heap.
    ///
    /// # Safety
    /// As [`Allocator::grow`] or [`Allocator::shrink`]; the calling thread uses the heap, which
    /// handed out the block, no large object.
    unsafe fn resize_small<K: Kind<D>>(
        &self,
        heap: HeapRef<D, K>,
        block: NonNull<u8>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> *mut u8 {
        // SAFETY: The caller's promises.
        match unsafe { self.resize_in(heap, block, old, new, false) } {
            Resized::InPlace => block.as_ptr(),
            // SAFETY: The block was just allocated for `new`; the caller's promises.
            Resized::Elsewhere(to) => unsafe { self.move_block(block, old, to, new) },
        }
    }

    /// Resizes a block of a heap in place, or allocates another in the same heap.
    ///
    /// # Safety
    /// The calling thread uses the heap, which handed out the block; `old` fits it.
    unsafe fn resize_in<K: Kind<D>>(
        &self,
        heap: HeapRef<D, K>,
        block: NonNull<u8>,
        old: NonZeroLayout,
        new: NonZeroLayout,
        is_large: bool,
    ) -> Resized {
        let state = Self::state();
        if !is_large {
            // SAFETY: The calling thread uses the heap, and has no other reference to its allocator
            // here.
            let allocator = unsafe { heap.allocator() };
            let resized = if new.size() >= old.size() {
                // SAFETY: The heap's allocator handed out the block, `old` fits it, and `new` is
                // not smaller.
                unsafe { allocator.grow_in_place(block, old, new) }
            } else {
                // SAFETY: The heap's allocator handed out the block, `old` fits it, and `new` is
                // smaller.
                unsafe { allocator.shrink_in_place(block, old, new) }
            };
            if resized.is_ok() {
                self.count_resized(heap.as_shared(), old, new);
                return Resized::InPlace;
            }
        }
        // SAFETY: The calling thread uses the heap.
        let to = unsafe { self.allocate_in(heap, state, new) };
        // The heap has no memory, or may have no more, but another tier is current.
        let elsewhere = to.is_null() && !self.is_current(heap.as_shared());
        Resized::Elsewhere(if elsewhere { self.allocate_block(new) } else { to })
    }

    /// Resizes a block of the global tier.
    ///
    /// # Safety
    /// As [`Allocator::grow`] or [`Allocator::shrink`], and the global tier allocated the block.
    unsafe fn resize_global(&self, block: NonNull<u8>, old: NonZeroLayout, new: NonZeroLayout) -> *mut u8 {
        if old.align() != new.align() {
            let to = self.allocate_global(Self::state(), new);
            // SAFETY: The block was just allocated for `new`; the caller's promises.
            return unsafe { self.move_block(block, old, to, new) };
        }
        // SAFETY: The global tier allocated the block with `old`; the size is one of a layout of
        // that alignment.
        let resized = unsafe { self.tiers().global().realloc(block.as_ptr(), old.layout(), new.size()) };
        if PolicyOf::<D>::ACCOUNTING && !resized.is_null() {
            let change = new.size().cast_signed() - old.size().cast_signed();
            self.account(Self::state()).changed(&self.totals, GLOBAL_INDEX, change);
        }
        resized
    }

    /// Copies what both have from `block` to `to`, unless that is null, and frees `block`.
    ///
    /// # Safety
    /// `block` is allocated and `old` fits it; `to` is null or was just allocated for `new`.
    unsafe fn move_block(
        &self,
        block: NonNull<u8>,
        old: NonZeroLayout,
        to: *mut u8,
        new: NonZeroLayout,
    ) -> *mut u8 {
        if to.is_null() {
            return to;
        }
        // SAFETY: Both are allocated, so they do not overlap, and each has that many bytes.
        unsafe { to.copy_from_nonoverlapping(block.as_ptr(), old.size().min(new.size())) };
        // SAFETY: The caller's promises; the block is not used again.
        unsafe { self.free_block(block, old) };
        to
    }

    /// Counts a change of size in place.
    fn count_resized(&self, owner: NonNull<Shared>, old: NonZeroLayout, new: NonZeroLayout) {
        if !PolicyOf::<D>::ACCOUNTING {
            return;
        }
        let state = Self::state();
        let change = new.size().cast_signed() - old.size().cast_signed();
        // SAFETY: A control block is never unmapped.
        let shared = unsafe { owner.as_ref() };
        let index = tier_index::<D>(shared);
        self.account(state).changed(&self.totals, index, change);
        match self.in_use(state, owner) {
            // SAFETY: `in_use` says that the calling thread uses the heap.
            InUse::Coroutine(heap) => unsafe { heap.local() }.add_bytes(change.cast_unsigned()),
            // SAFETY: `in_use` says that the calling thread uses the heap.
            InUse::Thread(heap) => unsafe { heap.local() }.add_bytes(change.cast_unsigned()),
            InUse::Elsewhere => {
                shared.remote_bytes.fetch_sub(change.cast_unsigned(), Relaxed);
            }
        }
    }
}

/// What became of a block that was to be resized.
enum Resized {
    InPlace,
    /// Room for it elsewhere, or null.
    Elsewhere(*mut u8),
}
