//! The part of an allocator that a thread keeps in its own static storage.
//!
//! An allocation pops a list whose address is known when the program is linked. It follows no
//! pointer to find the list, and an empty list, one that was never filled and a closed cache look
//! the same.

use core::ptr::NonNull;

use super::LocalAllocator;
#[cfg(feature = "std")]
use super::{Round, Swept};
use crate::error::AllocError;
use crate::layout::NonZeroLayout;

/// What a thread of the thread tier keeps in static storage for its heap's allocator.
///
/// An allocator *uses* a thread cache from the first time that a method of [`ThreadCacheFor`] is
/// given both, until [`flush`](ThreadCacheFor::flush). Meanwhile no other allocator uses that
/// cache, the allocator uses no other, and it allocates and frees through the cache only; it is
/// neither dropped nor reset, recycled, trimmed or asked for its live blocks.
///
/// # Safety
/// For the implementor:
/// - A block that [`pop`](Self::pop) gives was put there by the allocator that uses the cache, and
///   is given once.
/// - [`push`](Self::push) takes a block only if it belongs to that allocator.
/// - While the cache is closed, it serves no size and `pop` gives nothing.
/// - None of the methods unwinds.
pub unsafe trait ThreadCache: 'static {
    /// Whether the cache can hold anything.
    const PRESENT: bool;

    /// A closed cache that no allocator uses.
    const EMPTY: Self;

    /// Opens or closes the cache for [`pop`](Self::pop).
    fn open(&self, open: bool);

    /// Whether the cache is open.
    fn is_open(&self) -> bool;

    /// Whether [`pop`](Self::pop) serves blocks of `size` bytes: `false` for none, for a size that
    /// is not common, and while the cache is closed.
    fn serves(&self, size: usize) -> bool;

    /// Whether a block of one of these sizes, which the cache [serves](Self::serves), aligned to at
    /// most 16 bytes, is as good for the other.
    fn alike(&self, size: usize, other: usize) -> bool;

    /// Takes a block of at least `size` bytes at a multiple of `align`, a power of two, if the
    /// cache [serves](Self::serves) that size and holds one, and the alignment is common; null
    /// otherwise.
    ///
    /// # Safety
    /// The cache was used as is said [above](Self).
    unsafe fn pop(&self, size: usize, align: usize) -> *mut u8;

    /// Whether [`push`](Self::push) would take the block.
    fn knows(&self, block: NonNull<u8>) -> bool;

    /// Gives a block back, if a few instructions can tell that it belongs to the allocator that
    /// uses the cache.
    ///
    /// # Safety
    /// The cache was used as is said [above](Self). The block is allocated, by whichever allocator.
    /// If the answer is not [`Pushed::Elsewhere`], the caller gave the block up.
    unsafe fn push(&self, block: NonNull<u8>) -> Pushed;
}

/// What became of a block in [`ThreadCache::push`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// The cache took it.
    Taken,
    /// The cache took it, and a slab of the allocator becomes partly free or empty by that: call
    /// [`ThreadCacheFor::transition`] with this value.
    Transition(NonNull<()>),
    /// The cache did not take it.
    Elsewhere,
}

/// What a thread cache does together with the allocator `A` that uses it, beyond the fast paths of
/// [`ThreadCache`].
///
/// The default bodies are those of an allocator that keeps nothing near its thread and whose
/// regions the tier may begin with a header of its own.
///
/// # Safety
/// For the implementor:
/// - With [`SLABS`](Self::SLABS), every region is asked for with a size that is a power of two of
///   at least 4 KiB and an alignment equal to the size; the allocator never touches the first 16
///   bytes of what is returned, and no block covers them.
/// - With a cache that is [`PRESENT`](ThreadCache::PRESENT): `SLABS` and
///   [`LocalAllocator::REUSES_BLOCKS`] are true; what the cache gives are blocks of the allocator
///   that uses it, as if [`allocate`](super::Allocator::allocate) had given them; after
///   [`flush`](Self::flush) the cache takes and gives nothing, and the sum of all that
///   [`counted`](Self::counted) gave since the allocator was made or recycled is the number of
///   blocks allocated plus the number that [`give_back`](Self::give_back) took.
/// - None of the methods unwinds.
pub unsafe trait ThreadCacheFor<A: LocalAllocator>: ThreadCache {
    /// Whether the allocator's regions are slabs, in which a tier finds room for 16 bytes of its
    /// own.
    const SLABS: bool = false;

    /// Whether the allocator lets go of slabs that have nothing to give, so that
    /// [`give_back`](Self::give_back) is to be tried with blocks that other threads freed. Only
    /// with a cache that is [`PRESENT`](ThreadCache::PRESENT).
    const LETS_GO: bool = false;

    /// Whether the allocator has let go of the slab that a region is, when this looked. Any thread
    /// may ask.
    ///
    /// # Safety
    /// `region` is as for [`deallocate_in`](Self::deallocate_in), and a block of it is the
    /// caller's.
    #[must_use]
    unsafe fn is_let_go(region: NonNull<u8>) -> bool {
        let _ = region;
        false
    }

    /// How often the allocator has let go of slabs, when this looked. Any thread may ask.
    ///
    /// # Safety
    /// The allocator is alive.
    #[must_use]
    unsafe fn times_let_go(allocator: NonNull<A>) -> usize {
        let _ = allocator;
        0
    }

    /// Gives blocks back to the slab in which they lie, if the allocator let go of that; whether it
    /// did. Any thread may call this at any time. The slab's memory may be the source's when this
    /// returns.
    ///
    /// # Safety
    /// The allocator is alive, and any thread may use its source. The blocks are the caller's and
    /// given up, of one slab, as many as `blocks` says, and linked as for a batch of remote frees
    /// from the first to the last of `ends`; `region` is as for
    /// [`deallocate_in`](Self::deallocate_in).
    #[must_use]
    unsafe fn give_back(
        allocator: NonNull<A>,
        region: NonNull<u8>,
        ends: (NonNull<u8>, NonNull<u8>),
        blocks: usize,
    ) -> bool {
        let _ = (allocator, region, ends, blocks);
        false
    }

    /// Whether there may be something to [`sweep`](Self::sweep). Any thread may ask.
    ///
    /// # Safety
    /// The allocator is there, now and later.
    #[cfg(feature = "std")]
    #[must_use]
    unsafe fn is_unswept(allocator: NonNull<A>) -> bool {
        let _ = allocator;
        false
    }

    /// Gives the memory of pages up in which no block of the allocator is allocated. Any thread may
    /// call this at any time.
    ///
    /// # Safety
    /// The allocator is there, now and later, and used through caches; any thread may use its
    /// source. A thread that makes the allocator anew, or lets go of all its slabs, calls
    /// `exclude` of the slabs' sweep for that time.
    #[cfg(feature = "std")]
    #[must_use]
    unsafe fn sweep(allocator: NonNull<A>, round: Round) -> Swept {
        let _ = (allocator, round);
        Swept::default()
    }

    /// Gives a block back to `allocator` without a cache, as
    /// [`deallocate`](super::Allocator::deallocate). With [`SLABS`](Self::SLABS), `region` is the
    /// start of the region that the block lies in, and may access all of it; otherwise it says
    /// nothing.
    ///
    /// # Safety
    /// As `deallocate`; `region` is as above.
    #[inline(always)]
    unsafe fn deallocate_in(allocator: &A, region: NonNull<u8>, block: NonNull<u8>, layout: NonZeroLayout) {
        let _ = region;
        // SAFETY: The caller promises what `deallocate` asks for.
        unsafe { allocator.deallocate(block, layout) };
    }

    /// Allocates from what the cache holds for layouts that [`ThreadCache::pop`] does not serve;
    /// null if it holds nothing.
    ///
    /// # Safety
    /// As [`ThreadCache::pop`].
    unsafe fn pop_uncommon(&self, layout: NonZeroLayout) -> *mut u8 {
        let _ = layout;
        core::ptr::null_mut()
    }

    /// Allocates from `allocator`, and fills the cache.
    ///
    /// # Errors
    /// As [`allocate`](super::Allocator::allocate).
    ///
    /// # Safety
    /// `allocator` uses this cache, and none else, as [`ThreadCache`] says.
    unsafe fn fill(&self, allocator: &A, layout: NonZeroLayout) -> Result<NonNull<u8>, AllocError> {
        allocator.allocate(layout).map(NonNull::cast)
    }

    /// Gives a block back that [`ThreadCache::push`] did not take, and has the cache know its slab;
    /// `false`, and nothing is done, if another thread gives blocks back to that slab just now:
    /// then the caller does so too.
    ///
    /// # Safety
    /// As [`deallocate_in`](Self::deallocate_in) and [`fill`](Self::fill).
    unsafe fn push_unknown(
        &self,
        allocator: &A,
        region: NonNull<u8>,
        block: NonNull<u8>,
        layout: NonZeroLayout,
    ) -> bool {
        // SAFETY: The caller promises what `deallocate_in` asks for.
        unsafe { Self::deallocate_in(allocator, region, block, layout) };
        true
    }

    /// Does what [`Pushed::Transition`] asked for.
    ///
    /// # Safety
    /// As [`fill`](Self::fill); and the cache's last call of `push` gave `slab`.
    unsafe fn transition(&self, allocator: &A, slab: NonNull<()>) {
        let _ = (allocator, slab);
    }

    /// Returns all that the cache holds to `allocator`: another thread is about to use it, or
    /// somebody wants to know what is allocated.
    ///
    /// # Safety
    /// As [`fill`](Self::fill).
    unsafe fn flush(&self, allocator: &A) {
        let _ = allocator;
    }

    /// Lets go of all slabs of which blocks are allocated, and gives the others back, but for
    /// `kept` of the shorter ones: the thread ends.
    ///
    /// # Safety
    /// As [`fill`](Self::fill), and nothing was done since the last [`flush`](Self::flush).
    unsafe fn let_go(&self, allocator: &A, kept: u32) {
        let _ = (allocator, kept);
    }

    /// How many blocks more than at the last call are in use or in the cache, as far as `allocator`
    /// has counted; 0 if it does not count.
    fn counted(allocator: &A) -> isize {
        let _ = allocator;
        0
    }
}

/// In place of a thread cache: the allocator keeps nothing near its thread.
#[derive(Clone, Copy, Debug)]
pub struct NoThreadCache;

// SAFETY: It gives and takes nothing.
unsafe impl ThreadCache for NoThreadCache {
    const PRESENT: bool = false;
    const EMPTY: Self = Self;

    #[inline(always)]
    fn open(&self, _open: bool) {}

    #[inline(always)]
    fn is_open(&self) -> bool {
        false
    }

    #[inline(always)]
    fn serves(&self, _size: usize) -> bool {
        false
    }

    #[inline(always)]
    fn alike(&self, _size: usize, _other: usize) -> bool {
        false
    }

    #[inline(always)]
    unsafe fn pop(&self, _size: usize, _align: usize) -> *mut u8 {
        core::ptr::null_mut()
    }

    #[inline(always)]
    fn knows(&self, _block: NonNull<u8>) -> bool {
        false
    }

    #[inline(always)]
    unsafe fn push(&self, _block: NonNull<u8>) -> Pushed {
        Pushed::Elsewhere
    }
}

// SAFETY: There are no slabs, and the cache is not present.
unsafe impl<A: LocalAllocator> ThreadCacheFor<A> for NoThreadCache {}
