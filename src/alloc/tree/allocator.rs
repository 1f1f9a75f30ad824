//! The allocator: its parts and how it is made.

use core::marker::PhantomData;

use super::free_set::FreeSet;
use super::quick_fit::QuickFit;
use super::spans::Spans;
use super::{KeepApart, Merging, TreeCount};
use crate::size::U32;
use crate::source::MemorySource;

/// An allocator of blocks of any size, which takes the best free one and merges what is freed.
///
/// The smallest free block that is large enough is cut to size. Sizes up to 4 KiB have exact lists;
/// larger free blocks are in `T` red-black trees, each for a range of sizes, ordered by size and
/// address. Every block takes its size rounded up to 16 bytes and nothing else: live blocks have no
/// header. A bitmap takes 1/128 of each region, the region's header about 100 bytes. The allocator
/// itself is about 4.7 KiB large with 32 trees.
///
/// A freed block is merged with its neighbours, but for the last of each size up to 4 KiB: 64 of at
/// most 128 bytes, 8 KiB of up to 512, then 15, and seven from 2 KiB on (5 MiB in all). They wait
/// as they are until a block of their size is wanted, or space is: they are merged before a region
/// is obtained or released and before a request is refused. When 64 of them wait, one more that was
/// freed in the order of addresses is merged together with them. Blocks of at most 512 bytes that
/// would be cut from one of more than 4 KiB are cut several at a time, 1 KiB and a sixteenth of
/// that block at most; the others wait.
///
/// Allocating and freeing take a fixed number of steps for small sizes, otherwise steps in
/// proportion to the logarithm of the number of free blocks, but for what waits: when nothing that
/// is free is large enough, it is merged, the smallest first, until a block is. At worst, before a
/// region is obtained or a request is refused, that is all of it: 3,600 blocks at most, each for
/// some hundred instructions. Where there are many regions, steps are also in proportion to the
/// logarithm of their number. Blocks shrink in place always, and grow in place where what lies
/// behind them is free and large enough.
///
/// Regions come from `S` when they are needed: each is as large as all before it together, from 64
/// KiB to 64 MiB, or as large as a block that would not fit; smaller if the source has no more, as
/// large as its blocks if it has blocks. A region without live blocks is released, but for one:
/// that is kept if it is at most 1 MiB or half of what is held, or if the source gave far more than
/// it was asked for; never if it was obtained for a single large block. Regions need no alignment,
/// and any length will do: a source that gives only one, such as
/// [`RegionSource`](crate::source::RegionSource), makes an allocator of fixed size.
///
/// A request beyond an alignment of 16 takes the best block, or one that has room at any address;
/// failing both, it looks through the free blocks between, 64 of them before a region is obtained
/// and all of them before it is refused.
///
/// Of free blocks beyond 4 KiB the allocator knows how far they are still as the source gave them:
/// `allocate_zeroed` writes only what is not known to be zero. A region that is joined below
/// another forgets it.
///
/// A block beyond 4 KiB that is freed twice, and a small one whose second time is met when what
/// waits is merged, ends the process.
///
/// # Held memory
/// While blocks are allocated, twice what is live and 1 MiB: a region is as long as all others
/// together. While blocks are freed in the order of their age, what is live, and two regions that
/// are not full, which may be three quarters of the most that was held. If blocks of many sizes are
/// freed in any order, 2.1 times the most that was live and 1 MiB, in every workload of
/// `tests/allocators/held.rs`; no bound of that kind holds for every order (J. M. Robson, 1974). A
/// block counts with its alignment, if that is more than its size and no other block fits beside
/// it.
///
/// `T` is a number from `U1` to `U64`. `M` says what becomes of regions that lie one behind the
/// other: [`KeepApart`] or [`MergeAdjacent`](crate::alloc::MergeAdjacent).
///
/// It is for one thread at a time: it can be sent, not shared.
///
/// # Examples
/// ```
/// use context_allocator::{
///     Allocator, MmapSource, MultipleBinarySearchTreeAllocator, NonZeroLayout,
/// };
///
/// let allocator = MultipleBinarySearchTreeAllocator::new(MmapSource::new());
/// let layout = NonZeroLayout::from_size_align(5000, 8)?;
/// let first = allocator.allocate(layout)?;
/// let second = allocator.allocate(layout)?;
/// assert_eq!(second.addr().get() - first.addr().get(), 5008);
/// // SAFETY: Both were just allocated with this layout, and are not used again.
/// unsafe { allocator.deallocate(first.cast(), layout) };
/// // SAFETY: As above.
/// unsafe { allocator.deallocate(second.cast(), layout) };
/// // What was freed is one block again.
/// assert_eq!(allocator.free_bytes(), allocator.largest_free_block());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// In memory that is there already:
/// ```
/// use core::mem::MaybeUninit;
/// use context_allocator::size::U8;
/// use context_allocator::{Allocator, MultipleBinarySearchTreeAllocator, NonZeroLayout};
/// use context_allocator::source::RegionSource;
///
/// let mut bytes = [MaybeUninit::uninit(); 4096];
/// let source = RegionSource::new(&mut bytes);
/// let allocator = MultipleBinarySearchTreeAllocator::<_, U8>::new_in(source);
/// let layout = NonZeroLayout::from_size_align(1000, 8)?;
/// assert_eq!((0..).map_while(|_| allocator.allocate(layout).ok()).count(), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct MultipleBinarySearchTreeAllocator<S, T = U32, M = KeepApart>
where
    S: MemorySource,
    T: TreeCount,
    M: Merging<S>,
{
    pub(super) quick: QuickFit,
    pub(super) free: FreeSet<T>,
    pub(super) spans: Spans,
    pub(super) source: S,
    merging: PhantomData<fn() -> M>,
}

// SAFETY: The links lead to blocks and headers in regions that this allocator alone uses, wherever
// it is.
unsafe impl<S, T, M> Send for MultipleBinarySearchTreeAllocator<S, T, M>
where
    S: MemorySource + Send,
    T: TreeCount,
    M: Merging<S>,
{
}

impl<S: MemorySource> MultipleBinarySearchTreeAllocator<S> {
    /// An allocator over `source` that holds nothing yet, with 32 trees.
    pub const fn new(source: S) -> Self {
        Self::new_in(source)
    }
}

impl<S, T, M> MultipleBinarySearchTreeAllocator<S, T, M>
where
    S: MemorySource,
    T: TreeCount,
    M: Merging<S>,
{
    /// As [`new`](MultipleBinarySearchTreeAllocator::new), with the parameters of the type.
    pub const fn new_in(source: S) -> Self {
        Self {
            quick: QuickFit::new(),
            free: FreeSet::new(),
            spans: Spans::new(),
            source,
            merging: PhantomData,
        }
    }

    /// The source of the regions.
    pub const fn source(&self) -> &S {
        &self.source
    }

    /// Bytes of the regions that it holds, with what they need for themselves.
    ///
    /// Takes a fixed number of steps.
    pub fn bytes_held(&self) -> usize {
        self.spans.held()
    }

    /// Bytes of all free blocks.
    ///
    /// Goes through all free blocks, those that wait to be merged too: takes time in proportion to
    /// their number.
    pub fn free_bytes(&self) -> usize {
        let mut bytes = 0;
        self.free.for_each(|_, size| bytes += size);
        self.for_each_waiting(|_, size| bytes += size);
        bytes
    }

    /// The size of the largest free block in bytes, 0 where there is none: the largest size at an
    /// alignment of at most 16 that is served without another region.
    ///
    /// Merges what waits; takes time in proportion to that, and to the logarithm of the number of
    /// free blocks.
    pub fn largest_free_block(&self) -> usize {
        self.flush_quick();
        self.free.largest().map_or(0, |(_, size)| size)
    }
}
