//! Blocks that are freed where their heap is not used: on another thread than its, or when its
//! thread has ended.
//!
//! ```text
//!   keep_next, free_remotely --> remote cache --> send --> the slab, if its heap let go of it
//!                                                   `----> the heap's list --> collect_remote
//! ```
//!
//! Each such block is counted in its heap's balance, after it was given to its slab or pushed on
//! the list: a heap whose blocks are all counted has let go of no slab any more, but for those of
//! which a block is on the list.

use core::ptr::NonNull;

use super::allocator::{
    CacheOf, Coroutine, Declaration, HeapAllocator, HeapsOf, SwitchableAllocator, Thread,
};
use super::balance::Frees;
use super::control::{ControlRef, HeapTier, Phase};
use super::current::Current;
use super::heap_ref::{HeapRef, UsedHeap};
use super::heaps::FREED_TWICE;
use super::remote_cache::RemoteBatch;
use crate::alloc::{LocalAllocator, Pushed, ThreadCache, ThreadCacheFor};
use crate::layout::NonZeroLayout;
use crate::misuse;
use crate::sync::Batch;

const NO_HEAP: &str = "a block was freed again after the last one of its heap";

/// Whether heaps of the thread tier let go of slabs.
const fn lets_go<D: Declaration>() -> bool {
    <CacheOf<D, Thread> as ThreadCacheFor<HeapAllocator<D, Thread>>>::LETS_GO
}

/// The region of a block of the declaration's, by the page map: what may access its slab.
#[inline(always)]
fn region_of<D: Declaration>(block: NonNull<u8>) -> NonNull<u8> {
    D::page_map().get(block.addr().get()).region_of(block)
}

/// The allocator of a heap of the thread tier, which any thread may ask what is let go of.
///
/// # Safety
/// The control block is of the thread tier of `D`.
#[inline(always)]
pub(super) unsafe fn allocator_of<D: Declaration>(owner: ControlRef) -> NonNull<HeapAllocator<D, Thread>> {
    // SAFETY: The tier is the one that the caller names, and pools make an allocator with each
    // control block.
    let heap: HeapRef<D, Thread> = unsafe { HeapRef::new(owner) };
    // SAFETY: It lies in the control block.
    unsafe { NonNull::new_unchecked(heap.allocator()) }
}

/// Whether a heap of the thread tier let go of the slab that a region is.
///
/// # Safety
/// As [`ThreadCacheFor::is_let_go`].
#[inline(always)]
unsafe fn is_let_go<D: Declaration>(region: NonNull<u8>) -> bool {
    // SAFETY: The region holds a block of the caller's, so that it is not released meanwhile.
    lets_go::<D>() && unsafe { CacheOf::<D, Thread>::is_let_go(region) }
}

impl<D: Declaration> Current<'_, D> {
    /// Keeps a block for its slab or its heap, if that has a slot with room; whether it does.
    ///
    /// # Safety
    /// The heap handed the block out, in that region; it is given up, if the answer is `true`.
    #[inline(always)]
    pub(super) unsafe fn keep_next(
        self,
        owner: ControlRef,
        region: NonNull<u8>,
        block: NonNull<u8>,
        layout: NonZeroLayout,
    ) -> bool {
        let cache = &self.remote_cache;
        let heap = owner.as_ptr().cast();
        // Slots are for heaps of the thread tier and their slabs: one that is for this heap tells
        // that the region is a slab.
        // SAFETY: The block is the caller's.
        let home = if cache.is_for(heap) && unsafe { !is_let_go::<D>(region) } { heap } else { region };
        // SAFETY: The block is given up; the allocator of the thread tier reuses blocks.
        unsafe { cache.put_next(home, block, layout) }
    }
}

/// Whether the allocator of a tier has a use for a freed block.
const fn reuses_blocks<D: Declaration, Tier: HeapsOf<D>>() -> bool {
    <HeapAllocator<D, Tier> as LocalAllocator>::REUSES_BLOCKS
}

impl<D: Declaration> SwitchableAllocator<D> {
    /// Frees a block of a heap that the calling thread does not use, or of a slab that another
    /// thread holds.
    ///
    /// # Safety
    /// The heap handed out the block, which is no large object and is given up; `layout` fits it,
    /// and `region` is as for [`ThreadCacheFor::deallocate_in`].
    #[cold]
    #[inline(never)]
    pub(super) unsafe fn free_remotely(
        &self,
        owner: ControlRef,
        region: NonNull<u8>,
        block: NonNull<u8>,
        layout: NonZeroLayout,
    ) {
        let reused = match owner.tier {
            HeapTier::Coroutine => reuses_blocks::<D, Coroutine>(),
            HeapTier::Thread => reuses_blocks::<D, Thread>(),
        };
        misuse::check(owner.phase() != Phase::Free, NO_HEAP, block.addr().get());
        let current = Self::current_thread();
        if reused && owner.tier == HeapTier::Thread && self.armed(current) {
            // SAFETY: A block of the region is the caller's.
            let home = if unsafe { is_let_go::<D>(region) } { region } else { owner.as_ptr().cast() };
            let cache = &current.remote_cache;
            // SAFETY: The block is given up, and an allocator that reuses blocks promises that they
            // have room for a link.
            let batch = unsafe { cache.put(owner, home, || Self::times_let_go(owner), block, layout) };
            if let Some(batch) = batch {
                self.send(batch);
            }
            return;
        }
        // SAFETY: As above.
        let batch = reused.then(|| unsafe { Batch::of_one(block, layout) });
        self.count_remote_bytes(owner, 1, layout.size());
        // SAFETY: The heap handed the block out, which is given up.
        let batch = batch.filter(|&batch| unsafe { !Self::give_back(owner, region, batch, 1) });
        // SAFETY: As above. Blocks that a slab took are counted after that, so that a heap whose
        // blocks are all counted has let go of no slab any more.
        let frees = unsafe { owner.return_blocks(batch, 1) };
        self.after_remote_frees(owner, frees);
    }

    /// Sends a batch to its slab, or to its heap, and counts it. The slab's memory may be the
    /// source's when this returns, and the heap gone.
    fn send(&self, batch: RemoteBatch) {
        let (owner, home, blocks) = (batch.owner(), batch.home(), batch.blocks());
        self.count_remote_bytes(owner, blocks, batch.bytes());
        let is_for_heap = home == owner.as_ptr().cast();
        let for_heap = if is_for_heap && batch.let_go() == Self::times_let_go(owner) {
            Some(batch.batch())
        } else if is_for_heap {
            // SAFETY: `put` and `put_next` took the blocks from a caller who had freed them, for
            // the heap that is their owner.
            unsafe { Self::give_those_let_go(owner, batch.batch()) }
        } else {
            // SAFETY: As above; they are blocks of the slab that is their home.
            Some(batch.batch()).filter(|&batch| unsafe { !Self::give_back(owner, home, batch, blocks) })
        };
        // SAFETY: As above; and as in `free_remotely`.
        let frees = unsafe { owner.return_blocks(for_heap, blocks) };
        self.after_remote_frees(owner, frees);
    }

    /// How often a heap of the thread tier has let go of slabs.
    fn times_let_go(owner: ControlRef) -> usize {
        // SAFETY: Remote caches keep blocks of the thread tier alone.
        let allocator = unsafe { allocator_of::<D>(owner) };
        // SAFETY: Control blocks, and so their allocators, are never unmapped.
        unsafe { CacheOf::<D, Thread>::times_let_go(allocator) }
    }

    /// Gives those of a heap's freed blocks back to their slabs whose slabs the heap let go of
    /// since they were freed; the others.
    ///
    /// # Safety
    /// As [`give_back`](Self::give_back), but that the blocks may be of several slabs.
    unsafe fn give_those_let_go(owner: ControlRef, batch: Batch) -> Option<Batch> {
        let mut stay: Option<Batch> = None;
        let mut rest = Some(batch);
        while let Some(batch) = rest {
            // A slice may hold several regions: blocks of a source that are shorter than it.
            let region = region_of::<D>(batch.first.cast());
            // SAFETY: The blocks are the caller's, and linked.
            let (run, blocks, behind) =
                unsafe { batch.split(|block| region_of::<D>(block.cast()) == region) };
            rest = behind;
            // SAFETY: The run's blocks are the caller's.
            let is_let_go = unsafe { is_let_go::<D>(region) };
            // SAFETY: As above; they lie in one region, which is a slab that was let go of.
            if is_let_go && unsafe { Self::give_back(owner, region, run, blocks) } {
                continue;
            }
            if stay.is_none() && rest.is_none() {
                return Some(run);
            }
            // SAFETY: The run's blocks and those that stay are the caller's.
            stay = Some(unsafe { run.before(stay) });
        }
        stay
    }

    /// Gives freed blocks of one slab back to it, if its heap let go of it; whether it did.
    ///
    /// # Safety
    /// The blocks belong to the heap and lie in that region, were freed, and are the caller's
    /// alone.
    #[inline]
    unsafe fn give_back(owner: ControlRef, region: NonNull<u8>, batch: Batch, blocks: usize) -> bool {
        if !lets_go::<D>() || owner.tier != HeapTier::Thread {
            return false;
        }
        // SAFETY: The control block says so.
        let allocator = unsafe { allocator_of::<D>(owner) };
        let ends = (batch.first.cast(), batch.last.cast());
        // SAFETY: A heap with a block that is not counted as freed is alive; the tier's source is
        // every thread's. The caller promises the rest.
        let given = unsafe { CacheOf::<D, Thread>::give_back(allocator, region, ends, blocks) };
        if given {
            D::allocator().sweep_later(owner);
        }
        given
    }

    /// Sends all batches that this thread keeps.
    pub(super) fn send_all(&self, current: Current<'_, D>) {
        while let Some(batch) = current.remote_cache.take() {
            self.send(batch);
        }
    }

    /// Does what a heap's balance asks for.
    pub(super) fn after_remote_frees(&self, owner: ControlRef, frees: Frees) {
        match frees {
            Frees::Some => {}
            Frees::All => self.last_block_freed(owner),
            Frees::TooMany => misuse::end_process(FREED_TWICE, owner.addr()),
        }
    }

    /// Ends or empties a retired heap whose last block this thread freed.
    #[cold]
    #[inline(never)]
    fn last_block_freed(&self, owner: ControlRef) {
        match owner.tier {
            // SAFETY: The balance made the caller the heap's last, which is of that tier.
            HeapTier::Coroutine => unsafe { self.end_orphan(owner) },
            HeapTier::Thread => self.empty_if_parked(owner),
        }
    }

    /// Gives the blocks that other threads freed back to the heap's allocator; whether there were
    /// any.
    pub(super) fn collect_remote<Tier: HeapsOf<D>>(&self, heap: UsedHeap<'_, D, Tier>) -> bool {
        if !reuses_blocks::<D, Tier>() {
            return false;
        }
        let mut counted = 0;
        let blocks = heap.collect_remote(|block, layout| {
            if let Some(heap) = heap.cached() {
                // SAFETY: The heap is the thread's own; the thread that freed the block gave it up,
                // and it fits the layout that came with it.
                counted += isize::from(unsafe { Self::collect_block(heap, block, layout) });
            } else {
                let region = region_of::<D>(block);
                // SAFETY: As above; the map leads to the block's region.
                unsafe { CacheOf::<D, Tier>::deallocate_in(heap.allocator(), region, block, layout) };
            }
        });
        if Tier::CACHED && blocks > 0 {
            // The allocator counts them as freed, the balance does too; this cancels one of the
            // two.
            heap.local().add_live(counted);
            heap.recount();
        }
        blocks > 0
    }

    /// Gives a block that another thread freed back to the thread's heap, through the thread cache;
    /// whether the allocator counts it. It does not if the heap let go of the block's slab in the
    /// meantime, and another thread holds that.
    ///
    /// # Safety
    /// The heap, which the thread cache is of, handed out the block, and the caller gives it up;
    /// `layout` fits it.
    #[inline(always)]
    unsafe fn collect_block(
        heap: UsedHeap<'_, D, Thread>,
        block: NonNull<u8>,
        layout: NonZeroLayout,
    ) -> bool {
        let cache = &Self::current_thread().state().thread_cache;
        // SAFETY: As in `push_cached`; the caller gives the block up.
        match unsafe { cache.push(block) } {
            Pushed::Taken => {}
            // SAFETY: The cache is the calling thread's, whose heap alone uses it, and asked just
            // now.
            Pushed::Transition(slab) => unsafe { cache.transition(heap.allocator(), slab) },
            Pushed::Elsewhere => {
                let region = region_of::<D>(block);
                // SAFETY: The heap handed out the block; the map leads to its region.
                if !unsafe { cache.push_unknown(heap.allocator(), region, block, layout) } {
                    // SAFETY: As above; the block was not taken.
                    unsafe { Self::give_back_again(heap.control(), region, block, layout) };
                    return false;
                }
            }
        }
        true
    }

    /// Gives the blocks on a heap's list back to their slabs, if the heap let go of those; the
    /// others stay counted as freed, and in their slabs as allocated.
    ///
    /// # Safety
    /// The heap is of the thread tier; it has no block, and no other thread knows it.
    pub(super) unsafe fn return_listed(owner: ControlRef) {
        for (block, layout) in owner.remote.take() {
            // SAFETY: The heap handed out the block, which was freed with that layout.
            unsafe { Self::give_back_again(owner, region_of::<D>(block), block, layout) };
        }
    }

    /// Gives a block, which was returned to its heap and counted, back to its slab, if the heap let
    /// go of that.
    ///
    /// # Safety
    /// The heap handed out the block, in that region, and the caller gives it up; `layout` fits it.
    #[cold]
    unsafe fn give_back_again(
        owner: ControlRef,
        region: NonNull<u8>,
        block: NonNull<u8>,
        layout: NonZeroLayout,
    ) {
        // SAFETY: The block is given up, and an allocator that reuses blocks promises that they
        // have room for a link.
        let batch = unsafe { Batch::of_one(block, layout) };
        // SAFETY: The block is the caller's, and of the heap.
        unsafe { Self::give_back(owner, region, batch, 1) };
    }
}
