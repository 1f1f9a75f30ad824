//! Free: the fast paths first, beneath them what each falls back on.
//!
//! ```text
//!   free_entry --- thread cache knows the block's slab ----> its list (and a slab transition)
//!     | another tier is current
//!   free_closed_entry --- window of the heap entered last -> counted; the last block makes room
//!     | elsewhere
//!   free_uncached --- the page map says whose block it is
//!     |-- a heap that this thread uses ----> free_locally
//!     |-- another heap --------------------> remote cache, or free_remotely: its slab, or its heap
//!     |-- a large object ------------------> free_large
//!     `-- no heap's -----------------------> global tier
//! ```
//!
//! What is current decides nothing: it only tells whether a free is local or remote.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::NonNull;

use super::allocator::{
    Coroutine, Declaration, HeapsOf, PolicyOf, SwitchableAllocator, bumps, has_thread_cache, large_memory,
};
use super::block::{OwnedBlock, Owner};
use super::control::{ControlRef, Record};
use super::current::{Current, InUse};
use super::declare::{Policy, TierSet};
use super::heap_ref::UsedHeap;
use super::tier_source::header_owner;
use crate::alloc::{LocalAllocator, Pushed, ThreadCache, ThreadCacheFor};
use crate::layout::NonZeroLayout;
use crate::page_map::{Entry, tag};

impl<D: Declaration> SwitchableAllocator<D> {
    /// The entry point of `GlobalAlloc::dealloc`, as `allocate_entry`.
    ///
    /// # Safety
    /// As [`Allocator::deallocate`](crate::Allocator::deallocate); size and alignment are those of
    /// the layout, but for a size of zero, which stands for one byte.
    #[inline(never)]
    pub(super) unsafe fn free_entry(block: *mut u8, size: usize, align: usize) {
        if !has_thread_cache::<D>() || !Self::current_thread().thread_cache.is_open() {
            // SAFETY: The caller's block, which it gives up.
            return unsafe { Self::free_closed_entry(block, size, align) };
        }
        // SAFETY: The block was allocated, so it is not null.
        let block = unsafe { NonNull::new_unchecked(block) };
        // SAFETY: The caller owns the block, and gives it up.
        if unsafe { !D::allocator().push_cached(block, size.max(1)) } {
            // SAFETY: The caller owns the block, which was allocated with that layout.
            unsafe { Self::free_uncached_entry(block, size, align) };
        }
    }

    /// The same while another tier than the thread tier is current: in nearly every case, that of
    /// the block's heap.
    ///
    /// # Safety
    /// As [`free_entry`](Self::free_entry).
    #[inline(never)]
    unsafe fn free_closed_entry(block: *mut u8, size: usize, align: usize) {
        if bumps::<D, Coroutine>() {
            let current = Self::current_thread();
            // SAFETY: The block was allocated, so it is not null.
            let block = unsafe { NonNull::new_unchecked(block) };
            if current.registers.give_back_last(block, size) {
                D::allocator().count_given_back(current, size);
                return;
            }
        }
        // SAFETY: The caller's block, which it gives up.
        unsafe { Self::free_inside_entry(block, size, align) };
    }

    /// The same for a block that is not the last one of the heap entered last.
    ///
    /// # Safety
    /// As [`free_entry`](Self::free_entry).
    #[inline(never)]
    unsafe fn free_inside_entry(block: *mut u8, size: usize, align: usize) {
        let (allocator, current) = (D::allocator(), Self::current_thread());
        // SAFETY: The block was allocated, so it is not null.
        let address = unsafe { NonNull::new_unchecked(block) };
        if bumps::<D, Coroutine>() {
            if current.registers.give_back_other(address) {
                allocator.count_given_back(current, size);
                return;
            }
            if current.registers.hold_a_window() {
                // SAFETY: The caller's block, which it gives up.
                return unsafe { Self::free_near_entry(block, size, align) };
            }
        }
        // SAFETY: As above.
        unsafe { Self::free_far_entry(block, size, align) };
    }

    /// The same for a block outside of the window: of another region of that heap, or of anybody.
    ///
    /// # Safety
    /// As [`free_entry`](Self::free_entry).
    #[inline(never)]
    unsafe fn free_near_entry(block: *mut u8, size: usize, align: usize) {
        let current = Self::current_thread();
        // SAFETY: The block was allocated, so it is not null.
        let address = unsafe { NonNull::new_unchecked(block) };
        let entry = D::page_map().get(block.addr());
        if entry.tag() == tag::MASKED
            // SAFETY: The map gave the entry, for the slice in which the allocated block lies.
            && current.context().is_in(unsafe { header_owner(entry, address) })
            && let Some(heap) = current.heap_entered_last()
        {
            // SAFETY: The heap handed out the block, which is given up. It is in no window, and its
            // entry leads to the header of its region.
            unsafe { heap.free_outside(entry.region_of(address), true) };
            D::allocator().count_bytes_freed(heap, current, size.max(1));
            return;
        }
        // SAFETY: The caller's block, which it gives up.
        unsafe { Self::free_far_entry(block, size, align) };
    }

    /// The same for a block of another heap, or of the global tier.
    ///
    /// # Safety
    /// As [`free_entry`](Self::free_entry).
    #[inline(never)]
    unsafe fn free_far_entry(block: *mut u8, size: usize, align: usize) {
        // SAFETY: The block was allocated, so it is not null.
        let address = unsafe { NonNull::new_unchecked(block) };
        // SAFETY: The caller owns the block, and gives it up.
        if unsafe { !D::allocator().push_cached(address, size.max(1)) } {
            // SAFETY: The caller owns the block, which was allocated with that layout.
            unsafe { Self::free_uncached_entry(address, size, align) };
        }
    }

    /// Counts the bytes of a block that the registers took back.
    #[inline(always)]
    fn count_given_back(&self, current: Current<'_, D>, size: usize) {
        if PolicyOf::<D>::ACCOUNTING
            && let Some(heap) = current.heap_entered_last()
        {
            self.count_bytes_freed(heap, current, size.max(1));
        }
    }

    /// As [`free_uncached`](Self::free_uncached), out of line: the arguments stay in the registers
    /// that they came in.
    ///
    /// # Safety
    /// As [`free_entry`](Self::free_entry).
    #[inline(never)]
    unsafe fn free_uncached_entry(block: NonNull<u8>, size: usize, align: usize) {
        // SAFETY: The caller owns the block, which was allocated with that layout.
        unsafe { Self::free_of_layout(block, size, align) };
    }

    /// # Safety
    /// As [`free_entry`](Self::free_entry).
    #[inline(always)]
    unsafe fn free_of_layout(block: NonNull<u8>, size: usize, align: usize) {
        // SAFETY: The caller promises that there is such a layout.
        let layout = unsafe { Layout::from_size_align_unchecked(size, align) };
        match NonZeroLayout::new(layout) {
            // SAFETY: The caller owns the block, which was allocated with this layout.
            Some(layout) => D::allocator().free_uncached(unsafe { OwnedBlock::new(block, layout) }),
            // SAFETY: As above.
            None => unsafe { D::allocator().free_one_byte(block, layout) },
        }
    }

    /// Frees a block of any tier.
    ///
    /// # Safety
    /// As [`Allocator::deallocate`](crate::Allocator::deallocate).
    #[inline(never)]
    pub(super) unsafe fn free_block(&self, block: NonNull<u8>, layout: NonZeroLayout) {
        if bumps::<D, Coroutine>() {
            let current = Self::current_thread();
            let registers = &current.registers;
            if registers.give_back_last(block, layout.size()) || registers.give_back_other(block) {
                self.count_given_back(current, layout.size());
                return;
            }
        }
        // SAFETY: The caller owns the block, and gives it up; the registers did not take it.
        if unsafe { !self.push_cached(block, layout.size()) } {
            // SAFETY: As above; the cache did not take the block.
            self.free_uncached(unsafe { OwnedBlock::new(block, layout) });
        }
    }

    /// Frees a block of the thread's heap, if the thread cache knows its slab; whether it does.
    ///
    /// # Safety
    /// The caller owns the block and, if the answer is `true`, gave it up.
    #[inline(always)]
    pub(super) unsafe fn push_cached(&self, block: NonNull<u8>, bytes: usize) -> bool {
        let current = Self::current_thread();
        // SAFETY: The thread's heap alone uses the cache, from when the thread has it until
        // `detach`; the caller gives the block up.
        let pushed = unsafe { current.thread_cache.push(block) };
        if pushed == Pushed::Elsewhere {
            return false;
        }
        self.count_pushed(current, bytes);
        if let Pushed::Transition(slab) = pushed {
            self.slab_transition(slab);
        }
        true
    }

    /// Has the thread's heap do what the thread cache's last push asked for.
    #[cold]
    #[inline(never)]
    fn slab_transition(&self, slab: NonNull<()>) {
        let current = Self::current_thread();
        let Some(heap) = current.thread_heap() else { return };
        // SAFETY: The cache is the calling thread's, whose heap alone uses it, and asked just now.
        unsafe { current.thread_cache.transition(heap.allocator(), slab) };
        heap.recount();
        self.sweep_later(heap.control());
    }

    /// Frees a block that the thread cache did not take.
    #[inline(always)]
    fn free_uncached(&self, block: OwnedBlock<D>) {
        let current = Self::current_thread();
        if !bumps::<D, Coroutine>()
            && let Some(heap) = current.coroutine_heap()
            && heap.allocator().owns_at_hand(block.address())
        {
            // An allocator that knows its blocks has no slabs, so that the region does not matter.
            let region = block.address();
            // SAFETY: The block lies in a region of the heap, which therefore handed it out.
            unsafe { self.free_locally(heap, region, block) };
            return;
        }
        let entry = block.entry();
        match entry.tag() {
            tag::MASKED => self.free_of(block.masked_owner(entry), block),
            tag::GLOBAL => self.free_globally(block),
            // SAFETY: The block is owned, and given up; the entry is its own.
            _ => unsafe { self.free_by_entry(entry, block.address(), block.layout()) },
        }
    }

    #[inline(always)]
    fn free_globally(&self, block: OwnedBlock<D>) {
        self.count_freed_globally(Self::current_thread(), block.layout());
        // SAFETY: The block is in no slice of ours, so the global tier allocated it, with this
        // layout.
        unsafe { self.tiers().global().dealloc(block.address().as_ptr(), block.layout().layout()) };
    }

    /// Frees a block of a heap that has whole slices, or a large object. The arguments stay in
    /// registers.
    ///
    /// # Safety
    /// As [`OwnedBlock::new`]; the entry is the block's, and direct or large.
    #[inline(never)]
    unsafe fn free_by_entry(&self, entry: Entry, block: NonNull<u8>, layout: NonZeroLayout) {
        // SAFETY: The caller owns the block, and gives it up.
        let block = unsafe { OwnedBlock::new(block, layout) };
        self.free_of(block.unmasked_owner(entry), block);
    }

    /// Frees a block, whose owner the page map knows.
    #[inline(always)]
    fn free_of(&self, owner: Owner, block: OwnedBlock<D>) {
        match owner {
            Owner::Heap { control, region } => self.free_in(control, region, block),
            // SAFETY: The record is that of the block, which is owned and given up.
            Owner::Large(record) => unsafe { self.free_large(record, block.layout()) },
            Owner::Global => self.free_globally(block),
        }
    }

    /// Frees a block of a heap, locally or remotely. `region` is as for
    /// [`ThreadCacheFor::deallocate_in`].
    #[inline(always)]
    fn free_in(&self, owner: ControlRef, region: NonNull<u8>, block: OwnedBlock<D>) {
        let current = Self::current_thread();
        match current.in_use(owner) {
            // SAFETY: The heap handed the block out, which the page map said.
            InUse::Coroutine(heap) => unsafe { self.free_locally(heap, region, block) },
            // SAFETY: As above.
            InUse::Thread(heap) => unsafe { self.free_locally(heap, region, block) },
            InUse::Elsewhere => {
                let (block, layout) = (block.address(), block.layout());
                // SAFETY: The heap handed the block out, which is given up.
                if !has_thread_cache::<D>() || unsafe { !current.keep_next(owner, region, block, layout) } {
                    // SAFETY: As above.
                    unsafe { self.free_remotely(owner, region, block, layout) };
                }
            }
        }
    }

    /// Frees a block of a heap that the calling thread uses.
    ///
    /// # Safety
    /// The heap handed out the block, and `region` is as for [`ThreadCacheFor::deallocate_in`].
    #[inline(always)]
    unsafe fn free_locally<Tier: HeapsOf<D>>(
        &self,
        heap: UsedHeap<'_, D, Tier>,
        region: NonNull<u8>,
        block: OwnedBlock<D>,
    ) {
        let (block, layout) = (block.address(), block.layout());
        if Tier::CACHED {
            // SAFETY: The tier has a thread cache, so the heap is the thread's own, which handed
            // out the block.
            return unsafe { self.push_unknown(region, block, layout) };
        }
        let current = Self::current_thread();
        // SAFETY: The heap's allocator handed out the block, which is given up; the layout fits it.
        unsafe { heap.deallocate_in(current, region, block, layout) };
        self.count_bytes_freed(heap, current, layout.size());
    }

    /// Frees a block of the thread's heap whose slab the thread cache did not know.
    ///
    /// # Safety
    /// The thread's heap handed out the block, which is given up; `layout` fits it, and `region` is
    /// as for [`ThreadCacheFor::deallocate_in`].
    #[inline(never)]
    unsafe fn push_unknown(&self, region: NonNull<u8>, block: NonNull<u8>, layout: NonZeroLayout) {
        let current = Self::current_thread();
        let Some(heap) = current.thread_heap() else { return };
        // SAFETY: The heap handed out the block, and its thread cache is the calling thread's.
        if unsafe { current.thread_cache.push_unknown(heap.allocator(), region, block, layout) } {
            heap.recount();
            self.sweep_later(heap.control());
            self.count_pushed(current, layout.size());
        } else {
            // SAFETY: As above; the block was not taken.
            unsafe { self.free_remotely(heap.control(), region, block, layout) };
        }
    }

    /// Frees a large object.
    ///
    /// # Safety
    /// The record is that of a large object, which is given up; `layout` fits it.
    #[cold]
    #[inline(never)]
    unsafe fn free_large(&self, record: NonNull<Record>, layout: NonZeroLayout) {
        // SAFETY: The record is alive until it is released below.
        let owner = unsafe { record.as_ref() }.control;
        // SAFETY: The object is given up.
        unsafe { self.large.release(&large_memory::<D>(), record) };
        let current = Self::current_thread();
        match current.in_use(owner) {
            InUse::Coroutine(heap) => self.count_large_freed(heap, current, layout),
            InUse::Thread(heap) => self.count_large_freed(heap, current, layout),
            InUse::Elsewhere => {
                self.count_remote_bytes(owner, 1, layout.size());
                // SAFETY: The object was a block of that heap.
                let frees = unsafe { owner.return_blocks(None, 1) };
                self.after_remote_frees(owner, frees);
            }
        }
    }

    /// Frees what `allocate_one_byte` gave.
    ///
    /// # Safety
    /// It did, and the block is not used again.
    #[cold]
    #[inline(never)]
    unsafe fn free_one_byte(&self, block: NonNull<u8>, layout: Layout) {
        if let Ok(layout) = NonZeroLayout::at_least_one(layout) {
            // SAFETY: The block was allocated with this layout.
            unsafe { self.free_block(block, layout) };
        }
    }
}
