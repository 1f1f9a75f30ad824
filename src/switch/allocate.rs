//! Allocation: the fast paths first, beneath them what each falls back on.
//!
//! ```text
//!   allocate_entry --- thread cache ---------------------------------> block
//!     | closed, or an uncommon size
//!   allocate_unserved_entry --- thread cache, by its class ----------> block
//!     |                     --- window of the heap that is current --> block
//!     | it does not fit, or the thread cache is empty
//!   allocate_uncached --- allocator of the heap that is current -----> block
//!     |                     | nothing at hand
//!     |                   refill, fill_cache: collect, region -------> block
//!     |                     | too large
//!     |                   make_large --------------------------------> block
//!     |                     | a limit refuses
//!     |                   allocate_at_limit (limit.rs) -------------> block
//!     | no heap is current
//!   decide_tier --- the thread's heap, made now, or the global tier -> block
//! ```

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{NonNull, null_mut};

use super::allocator::{
    Coroutine, Declaration, HeapsOf, PolicyOf, SwitchableAllocator, Thread, bumps, has_thread_cache,
    large_memory,
};
use super::context::tier;
use super::control::{ControlRef, HeapTier, Record};
use super::current::Current;
use super::declare::{Policy, TierSet};
use super::heap_ref::UsedHeap;
use super::thread_state::Stage;
use super::tier_source::largest;
use crate::alloc::{Allocator, LocalAllocator, ThreadCache, ThreadCacheFor};
use crate::error::{AllocError, SourceError};
use crate::layout::NonZeroLayout;
use crate::page_map::tag;

/// The source of an allocator has no regions that large.
const TOO_LARGE: AllocError = AllocError::Source(SourceError::TooLarge);

const HEAP_LIMIT_REACHED: AllocError = AllocError::Source(SourceError::HeapLimitReached);

/// From this many bytes on, an allocator is asked whether it knows memory to be zero, rather than
/// the memory written.
const WORTH_KNOWING: usize = 4096;

/// To this alignment in bytes, blocks are taken from a heap's window without a call.
const WINDOW_ALIGN: usize = 8;

/// Whether the heap takes no more memory, because the calling thread panics: see
/// [`SwitchableAllocator::allocate_outside`].
fn refuses_panics<D: Declaration, Tier: HeapsOf<D>>() -> bool {
    Tier::TIER == HeapTier::Coroutine && std::thread::panicking()
}

impl<D: Declaration> SwitchableAllocator<D> {
    /// The entry point of `GlobalAlloc::alloc`. It takes what `__rust_alloc` is given, in the same
    /// registers, so that a jump leads here.
    ///
    /// # Safety
    /// Size and alignment are those of a layout.
    #[inline(never)]
    pub(super) unsafe fn allocate_entry(size: usize, align: usize) -> *mut u8 {
        if !has_thread_cache::<D>() || !Self::current_thread().thread_cache.serves(size) {
            // SAFETY: The caller promises that there is such a layout.
            return unsafe { Self::allocate_unserved_entry(size, align) };
        }
        // SAFETY: As above.
        let layout = unsafe { Layout::from_size_align_unchecked(size, align) };
        let block = D::allocator().pop_cached(layout);
        if block.is_null() {
            // SAFETY: As above.
            return unsafe { Self::allocate_uncached_entry(size, align) };
        }
        block
    }

    /// Allocates what the thread cache does not serve: in nearly every case, because a heap is
    /// entered and current, from which the block is taken, or because the size is not common. Out
    /// of line, as [`allocate_uncached_entry`](Self::allocate_uncached_entry).
    ///
    /// # Safety
    /// As [`allocate_entry`](Self::allocate_entry).
    #[inline(never)]
    unsafe fn allocate_unserved_entry(size: usize, align: usize) -> *mut u8 {
        let current = Self::current_thread();
        if current.thread_cache.is_open() {
            // SAFETY: The caller promises that there is such a layout; the thread tier is current.
            return unsafe { Self::allocate_uncommon_entry(size, align) };
        }
        if bumps::<D, Coroutine>() && align <= WINDOW_ALIGN {
            let block = D::allocator().take_at_hand(current, size);
            if let Some(block) = block {
                return block.as_ptr();
            }
        }
        // SAFETY: The caller promises that there is such a layout.
        unsafe { Self::allocate_uncached_entry(size, align) }
    }

    /// Allocates an uncommon size from the thread's heap. Out of line, as
    /// [`allocate_uncached_entry`](Self::allocate_uncached_entry).
    ///
    /// # Safety
    /// As [`allocate_entry`](Self::allocate_entry); the thread tier is current.
    #[inline(never)]
    unsafe fn allocate_uncommon_entry(size: usize, align: usize) -> *mut u8 {
        // SAFETY: The caller promises that there is such a layout.
        let layout = unsafe { Layout::from_size_align_unchecked(size, align) };
        match NonZeroLayout::new(layout) {
            Some(layout) => D::allocator().pop_uncommon(Self::current_thread(), layout),
            None => D::allocator().allocate_one_byte(layout),
        }
    }

    /// As [`allocate_uncached`](Self::allocate_uncached), out of line: size and alignment stay in
    /// the registers that they came in.
    ///
    /// # Safety
    /// As [`allocate_entry`](Self::allocate_entry).
    #[inline(never)]
    unsafe fn allocate_uncached_entry(size: usize, align: usize) -> *mut u8 {
        // SAFETY: The caller promises that there is such a layout.
        let layout = unsafe { Layout::from_size_align_unchecked(size, align) };
        match NonZeroLayout::new(layout) {
            Some(layout) => D::allocator().allocate_uncached(layout),
            None => D::allocator().allocate_one_byte(layout),
        }
    }

    /// Allocates from the current tier; null if it has no memory.
    #[inline(never)]
    pub(super) fn allocate_block(&self, layout: NonZeroLayout) -> *mut u8 {
        let block = self.pop_cached(layout.layout());
        if !block.is_null() {
            return block;
        }
        if bumps::<D, Coroutine>()
            && layout.align() <= WINDOW_ALIGN
            && let Some(block) = self.take_at_hand(Self::current_thread(), layout.size())
        {
            return block.as_ptr();
        }
        self.allocate_uncached(layout)
    }

    /// Takes a block at a multiple of 8 bytes from the window of the heap that is current; `None`
    /// if it does not fit, for a size of 0, and if no heap is current.
    #[inline(always)]
    fn take_at_hand(&self, current: Current<'_, D>, size: usize) -> Option<NonNull<u8>> {
        let block = current.registers.take(size)?;
        if PolicyOf::<D>::ACCOUNTING
            && let Some(heap) = current.coroutine_heap()
        {
            self.count_bytes_allocated(heap, current, size);
        }
        Some(block)
    }

    /// Allocates from the thread cache, which is open if the thread tier is current; null if it
    /// holds nothing.
    #[inline(always)]
    pub(super) fn pop_cached(&self, layout: Layout) -> *mut u8 {
        let current = Self::current_thread();
        // SAFETY: The thread's heap alone uses the cache, from when the thread has it until
        // `detach`.
        let block = unsafe { current.thread_cache.pop(layout.size(), layout.align()) };
        if !block.is_null() {
            self.count_popped(current, layout.size());
        }
        block
    }

    /// Allocates from the current tier, if the thread cache gave nothing; null if it has no memory.
    #[inline(always)]
    fn allocate_uncached(&self, layout: NonZeroLayout) -> *mut u8 {
        let current = Self::current_thread();
        // Two tests rather than a table of jumps: the first is nearly always decided as it was the
        // last time.
        if let Some(heap) = current.coroutine_heap() {
            if bumps::<D, Coroutine>() {
                self.allocate_bumping(layout)
            } else {
                self.allocate_in(heap, current, layout)
            }
        } else if let Some(heap) = current.current_thread_heap() {
            self.allocate_in(heap, current, layout)
        } else {
            self.decide_tier(layout)
        }
    }

    /// Allocates from the heap that is current, whose window did not serve the layout. Out of line,
    /// so that the other tiers do without what this needs.
    #[inline(never)]
    fn allocate_bumping(&self, layout: NonZeroLayout) -> *mut u8 {
        let current = Self::current_thread();
        current.coroutine_heap().map_or(null_mut(), |heap| self.allocate_in(heap, current, layout))
    }

    /// Allocates from a heap; null if it may have no more memory, or there is none.
    #[inline(always)]
    pub(super) fn allocate_in<Tier: HeapsOf<D>>(
        &self,
        heap: UsedHeap<'_, D, Tier>,
        current: Current<'_, D>,
        layout: NonZeroLayout,
    ) -> *mut u8 {
        if Tier::CACHED {
            return self.pop_uncommon(current, layout);
        }
        let block = heap.with_allocator(current, |allocator| allocator.allocate_at_hand(layout));
        let Some(block) = block else { return self.refill(heap, layout) };
        self.count_allocated(heap, current, layout);
        block.as_ptr()
    }

    /// Allocates from the thread's heap what the common paths of the thread cache do not serve.
    #[inline]
    fn pop_uncommon(&self, current: Current<'_, D>, layout: NonZeroLayout) -> *mut u8 {
        // SAFETY: As in `pop_cached`.
        let block = unsafe { current.thread_cache.pop_uncommon(layout) };
        if block.is_null() {
            return self.fill_cache(layout);
        }
        self.count_popped(current, layout.size());
        block
    }

    /// Allocates from the thread's heap, and fills its thread cache.
    #[cold]
    #[inline(never)]
    fn fill_cache(&self, layout: NonZeroLayout) -> *mut u8 {
        let current = Self::current_thread();
        let Some(heap) = current.thread_heap() else { return null_mut() };
        if layout.size().max(layout.align()) > const { largest::<D, Thread>() } {
            return self.make_large(heap, layout, AllocError::TooLarge).map_or(null_mut(), NonNull::as_ptr);
        }
        self.send_all(current);
        if !heap.remote.is_empty() {
            self.collect_remote(heap);
        }
        // SAFETY: The cache is the calling thread's, whose heap alone uses it.
        let block = unsafe { current.thread_cache.fill(heap.allocator(), layout) };
        heap.recount();
        self.sweep_later(heap.control());
        match block {
            Ok(block) => {
                self.count_popped(current, layout.size());
                block.as_ptr()
            }
            Err(error) => self.make_large(heap, layout, error).map_or(null_mut(), NonNull::as_ptr),
        }
    }

    /// Allocates from a heap whose allocator has nothing at hand; null if it may have no more
    /// memory, or there is none.
    #[cold]
    #[inline(never)]
    fn refill<Tier: HeapsOf<D>>(&self, heap: UsedHeap<'_, D, Tier>, layout: NonZeroLayout) -> *mut u8 {
        if refuses_panics::<D, Tier>() {
            return self.allocate_outside(layout);
        }
        match self.allocate_slowly(heap, layout) {
            Ok(block) => block.as_ptr(),
            Err(HEAP_LIMIT_REACHED) if Tier::TIER == HeapTier::Coroutine => {
                self.allocate_at_limit(heap.control(), layout)
            }
            Err(_) => null_mut(),
        }
    }

    /// Allocates from a heap whose allocator has nothing at hand, or makes a large object.
    ///
    /// # Errors
    /// Why there is no memory.
    fn allocate_slowly<Tier: HeapsOf<D>>(
        &self,
        heap: UsedHeap<'_, D, Tier>,
        layout: NonZeroLayout,
    ) -> Result<NonNull<u8>, AllocError> {
        match self.allocate_collected(heap, layout) {
            Ok(block) => {
                self.count_allocated(heap, Self::current_thread(), layout);
                Ok(block)
            }
            Err(error) => self.make_large(heap, layout, error),
        }
    }

    /// Allocates once more from a heap that the calling thread is in, of which something was freed;
    /// null if there is still no memory.
    #[inline(never)]
    pub(super) fn allocate_in_again(&self, control: ControlRef, layout: NonZeroLayout) -> *mut u8 {
        let current = Self::current_thread();
        let Some(heap) = current.heap_entered_last().filter(|heap| heap.control() == control) else {
            return null_mut();
        };
        let block = heap.with_allocator(current, |allocator| allocator.allocate_at_hand(layout));
        if let Some(block) = block {
            self.count_allocated(heap, current, layout);
            return block.as_ptr();
        }
        self.allocate_slowly(heap, layout).map_or(null_mut(), NonNull::as_ptr)
    }

    /// Allocates from the heap's allocator, after it got back the blocks that other threads freed.
    ///
    /// # Errors
    /// The allocator's; `TooLarge` if the tier asks its allocators for less.
    fn allocate_collected<Tier: HeapsOf<D>>(
        &self,
        heap: UsedHeap<'_, D, Tier>,
        layout: NonZeroLayout,
    ) -> Result<NonNull<u8>, AllocError> {
        if layout.size().max(layout.align()) > const { largest::<D, Tier>() } {
            return Err(AllocError::TooLarge);
        }
        self.send_all(Self::current_thread());
        if self.collect_remote(heap)
            && let Some(block) = heap.allocator().allocate_at_hand(layout)
        {
            return Ok(block);
        }
        heap.allocate_anew(Self::current_thread(), layout)
    }

    /// Makes a large object of what the heap's allocator refused as too large.
    ///
    /// # Errors
    /// The allocator's, if it refused for another reason; that of the large objects.
    fn make_large<Tier: HeapsOf<D>>(
        &self,
        heap: UsedHeap<'_, D, Tier>,
        layout: NonZeroLayout,
        refusal: AllocError,
    ) -> Result<NonNull<u8>, AllocError> {
        // More than the tier's allocator gives, or than fits in a block of its source behind
        // headers and padding.
        if !matches!(refusal, TOO_LARGE | AllocError::TooLarge) {
            return Err(refusal);
        }
        let block = self.large.obtain(&large_memory::<D>(), heap.control(), layout)?;
        self.count_large_allocated(heap, Self::current_thread(), layout);
        Ok(block)
    }

    /// Allocates if no heap is current: from the global tier, or from the thread's heap if no tier
    /// was chosen.
    #[inline(never)]
    fn decide_tier(&self, layout: NonZeroLayout) -> *mut u8 {
        let current = Self::current_thread();
        match self.default_heap(current) {
            Some(heap) => self.allocate_in(heap, current, layout),
            None => self.allocate_global(current, layout),
        }
    }

    /// The thread's heap, made if need be, if the thread tier is current; `None` if the global tier
    /// is, or stands in.
    fn default_heap<'a>(&self, current: Current<'a, D>) -> Option<UsedHeap<'a, D, Thread>> {
        if current.context().tier() != tier::DEFAULT {
            return None;
        }
        self.own_thread_heap(current)
    }

    /// Allocates from the thread's heap or else from the global tier, though a heap of the
    /// coroutine tier is current; null if neither has memory.
    ///
    /// A thread that panics gets its memory here: its heap's limit refuses it nothing, and what the
    /// panic makes for the process (the symbols of a backtrace, under a lock of the standard
    /// library) does not stay in a request's heap. So does a heap that spills.
    #[cold]
    #[inline(never)]
    pub(super) fn allocate_outside(&self, layout: NonZeroLayout) -> *mut u8 {
        let current = Self::current_thread();
        if let Some(heap) = self.own_thread_heap(current) {
            let block = self.allocate_in(heap, current, layout);
            if !block.is_null() {
                return block;
            }
        }
        self.allocate_global(current, layout)
    }

    #[inline]
    pub(super) fn allocate_global(&self, current: Current<'_, D>, layout: NonZeroLayout) -> *mut u8 {
        // SAFETY: The layout has a size.
        let block = unsafe { self.global(current).alloc(layout.layout()) };
        if !block.is_null() {
            self.count_allocated_globally(current, layout);
        }
        block
    }

    /// The global tier, to allocate from. If it has locks to be held around a fork, the hooks are
    /// set before its first use: a program may never make a heap, which sets them otherwise.
    #[inline]
    fn global(&self, current: Current<'_, D>) -> &<D::Tiers as TierSet>::Global {
        if current.stage() == Stage::New && self.tiers().global_takes_part_in_forks() {
            self.armed(current);
        }
        self.tiers().global()
    }

    /// Serves a request for no bytes, which `GlobalAlloc` leaves undefined, as one for one byte.
    #[cold]
    #[inline(never)]
    fn allocate_one_byte(&self, layout: Layout) -> *mut u8 {
        NonZeroLayout::at_least_one(layout).map_or(null_mut(), |layout| self.allocate_block(layout))
    }

    /// Allocates zeroed memory from the current tier; null if it has none.
    #[inline(never)]
    pub(super) fn allocate_zeroed_block(&self, layout: NonZeroLayout) -> *mut u8 {
        let current = Self::current_thread();
        if let Some(heap) = current.coroutine_heap() {
            return self.allocate_zeroed_in(heap, current, layout);
        }
        if let Some(heap) = current.current_thread_heap().or_else(|| self.default_heap(current)) {
            return self.allocate_zeroed_in(heap, current, layout);
        }
        // SAFETY: The layout has a size.
        let block = unsafe { self.global(current).alloc_zeroed(layout.layout()) };
        if !block.is_null() {
            self.count_allocated_globally(current, layout);
        }
        block
    }

    /// Allocates zeroed memory from a heap, without writing what is known to be zero.
    fn allocate_zeroed_in<Tier: HeapsOf<D>>(
        &self,
        heap: UsedHeap<'_, D, Tier>,
        current: Current<'_, D>,
        layout: NonZeroLayout,
    ) -> *mut u8 {
        let largest = const { largest::<D, Tier>() };
        let may_know =
            !Tier::CACHED && (WORTH_KNOWING..=largest).contains(&layout.size()) && layout.align() <= largest;
        if may_know
            && !refuses_panics::<D, Tier>()
            && let Ok(block) = heap.with_allocator(current, |allocator| allocator.allocate_zeroed(layout))
        {
            self.count_allocated(heap, current, layout);
            return block.cast().as_ptr();
        }
        let block = self.allocate_in(heap, current, layout);
        if block.is_null() {
            return block;
        }
        let entry = D::page_map().get(block.addr());
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
}
