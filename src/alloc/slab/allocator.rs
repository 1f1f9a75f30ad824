//! The allocator over the slabs of one heap.

use core::fmt;
use core::ptr::NonNull;

use super::header::Slab;
#[cfg(feature = "std")]
use super::header::place_of_returned;
use super::heap::Heap;
use super::lengths::largest_of;
use super::lists::{AtHand, Lists};
use super::thread_cache::SlabThreadCache;
#[cfg(feature = "std")]
use super::{seen::Round, sweep::Swept};
use crate::alloc::classes::{FINE, STEP, bytes_of, class_of};
use crate::alloc::{
    Allocator, LocalAllocator, Owns, Reset, ResizeInPlace, ThreadCacheFor, in_place_or_elsewhere,
};
use crate::error::{AllocError, SourceError};
use crate::layout::NonZeroLayout;
use crate::ptr;
use crate::size::{BlockSize, U65536};
use crate::source::MemorySource;
#[cfg(feature = "std")]
use crate::sync::Batch;

/// An allocator of blocks up to 32 KiB in slabs of `B` bytes, for one thread at a time: the thread
/// tier of the switchable allocator.
///
/// There are 84 classes: steps of 16 bytes to 1 KiB, then four to each doubling. Slabs of `B` bytes
/// serve classes to `B / 32`, slabs of `4 * B` those to `B / 2`. Alignments beyond 16 bytes, up to
/// the largest class, round the size up to a multiple of the alignment, and beyond 1 KiB to a power
/// of two. Larger requests are refused: the switchable allocator gives those memory of their own.
///
/// Allocating pops a list; freeing pushes on the list of the block's slab and counts down. Out of
/// line, once for as many blocks as fit in a page or more, a class takes the free blocks of its
/// next slab. A slab of which all blocks are free is used for any class of its length; four such
/// slabs (one of the longer ones) are kept, the others go back to the source at once, if it gave
/// them singly.
///
/// The source should give regions of `B` and `4 * B` bytes at multiples of that cheaply, such as an
/// `ArenaSource` of blocks of `B` bytes (then all slabs are `B` bytes, and the largest class is
/// `B / 8`). A region of a source that gives much more than asked for is cut into slabs, which stay
/// until the allocator is [reset](Reset) or dropped; so is, in a tier, a slice of 64 KiB where `B`
/// is less. `B` is at least 4 KiB.
///
/// # Held memory
/// While blocks are allocated, or freed in the order of their age: 1.2 times what is live (up to an
/// eighth of a full slab may be free before it is used again, and up to an eighth of a slab is too
/// short for a block), one slab for each class in use, and the empty slabs that are kept. In slabs
/// of 64 KiB that is at most 9 MiB with all 84 classes in use. A slab stays while one of its blocks
/// is live, so that blocks freed in another order leave up to as many slabs as the most that was
/// live took.
///
/// In the thread tier of a switchable allocator, the thread that frees the last block of a slab
/// gives it to the source at once, even while the owner sleeps. The current slabs, the last four of
/// `B` bytes and the last one of `4 * B` that became full, and slabs of which the owner freed
/// blocks itself wait for the owner. Up to 3/8 of a slab that its heap let go of may be free before
/// it is used again. Of slabs that wait with free blocks, pages without a block are given up while
/// the slab stays, if the source can do that: half a second later if it has a thread, as a pool of
/// the library does, and else when `trim` is called.
///
/// # Misuse
/// A block that is freed twice, or that is none of this allocator's, ends the process if a slow
/// path meets it: when a slab changes its state, when it counts all its blocks free, and when a
/// class gives its blocks back.
///
/// # Examples
/// ```
/// use context_allocator::{Allocator, MmapSource, NonZeroLayout, SlabAllocator};
///
/// let allocator = SlabAllocator::new(MmapSource::new());
/// let layout = NonZeroLayout::from_size_align(100, 8)?;
/// let block = allocator.allocate(layout)?;
/// assert_eq!(block.len(), 112);
/// assert_eq!(allocator.live_blocks(), 1);
/// // SAFETY: Just allocated with this layout, and not used again.
/// unsafe { allocator.deallocate(block.cast(), layout) };
/// assert_eq!(allocator.live_blocks(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SlabAllocator<S: MemorySource, B: BlockSize = U65536> {
    lists: Lists,
    pub(super) heap: Heap<S, B>,
}

// SAFETY: The lists lead to blocks of slabs that this allocator alone uses, wherever it is.
unsafe impl<S: MemorySource + Send, B: BlockSize> Send for SlabAllocator<S, B> {}

impl<S: MemorySource> SlabAllocator<S> {
    /// An allocator over `source` that holds nothing yet, with slabs of 64 KiB.
    pub const fn new(source: S) -> Self {
        Self::new_in(source)
    }
}

impl<S: MemorySource, B: BlockSize> SlabAllocator<S, B> {
    const LARGEST: usize = largest_of(B::BYTES, S::MAX_REGION);

    /// As [`new`](SlabAllocator::new), with slabs of the size that the type names.
    pub const fn new_in(source: S) -> Self {
        Self { lists: Lists::new(), heap: Heap::new(source) }
    }

    /// How many blocks are allocated. Looks at every slab.
    pub fn live_blocks(&self) -> usize {
        self.heap.give_back(self.at_hand());
        self.heap.blocks_out()
    }

    #[inline(always)]
    fn at_hand(&self) -> AtHand<'_, B> {
        AtHand { lists: &self.lists, known: None }
    }

    /// The class of a layout, if there is one.
    #[inline(always)]
    fn class(layout: NonZeroLayout) -> Option<usize> {
        let size = rounded(layout);
        if size > Self::LARGEST { None } else { Some(class_of(size)) }
    }

    /// The header of the slab of a block with that layout; `base` may access the slab.
    #[inline(always)]
    fn slab_of(base: NonNull<u8>, block: NonNull<u8>, layout: NonZeroLayout) -> *mut Slab {
        Slab::of(base, block.addr().get(), Heap::<S, B>::len_of(rounded(layout)))
    }

    /// Frees a block.
    ///
    /// # Safety
    /// As [`Allocator::deallocate`]; `base` may access the block's slab.
    #[inline(always)]
    unsafe fn free_in(&self, base: NonNull<u8>, block: NonNull<u8>, layout: NonZeroLayout) {
        // SAFETY: The caller's promises: the block lies in a slab of the length that its layout's
        // class has.
        let slab = unsafe { &*Self::slab_of(base, block, layout) };
        // SAFETY: The block lies in the slab, and the caller gives it up.
        if unsafe { slab.push(block) } {
            self.heap.transition(self.at_hand(), slab);
        }
    }
}

/// The size in bytes that a layout needs in a class whose blocks lie at multiples of the lowest bit
/// of their size.
#[inline(always)]
const fn rounded(layout: NonZeroLayout) -> usize {
    let (size, align) = (layout.size(), layout.align());
    if align <= STEP {
        return size;
    }
    // A layout's size, rounded up to its alignment, does not overflow; nor does the next power of
    // two of that, being at most 2^63.
    let size = (size + align - 1) & !(align - 1);
    if size <= FINE { size } else { size.next_power_of_two() }
}

// SAFETY: Blocks are carved once from a slab, which is used for nothing else, and are then in use,
// on their slab's list, or on that of their class. A block is as long as its class, and at a
// multiple of the lowest bit of that length, which `rounded` makes sufficient for the layout. A
// free finds the block's slab by its address and its class's length of slabs; every layout that
// fits a block has its class, because `rounded` is the same for sizes between the one asked for and
// the class's, or lies between them.
unsafe impl<S: MemorySource, B: BlockSize> Allocator for SlabAllocator<S, B> {
    #[inline]
    fn allocate(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, AllocError> {
        let class = Self::class(layout).ok_or(AllocError::Source(SourceError::TooLarge))?;
        let block = match NonNull::new(self.lists.pop(class)) {
            Some(block) => block,
            None => self.heap.refill(self.at_hand(), class)?,
        };
        Ok(ptr::bytes(block, bytes_of(class)))
    }

    #[inline(always)]
    unsafe fn deallocate(&self, block: NonNull<u8>, layout: NonZeroLayout) {
        // SAFETY: The caller's promises; the slab that the block was carved from was all the
        // allocator's, and still is.
        unsafe { self.free_in(block, block, layout) };
    }

    /// Gives every slab back of which no block is allocated, those too that are kept for the next
    /// allocations.
    fn trim(&self) -> usize {
        self.heap.trim(self.at_hand())
    }

    in_place_or_elsewhere!(heap);
}

// SAFETY: A block of the same class has the length and the alignment of the new layout already.
unsafe impl<S: MemorySource, B: BlockSize> ResizeInPlace for SlabAllocator<S, B> {
    #[inline]
    unsafe fn grow_in_place(
        &self,
        block: NonNull<u8>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        match (Self::class(old), Self::class(new)) {
            (Some(from), Some(to)) if from == to && block.addr().get() & (new.align() - 1) == 0 => {
                Ok(ptr::bytes(block, bytes_of(to)))
            }
            _ => Err(AllocError::NotInPlace),
        }
    }

    #[inline]
    unsafe fn shrink_in_place(
        &self,
        block: NonNull<u8>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        // SAFETY: The caller's promises: it asks for nothing but the same class.
        unsafe { self.grow_in_place(block, old, new) }
    }
}

// SAFETY: Every block lies in a slab of this allocator, which nobody else has memory in.
unsafe impl<S: MemorySource, B: BlockSize> Owns for SlabAllocator<S, B> {
    /// Looks through all slabs: takes time in proportion to their number.
    fn owns(&self, address: NonNull<u8>) -> bool {
        self.heap.owns(address.addr().get())
    }
}

impl<S: MemorySource, B: BlockSize> Reset for SlabAllocator<S, B> {
    /// Keeps one region.
    fn reset(&mut self) {
        self.lists = Lists::new();
        self.heap.clear();
    }
}

// SAFETY: Nothing is obtained before the first `refill`; `clear` and dropping the heap release all
// regions, each as it was obtained, but for one that `clear` keeps; blocks are at least 16 bytes at
// a multiple of 16, and lie in one slab behind its header. The source is a field that nothing
// changes.
unsafe impl<S: MemorySource + Send, B: BlockSize> LocalAllocator for SlabAllocator<S, B> {
    type Source = S;
    type WithSource<S2: MemorySource + Send> = SlabAllocator<S2, B>;
    type Cache = SlabThreadCache<B>;
    const REUSES_BLOCKS: bool = true;
    const LARGEST: usize = Self::LARGEST;

    fn new_in(source: S) -> Self {
        Self::new_in(source)
    }

    fn source(&self) -> &S {
        self.heap.source()
    }

    #[inline(always)]
    fn allocate_at_hand(&self, layout: NonZeroLayout) -> Option<NonNull<u8>> {
        NonNull::new(self.lists.pop(Self::class(layout)?))
    }

    fn recycle(&mut self) {
        self.reset();
    }
}

// SAFETY: Regions are asked for by the length of a slab, at multiples of it, and cut at multiples
// of it; the header leaves out the first 16 bytes. For the cache see its file; the heap adds up
// what slabs give out and get back, and `flush` makes that exact.
unsafe impl<S, B> ThreadCacheFor<SlabAllocator<S, B>> for SlabThreadCache<B>
where
    S: MemorySource + Send,
    B: BlockSize,
{
    const SLABS: bool = true;
    #[cfg(feature = "std")]
    const LETS_GO: bool = true;

    #[inline(always)]
    unsafe fn deallocate_in(
        allocator: &SlabAllocator<S, B>,
        region: NonNull<u8>,
        block: NonNull<u8>,
        layout: NonZeroLayout,
    ) {
        // SAFETY: The caller promises what `deallocate` asks for, and that `region` may access the
        // block's slab.
        unsafe { allocator.free_in(region, block, layout) };
    }

    #[inline]
    unsafe fn pop_uncommon(&self, layout: NonZeroLayout) -> *mut u8 {
        SlabAllocator::<S, B>::class(layout).map_or(core::ptr::null_mut(), |class| self.lists.pop(class))
    }

    #[inline]
    unsafe fn fill(
        &self,
        allocator: &SlabAllocator<S, B>,
        layout: NonZeroLayout,
    ) -> Result<NonNull<u8>, AllocError> {
        let class = SlabAllocator::<S, B>::class(layout).ok_or(AllocError::TooLarge)?;
        match NonNull::new(self.lists.pop(class)) {
            Some(block) => Ok(block),
            None => allocator.heap.refill(self.at_hand(), class),
        }
    }

    #[inline(always)]
    unsafe fn push_unknown(
        &self,
        allocator: &SlabAllocator<S, B>,
        region: NonNull<u8>,
        block: NonNull<u8>,
        layout: NonZeroLayout,
    ) -> bool {
        // SAFETY: The caller gives back a block of this allocator that fits the layout, so it lies
        // in a slab of the length that the layout's class has.
        let slab = unsafe { &*SlabAllocator::<S, B>::slab_of(region, block, layout) };
        let Some(came_back) = allocator.heap.reclaim(slab) else { return false };
        slab.check_counts();
        slab.check_block(block.addr().get(), class_of(rounded(layout)));
        self.known.insert(block.addr().get(), slab);
        // SAFETY: The block lies in the slab, and the caller gives it up.
        let transition = unsafe { slab.push(block) };
        if came_back {
            allocator.heap.place(self.at_hand(), slab);
        } else if transition {
            allocator.heap.transition(self.at_hand(), slab);
        }
        true
    }

    #[cfg(feature = "std")]
    #[inline(always)]
    unsafe fn is_let_go(region: NonNull<u8>) -> bool {
        // SAFETY: A region begins with a slab, which stays while a block of it is out.
        unsafe { place_of_returned(region).as_ref() }.is_let_go()
    }

    #[cfg(feature = "std")]
    unsafe fn times_let_go(allocator: NonNull<SlabAllocator<S, B>>) -> usize {
        // SAFETY: The allocator is alive, and any thread may reach this field.
        unsafe { &(*allocator.as_ptr()).heap.returned }.times()
    }

    #[cfg(feature = "std")]
    unsafe fn give_back(
        allocator: NonNull<SlabAllocator<S, B>>,
        region: NonNull<u8>,
        (first, last): (NonNull<u8>, NonNull<u8>),
        blocks: usize,
    ) -> bool {
        let batch = Batch { first: first.cast(), last: last.cast() };
        // SAFETY: The blocks are the caller's, and written as such.
        let Some(layout) = (unsafe { batch.first.as_ref() }).layout() else { return false };
        let slab = SlabAllocator::<S, B>::slab_of(region, first, layout);
        // SAFETY: The allocator is alive.
        let heap = unsafe { &raw const (*allocator.as_ptr()).heap };
        // SAFETY: The caller promises all of that; a block of that layout lies in a slab of that
        // length.
        unsafe { Heap::return_blocks(heap, slab, batch, blocks) }
    }

    #[cfg(feature = "std")]
    unsafe fn is_unswept(allocator: NonNull<SlabAllocator<S, B>>) -> bool {
        // SAFETY: The caller promises that the allocator is there.
        let heap = unsafe { &raw const (*allocator.as_ptr()).heap };
        // SAFETY: As above.
        unsafe { Heap::is_unswept(heap) }
    }

    #[cfg(feature = "std")]
    unsafe fn sweep(allocator: NonNull<SlabAllocator<S, B>>, round: Round) -> Swept {
        // SAFETY: The caller promises that the allocator is there.
        let heap = unsafe { &raw const (*allocator.as_ptr()).heap };
        // SAFETY: The heap stays where the allocator does, which is used through caches, over a
        // source for any thread, and made anew under `exclude`: the contract of `sweep` here.
        unsafe { Heap::sweep(heap, round) }
    }

    #[cfg(feature = "std")]
    unsafe fn let_go(&self, allocator: &SlabAllocator<S, B>, kept: u32) {
        allocator.heap.let_go_of_all(self.at_hand(), kept);
    }

    unsafe fn transition(&self, allocator: &SlabAllocator<S, B>, slab: NonNull<()>) {
        // SAFETY: The cache got it from a reference to a slab's header, and nothing happened to the
        // slab since.
        let slab = unsafe { slab.cast::<Slab>().as_ref() };
        allocator.heap.transition(self.at_hand(), slab);
    }

    unsafe fn flush(&self, allocator: &SlabAllocator<S, B>) {
        allocator.heap.give_back(self.at_hand());
        allocator.heap.forget_thread(&self.known);
    }

    fn counted(allocator: &SlabAllocator<S, B>) -> isize {
        allocator.heap.counted()
    }
}

impl<S: MemorySource, B: BlockSize> fmt::Debug for SlabAllocator<S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlabAllocator").field("slab_bytes", &B::BYTES).finish_non_exhaustive()
    }
}

#[cfg(all(test, feature = "std", not(loom)))]
#[path = "tests.rs"]
mod tests;
