//! Growing and shrinking: in place if the block's heap is in use here and has room, else by moving.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{NonNull, null_mut};

use super::allocator::{
    Coroutine, Declaration, HeapsOf, PolicyOf, SwitchableAllocator, bumps, has_thread_cache, large_memory,
};
use super::block::{OwnedBlock, Owner};
use super::control::{HeapTier, Record};
use super::current::{Current, InUse};
use super::declare::{Policy, TierSet};
use super::heap_ref::UsedHeap;
use super::registers::Resized;
use crate::alloc::{LocalAllocator, ResizeInPlace, ThreadCache};
use crate::layout::NonZeroLayout;

/// Of blocks aligned to at most this many bytes, a thread cache tells classes by the size alone.
const COMMON_ALIGN: usize = 16;

impl<D: Declaration> SwitchableAllocator<D> {
    /// The entry point of `GlobalAlloc::realloc`, as `allocate_entry`.
    ///
    /// # Safety
    /// As [`GlobalAlloc::realloc`]; sizes of zero stand for one byte.
    #[inline(never)]
    pub(super) unsafe fn resize_entry(block: *mut u8, size: usize, align: usize, new: usize) -> *mut u8 {
        if has_thread_cache::<D>() && Self::current_thread().thread_cache.is_open() {
            // SAFETY: The caller's promises.
            return unsafe { Self::resize_open_entry(block, size, align, new) };
        }
        if bumps::<D, Coroutine>() {
            // SAFETY: As above.
            return unsafe { Self::resize_closed_entry(block, size, align, new) };
        }
        // SAFETY: As above.
        unsafe { Self::resize_elsewhere_entry(block, size, align, new) }
    }

    /// The same while the thread tier is current: in nearly every case, that of the block's heap.
    ///
    /// # Safety
    /// As [`resize_entry`](Self::resize_entry).
    #[inline(never)]
    unsafe fn resize_open_entry(block: *mut u8, size: usize, align: usize, new: usize) -> *mut u8 {
        let (allocator, cache) = (D::allocator(), &Self::current_thread().state().thread_cache);
        // SAFETY: The block was allocated, so it is not null.
        let address = unsafe { NonNull::new_unchecked(block) };
        // An alignment that is not common may have been served by a larger class than the size's.
        if align <= COMMON_ALIGN && cache.serves(size) && cache.serves(new) && cache.knows(address) {
            if cache.alike(size, new) {
                allocator.count_resized_in_cache(size, new);
                return block;
            }
            // SAFETY: The caller promises that there is such a layout.
            let to = allocator.pop_cached(unsafe { Layout::from_size_align_unchecked(new, align) });
            if !to.is_null() {
                // SAFETY: Both are allocated, so they do not overlap, and have that many bytes.
                unsafe { to.copy_from_nonoverlapping(block, size.min(new)) };
                // SAFETY: The caller owns the block, and gives it up; the cache knows its slab.
                unsafe { allocator.push_cached(address, size) };
                return to;
            }
        }
        // SAFETY: The caller's promises; nothing changed.
        unsafe { Self::resize_elsewhere_entry(block, size, align, new) }
    }

    /// The same while another tier than the thread tier is current: in nearly every case, that of
    /// the block's heap.
    ///
    /// # Safety
    /// As [`resize_entry`](Self::resize_entry).
    #[inline(never)]
    unsafe fn resize_closed_entry(block: *mut u8, size: usize, align: usize, new: usize) -> *mut u8 {
        let current = Self::current_thread();
        if !current.registers.is_open() {
            // SAFETY: The caller's promises.
            return unsafe { Self::resize_elsewhere_entry(block, size, align, new) };
        }
        // SAFETY: The block was allocated, so it is not null.
        let address = unsafe { NonNull::new_unchecked(block) };
        // SAFETY: The caller owns the block, which has that layout.
        let to = match unsafe { current.registers.resize(address, size, align, new) } {
            Resized::InPlace => block,
            Resized::Moved(to) => to.as_ptr(),
            // SAFETY: The caller's promises; nothing changed.
            Resized::No => return unsafe { Self::resize_elsewhere_entry(block, size, align, new) },
        };
        D::allocator().count_resized_at_hand(current, size, new, to == block);
        to
    }

    /// The same for what is not at hand.
    ///
    /// # Safety
    /// As [`resize_entry`](Self::resize_entry).
    #[inline(never)]
    unsafe fn resize_elsewhere_entry(block: *mut u8, size: usize, align: usize, new: usize) -> *mut u8 {
        // A size that is no layout's with this alignment is refused, though it was promised not to
        // come.
        if new > isize::MAX as usize - (align - 1) {
            return null_mut();
        }
        // SAFETY: The block was allocated, so it is not null.
        let block = unsafe { NonNull::new_unchecked(block) };
        // SAFETY: The caller promises that there is such a layout.
        let old = unsafe { Layout::from_size_align_unchecked(size.max(1), align) };
        // SAFETY: The alignment is that of a layout, and the size is not too large for it.
        let new = unsafe { Layout::from_size_align_unchecked(new.max(1), align) };
        let (Some(old), Some(new)) = (NonZeroLayout::new(old), NonZeroLayout::new(new)) else {
            return null_mut();
        };
        // SAFETY: The caller got the block here with this layout.
        unsafe { D::allocator().resize_block(block, old, new) }
    }

    /// Counts a block of the thread's heap that has another size in the same class.
    #[inline(always)]
    fn count_resized_in_cache(&self, old: usize, new: usize) {
        if PolicyOf::<D>::ACCOUNTING
            && let Some(heap) = Self::current_thread().thread_heap()
        {
            self.count_bytes_resized(heap.control(), old, new);
        }
    }

    /// Counts a block that the registers resized, in place or not.
    #[inline(always)]
    fn count_resized_at_hand(&self, current: Current<'_, D>, old: usize, new: usize, in_place: bool) {
        if !PolicyOf::<D>::ACCOUNTING {
            return;
        }
        let (Some(heap), old) = (current.heap_entered_last(), old.max(1)) else { return };
        if in_place {
            self.count_bytes_resized(heap.control(), old, new);
        } else {
            self.count_bytes_allocated(heap, current, new);
            self.count_bytes_freed(heap, current, old);
        }
    }

    /// Grows or shrinks a block; null, and nothing changed, if there is no memory.
    ///
    /// # Safety
    /// As [`Allocator::grow`](crate::Allocator::grow) or
    /// [`Allocator::shrink`](crate::Allocator::shrink).
    #[inline(never)]
    pub(super) unsafe fn resize_block(
        &self,
        block: NonNull<u8>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> *mut u8 {
        // SAFETY: The caller owns the block, and gives it up unless the answer is null.
        let block = unsafe { OwnedBlock::new(block, old) };
        let current = Self::current_thread();
        if let Some(heap) = current.heap_entered_last()
            && (current.registers.holds(block.address())
                || !bumps::<D, Coroutine>() && heap.allocator().owns_at_hand(block.address()))
        {
            // SAFETY: The block lies in a region of the heap, which therefore handed it out.
            return unsafe { self.resize_in(heap, block, new) };
        }
        if has_thread_cache::<D>()
            && current.thread_cache.knows(block.address())
            && let Some(heap) = current.thread_heap()
        {
            // SAFETY: The thread cache knows the block's slab, so it is of the thread's heap.
            return unsafe { self.resize_in(heap, block, new) };
        }
        match block.owner() {
            Owner::Heap { control, .. } => match current.in_use(control) {
                // SAFETY: The heap handed the block out, which the page map said.
                InUse::Coroutine(heap) => unsafe { self.resize_in(heap, block, new) },
                // SAFETY: As above.
                InUse::Thread(heap) => unsafe { self.resize_in(heap, block, new) },
                InUse::Elsewhere => self.move_block(block, self.allocate_block(new), new),
            },
            // SAFETY: The record is that of the block.
            Owner::Large(record) => unsafe { self.resize_large(record, block, new) },
            Owner::Global => self.resize_global(block, new),
        }
    }

    /// Resizes a block of a heap in place, or moves it within the heap.
    ///
    /// # Safety
    /// The heap's allocator handed out the block.
    unsafe fn resize_in<Tier: HeapsOf<D>>(
        &self,
        heap: UsedHeap<'_, D, Tier>,
        block: OwnedBlock<D>,
        new: NonZeroLayout,
    ) -> *mut u8 {
        let (address, old) = (block.address(), block.layout());
        let resized = heap.with_allocator(Self::current_thread(), |allocator| {
            if new.size() >= old.size() {
                // SAFETY: The heap's allocator handed out the block, `old` fits it, and `new` is
                // not smaller.
                unsafe { allocator.grow_in_place(address, old, new) }
            } else {
                // SAFETY: The heap's allocator handed out the block, `old` fits it, and `new` is
                // smaller.
                unsafe { allocator.shrink_in_place(address, old, new) }
            }
        });
        if resized.is_ok() {
            self.count_resized(heap.control(), old, new);
            return address.as_ptr();
        }
        self.move_block(block, self.allocate_again(heap, new), new)
    }

    /// Allocates another block in a heap for one that is to be moved; null if there is no memory.
    #[inline(always)]
    fn allocate_again<Tier: HeapsOf<D>>(
        &self,
        heap: UsedHeap<'_, D, Tier>,
        layout: NonZeroLayout,
    ) -> *mut u8 {
        let current = Self::current_thread();
        if current.allocates_from(heap.control()) {
            return self.allocate_in(heap, current, layout);
        }
        // Another tier is current, and serves what the heap may not have, or has no memory for.
        let block = match Tier::TIER {
            HeapTier::Coroutine => self.allocate_in_again(heap.control(), layout),
            HeapTier::Thread => self.allocate_in(heap, current, layout),
        };
        if block.is_null() { self.allocate_block(layout) } else { block }
    }

    /// Resizes a large object without copying if its source can, or moves it.
    ///
    /// # Safety
    /// The record is that of the block.
    unsafe fn resize_large(
        &self,
        record: NonNull<Record>,
        block: OwnedBlock<D>,
        new: NonZeroLayout,
    ) -> *mut u8 {
        // SAFETY: The object is alive, and so its record.
        let owner = unsafe { record.as_ref() }.control;
        // An object that grows though its heap is not in use here moves to the heap that is.
        let may_grow = !matches!(Self::current_thread().in_use(owner), InUse::Elsewhere);
        // SAFETY: The object is owned, and its old place is given up.
        let resized = unsafe { self.large.resize(&large_memory::<D>(), record, new, may_grow) };
        if let Some(object) = resized {
            self.count_resized(owner, block.layout(), new);
            return object.as_ptr();
        }
        let to = match Self::current_thread().in_use(owner) {
            InUse::Coroutine(heap) => self.allocate_again(heap, new),
            InUse::Thread(heap) => self.allocate_again(heap, new),
            InUse::Elsewhere => self.allocate_block(new),
        };
        self.move_block(block, to, new)
    }

    /// Resizes a block of the global tier.
    fn resize_global(&self, block: OwnedBlock<D>, new: NonZeroLayout) -> *mut u8 {
        let (address, old) = (block.address(), block.layout());
        if old.align() != new.align() {
            return self.move_block(block, self.allocate_global(Self::current_thread(), new), new);
        }
        // SAFETY: The global tier allocated the block with `old`; the size is one of a layout of
        // that alignment.
        let resized = unsafe { self.tiers().global().realloc(address.as_ptr(), old.layout(), new.size()) };
        if !resized.is_null() {
            self.count_resized_globally(old, new);
        }
        resized
    }

    /// Copies what both have from a block to `to`, which was just allocated for `new`, and frees
    /// the block; if `to` is null, nothing.
    #[inline(always)]
    fn move_block(&self, block: OwnedBlock<D>, to: *mut u8, new: NonZeroLayout) -> *mut u8 {
        if to.is_null() {
            return to;
        }
        let (from, old) = (block.address(), block.layout());
        // SAFETY: Both are allocated, so they do not overlap, and each has that many bytes.
        unsafe { to.copy_from_nonoverlapping(from.as_ptr(), old.size().min(new.size())) };
        // SAFETY: The block is owned, and given up.
        unsafe { self.free_block(from, old) };
        to
    }
}
