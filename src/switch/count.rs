//! What is counted at each allocation and each free: blocks by heap and, if the policy asks for it,
//! blocks and bytes by tier.

use super::accounting::Pending;
use super::allocator::{
    Declaration, GLOBAL_INDEX, HeapsOf, PolicyOf, SwitchableAllocator, Thread, tier_index,
};
use super::control::ControlRef;
use super::current::{Current, InUse};
use super::declare::Policy;
use super::heap_ref::UsedHeap;
use super::thread_state::Stage;
use crate::layout::NonZeroLayout;
use crate::sync::atomic::Ordering::Relaxed;

impl<D: Declaration> SwitchableAllocator<D> {
    /// This thread's counters, which are added to the totals when the thread ends.
    #[inline(always)]
    pub(super) fn counters<'a>(&self, current: Current<'a, D>) -> &'a Pending {
        if current.stage() == Stage::New {
            self.armed(current);
        }
        current.pending()
    }

    /// Counts a block that a heap handed out.
    #[inline(always)]
    pub(super) fn count_allocated<Tier: HeapsOf<D>>(
        &self,
        heap: UsedHeap<'_, D, Tier>,
        current: Current<'_, D>,
        layout: NonZeroLayout,
    ) {
        heap.count_allocated(current);
        self.count_bytes_allocated(heap, current, layout.size());
    }

    /// Counts a large object that a heap handed out.
    pub(super) fn count_large_allocated<Tier: HeapsOf<D>>(
        &self,
        heap: UsedHeap<'_, D, Tier>,
        current: Current<'_, D>,
        layout: NonZeroLayout,
    ) {
        heap.count_large_allocated(current);
        self.count_bytes_allocated(heap, current, layout.size());
    }

    /// Counts the bytes of a block that a heap handed out, and the block by tier.
    #[inline(always)]
    pub(super) fn count_bytes_allocated<Tier: HeapsOf<D>>(
        &self,
        heap: UsedHeap<'_, D, Tier>,
        current: Current<'_, D>,
        bytes: usize,
    ) {
        if PolicyOf::<D>::ACCOUNTING {
            heap.local().add_bytes(bytes.cast_signed());
            self.counters(current).allocated(&self.totals, Tier::INDEX, bytes);
        }
    }

    /// Counts a large object that the heap's user freed.
    pub(super) fn count_large_freed<Tier: HeapsOf<D>>(
        &self,
        heap: UsedHeap<'_, D, Tier>,
        current: Current<'_, D>,
        layout: NonZeroLayout,
    ) {
        heap.count_large_freed(current);
        self.count_bytes_freed(heap, current, layout.size());
    }

    /// Counts the bytes of a block that the heap's user freed, and the block by tier.
    #[inline(always)]
    pub(super) fn count_bytes_freed<Tier: HeapsOf<D>>(
        &self,
        heap: UsedHeap<'_, D, Tier>,
        current: Current<'_, D>,
        bytes: usize,
    ) {
        if PolicyOf::<D>::ACCOUNTING {
            heap.local().add_bytes(-bytes.cast_signed());
            self.counters(current).freed(&self.totals, Tier::INDEX, bytes);
        }
    }

    /// Counts a block that the thread cache gave. The allocator counts the blocks.
    #[inline(always)]
    pub(super) fn count_popped(&self, current: Current<'_, D>, bytes: usize) {
        if PolicyOf::<D>::ACCOUNTING {
            self.counters(current).allocated(&self.totals, <Thread as HeapsOf<D>>::INDEX, bytes);
            self.add_thread_bytes(current, bytes.cast_signed());
        }
    }

    /// Counts a block that the thread cache took, or the allocator in its stead.
    #[inline(always)]
    pub(super) fn count_pushed(&self, current: Current<'_, D>, bytes: usize) {
        if PolicyOf::<D>::ACCOUNTING {
            self.counters(current).freed(&self.totals, <Thread as HeapsOf<D>>::INDEX, bytes);
            self.add_thread_bytes(current, -bytes.cast_signed());
        }
    }

    #[inline(always)]
    fn add_thread_bytes(&self, current: Current<'_, D>, bytes: isize) {
        if let Some(heap) = current.thread_heap() {
            heap.local().add_bytes(bytes);
        }
    }

    /// Counts a block that the global tier handed out.
    #[inline(always)]
    pub(super) fn count_allocated_globally(&self, current: Current<'_, D>, layout: NonZeroLayout) {
        if PolicyOf::<D>::ACCOUNTING {
            self.counters(current).allocated(&self.totals, GLOBAL_INDEX, layout.size());
        }
    }

    /// Counts a block that the global tier takes back.
    #[inline(always)]
    pub(super) fn count_freed_globally(&self, current: Current<'_, D>, layout: NonZeroLayout) {
        if PolicyOf::<D>::ACCOUNTING {
            self.counters(current).freed(&self.totals, GLOBAL_INDEX, layout.size());
        }
    }

    /// Counts a block of the global tier that changed its size.
    pub(super) fn count_resized_globally(&self, old: NonZeroLayout, new: NonZeroLayout) {
        if PolicyOf::<D>::ACCOUNTING {
            let change = new.size().cast_signed() - old.size().cast_signed();
            self.counters(Self::current_thread()).changed(&self.totals, GLOBAL_INDEX, change);
        }
    }

    /// Counts a block of a heap that changed its size in place.
    pub(super) fn count_resized(&self, owner: ControlRef, old: NonZeroLayout, new: NonZeroLayout) {
        self.count_bytes_resized(owner, old.size(), new.size());
    }

    /// The same of a block from `old` to `new` bytes.
    pub(super) fn count_bytes_resized(&self, owner: ControlRef, old: usize, new: usize) {
        if !PolicyOf::<D>::ACCOUNTING {
            return;
        }
        let current = Self::current_thread();
        let change = new.cast_signed() - old.cast_signed();
        self.counters(current).changed(&self.totals, tier_index::<D>(owner), change);
        match current.in_use(owner) {
            InUse::Coroutine(heap) => heap.local().add_bytes(change),
            InUse::Thread(heap) => heap.local().add_bytes(change),
            InUse::Elsewhere => {
                owner.remote_bytes.fetch_sub(change.cast_unsigned(), Relaxed);
            }
        }
    }

    /// Counts the bytes of blocks that a thread freed which does not use their heap; before the
    /// blocks are, because the heap may be gone afterwards.
    pub(super) fn count_remote_bytes(&self, owner: ControlRef, blocks: usize, bytes: usize) {
        if PolicyOf::<D>::ACCOUNTING {
            owner.remote_bytes.fetch_add(bytes, Relaxed);
            let index = tier_index::<D>(owner);
            self.counters(Self::current_thread()).freed_several(&self.totals, index, blocks, bytes);
        }
    }
}
