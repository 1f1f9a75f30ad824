//! A heap while a thread is in it: what its thread keeps in registers, and when that goes back.
//!
//! ```text
//!   window of the allocator        registers: cursor, end, start, live blocks in it
//!   |  another region              |
//!   older regions, large objects   control block: live blocks in all of them,
//!                                  header or record of a region: how many in it
//! ```
//!
//! Always: a heap's live blocks are those that the registers (or, while it is not entered last, its
//! control block) count in the window, and those that the control block counts elsewhere. Each
//! block is counted where it lies, and where it is freed by the heap's user; blocks that others
//! free stay counted. So a window or a region without live blocks has none that is allocated:
//! the window is started over, the region released.

use core::ptr::NonNull;

use super::allocator::{CacheOf, Coroutine, Declaration, HeapAllocator, HeapsOf, TierSource, bumps, present};
use super::context::{Context, tier};
use super::control::{ControlRef, HeapTier};
use super::current::{Current, used};
use super::heap_ref::UsedHeap;
use super::local::Local;
use crate::alloc::{Allocator, LocalAllocator, ThreadCacheFor};
use crate::error::AllocError;
use crate::layout::NonZeroLayout;

impl<D: Declaration> Current<'_, D> {
    /// Writes what the registers hold back to the heap entered last, if there is one: before
    /// another context becomes current, and before the heap is looked at.
    #[inline(always)]
    pub(super) fn save(self) {
        if let Some(heap) = self.heap_entered_last() {
            self.save_to(heap);
        }
    }

    /// Saves the registers, which are those of `heap`.
    #[inline(always)]
    fn save_to(self, heap: UsedHeap<'_, D, Coroutine>) {
        let registers = &self.state().registers;
        if bumps::<D, Coroutine>() {
            heap.local().set_window_live(registers.live());
            // SAFETY: The registers took blocks from the allocator's window, and nothing else did
            // since they were loaded.
            unsafe { heap.allocator().set_cursor(registers.cursor()) };
        } else {
            heap.local().set_live(registers.live());
        }
    }

    /// Makes a context current, and loads the registers of its heap. What they held was saved.
    #[inline(always)]
    pub(super) fn load(self, context: Context) {
        self.state().set_context(context);
        if !present::<D, Coroutine>() {
            return;
        }
        match context.heap() {
            // SAFETY: The heap is in this thread's context.
            Some(heap) => self.load_from(unsafe { used(heap) }, context.tier() == tier::COROUTINE),
            None => self.state().registers.clear_window(),
        }
    }

    /// Loads the registers of the heap that was entered last.
    #[inline(always)]
    fn load_from(self, heap: UsedHeap<'_, D, Coroutine>, open: bool) {
        let registers = &self.state().registers;
        if bumps::<D, Coroutine>() {
            // Of the count only the low 32 bits are kept in mind: it takes no sign.
            registers.set_live(heap.local().window_live_bits());
            registers.set_window(heap.allocator().window(), open);
        } else {
            registers.set_live(heap.local().live());
        }
    }

    /// Makes a heap current that the calling thread entered just now, from `outer`.
    ///
    /// # Safety
    /// It did, and `outer` is still current.
    #[inline(always)]
    pub(super) unsafe fn enter(self, heap: ControlRef, outer: Context) {
        if let Some(outer) = outer.heap() {
            // SAFETY: The outer context's heap is the one that was entered last so far.
            self.save_to(unsafe { used(outer) });
        }
        self.state().set_heap(heap);
        // SAFETY: The heap is in this thread's context now.
        self.load_from(unsafe { used(heap) }, true);
    }

    /// Has the allocator of the heap entered last [trim](Allocator::trim), if the heap has no block
    /// and holds more than 8 KiB. An allocator that bumps keeps a window, which is no more than its
    /// heap needed before.
    #[inline(always)]
    pub(super) fn trim_without_blocks(self) {
        const LITTLE: usize = 8 * 1024;
        if bumps::<D, Coroutine>() || self.state().registers.live() != 0 {
            return;
        }
        if let Some(heap) = self.heap_entered_last()
            && heap.control().held() > LITTLE
        {
            heap.allocator().trim();
        }
    }

    /// Makes the context current that a heap was entered from, which the calling thread left just
    /// now.
    ///
    /// # Safety
    /// The heap was the one that this thread entered last, and this thread alone may use it still.
    #[inline(always)]
    pub(super) unsafe fn leave(self, heap: ControlRef, outer: Context) {
        // SAFETY: No other thread uses the heap yet; the registers are still this heap's.
        self.save_to(unsafe { used(heap) });
        self.load(outer);
    }

    /// As [`leave`](Self::leave), of a heap that was entered from the default context, and whose
    /// context is current.
    ///
    /// # Safety
    /// As `leave`.
    #[inline(always)]
    pub(super) unsafe fn leave_to_default(self, heap: ControlRef) {
        // SAFETY: No other thread uses the heap yet; the registers are still this heap's.
        self.save_to(unsafe { used(heap) });
        self.state().set_default_context();
        self.state().registers.clear_window();
    }

    /// Makes another tier current over the same heaps.
    #[inline(always)]
    pub(super) fn change_tier(self, tier: usize) {
        self.save();
        self.load(self.state().context().with_tier(tier));
    }
}

impl<D: Declaration, Tier: HeapsOf<D>> UsedHeap<'_, D, Tier> {
    /// Whether the registers of the thread that uses the heap are the heap's.
    const IN_REGISTERS: bool = matches!(Tier::TIER, HeapTier::Coroutine);

    /// Whether they hold a window.
    const HAS_WINDOW: bool = Self::IN_REGISTERS && bumps::<D, Tier>();

    /// Calls `f` with the heap's allocator, of which the registers keep nothing meanwhile. `f` does
    /// nothing but call the allocator.
    #[inline(always)]
    pub(super) fn with_allocator<R>(
        self,
        current: Current<'_, D>,
        f: impl FnOnce(&HeapAllocator<D, Tier>) -> R,
    ) -> R {
        if !Self::HAS_WINDOW {
            return f(self.allocator());
        }
        let registers = &current.state().registers;
        // SAFETY: A coroutine heap that a thread uses is the one that it entered last, whose window
        // the registers hold, and nothing else took blocks since they were loaded.
        unsafe { self.allocator().set_cursor(registers.cursor()) };
        let before = registers.start();
        let result = f(self.allocator());
        let window = self.allocator().window();
        if window.start != before {
            self.leave_window(current, before);
        }
        registers.set_window(window, current.context().tier() == tier::COROUTINE);
        result
    }

    /// Allocates from the allocator, which has nothing at hand: where the window was, if no block
    /// in it is allocated any more, or in another region.
    ///
    /// # Errors
    /// The allocator's.
    pub(super) fn allocate_anew(
        self,
        current: Current<'_, D>,
        layout: NonZeroLayout,
    ) -> Result<NonNull<u8>, AllocError> {
        let restart = Self::HAS_WINDOW && current.state().registers.live() == 0;
        self.with_allocator(current, |allocator| {
            if restart {
                // SAFETY: The registers count the blocks in the window, and there is none.
                unsafe { allocator.restart_window() };
                if let Some(block) = allocator.allocate_at_hand(layout) {
                    return Ok(block);
                }
            }
            allocator.allocate(layout).map(NonNull::cast)
        })
    }

    /// Leaves the region at `start`, which was the window: what the registers counted in it is
    /// counted elsewhere, or the region goes if that is none.
    #[cold]
    fn leave_window(self, current: Current<'_, D>, start: *mut u8) {
        let Some(start) = NonNull::new(start) else { return };
        let registers = &current.state().registers;
        let live = Local::window_live_of(registers.live());
        registers.set_live(0);
        if live == 0 {
            // SAFETY: The allocator held the region, and no block in it is allocated.
            return unsafe { self.allocator().release_region(start) };
        }
        self.local().add_live(live.cast_signed());
        // SAFETY: The allocator holds the region, which it got from its source; the calling thread
        // uses the heap.
        unsafe { TierSource::<D, Tier>::set_live(start, live) };
    }

    /// Gives a block back to the heap's allocator, and counts it.
    ///
    /// # Safety
    /// The heap's allocator handed out the block, no large object, which is not used again; the
    /// layout fits it; `region` is as for [`Owner::Heap`](super::block::Owner::Heap).
    #[inline(always)]
    pub(super) unsafe fn deallocate_in(
        self,
        current: Current<'_, D>,
        region: NonNull<u8>,
        block: NonNull<u8>,
        layout: NonZeroLayout,
    ) {
        if !Self::HAS_WINDOW {
            // SAFETY: The caller promises the same of the block and the region.
            unsafe { CacheOf::<D, Tier>::deallocate_in(self.allocator(), region, block, layout) };
            self.count_freed(current);
            return;
        }
        let registers = &current.state().registers;
        if !registers.give_back_last(block, layout.size()) && !registers.give_back_other(block) {
            // SAFETY: The block is the heap's, and in no window.
            unsafe { self.free_outside(region, region != block) };
        }
    }

    /// Gives a block back that is not in the window, counts it, and releases its region if it was
    /// the last there. What other threads free is not counted so, and their region stays with the
    /// heap.
    ///
    /// # Safety
    /// The heap handed out the block, which is not used again and not in the window; its region
    /// begins behind `header`, if it `has_header`.
    #[inline(always)]
    pub(super) unsafe fn free_outside(self, header: NonNull<u8>, has_header: bool) {
        self.local().count_freed();
        if TierSource::<D, Tier>::CUTS
            && has_header
            // SAFETY: The block lies in a region behind a header, which begins there, and is not
            // the window; the calling thread uses the heap.
            && let Some(region) = unsafe { TierSource::<D, Tier>::count_freed_behind(header) }
        {
            // SAFETY: The region is the heap's, and no block in it is allocated.
            unsafe { self.release_region(region) };
        }
    }

    /// # Safety
    /// The region is one of the heap's, and no block in it is allocated.
    #[cold]
    #[inline(never)]
    unsafe fn release_region(self, region: NonNull<u8>) {
        self.note_held();
        // SAFETY: The allocator holds the region, in which no block is allocated.
        unsafe { self.allocator().release_region(region) };
    }

    /// Releases the region of the window, if no block in it is allocated: of a heap that is
    /// retired.
    pub(super) fn release_empty_window(self) {
        if Self::HAS_WINDOW
            && self.local().window_live() == 0
            && let Some(start) = NonNull::new(self.allocator().window().start)
        {
            // SAFETY: The allocator holds the region, and no block in it is allocated.
            unsafe { self.allocator().release_region(start) };
        }
    }

    /// Counts a block that the heap's allocator handed out.
    #[inline(always)]
    pub(super) fn count_allocated(self, current: Current<'_, D>) {
        if Self::IN_REGISTERS {
            current.state().registers.count_allocated();
        } else {
            self.local().count_allocated();
        }
    }

    /// Counts a block that its user freed, in the window if there is one.
    #[inline(always)]
    fn count_freed(self, current: Current<'_, D>) {
        if Self::IN_REGISTERS {
            current.state().registers.count_freed();
        } else {
            self.local().count_freed();
        }
    }

    /// Counts a large object that the heap handed out.
    pub(super) fn count_large_allocated(self, current: Current<'_, D>) {
        if Self::HAS_WINDOW { self.local().count_allocated() } else { self.count_allocated(current) }
    }

    /// Counts a large object that the heap's user freed.
    pub(super) fn count_large_freed(self, current: Current<'_, D>) {
        if Self::HAS_WINDOW { self.local().count_freed() } else { self.count_freed(current) }
    }
}
