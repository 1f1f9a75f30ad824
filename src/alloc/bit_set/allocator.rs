//! The allocator whose bits stand in its regions.

use core::cell::Cell;
use core::fmt;
use core::marker::PhantomData;
use core::ptr::{NonNull, null_mut};

use super::bins::Bins;
use super::blocks::Taken;
use super::large::LargeBlocks;
use super::quick_fit::QuickFit;
use super::region::{List, Region, index_bytes};
use super::word::BITS;
use crate::alloc::{
    Allocator, LocalAllocator, NoThreadCache, Owns, Reset, ResizeInPlace, in_place_or_elsewhere,
};
use crate::error::AllocError;
use crate::layout::NonZeroLayout;
use crate::ptr;
use crate::size::BlockSize;
use crate::size::U64;
use crate::source::MemorySource;

/// An allocator of blocks of `B` bytes and of runs of adjacent blocks, with one bit for each block.
///
/// A block costs nothing but its bit: no header, no rounding beyond a multiple of `B`, so that a
/// region can be filled with live blocks to the last one. Neighbours that are free are one run
/// again, whatever they were before; but up to 256 single blocks, and 64 runs of each length from 2
/// to 16 blocks, are kept as they are until they are wanted again, or space is.
///
/// | operation | looks at |
/// |---|---|
/// | allocate a block, free a block | at most one word of bits and its summaries, two more if all that is free is kept: a fixed number of steps |
/// | allocate a run of up to 64 blocks | the shortest run that is long enough is found in three steps; while none is known, a word that single blocks were freed in, and each such word once |
/// | free, grow or shrink a run in place | the words that it has bits in, and one at each end |
/// | allocate more than 64 blocks | at most the region's words, of 64 blocks each (4,096 at most) |
/// | allocate at a multiple of `a` blocks | as a run, where there is one of `a - 1` blocks more; else at most the region's words |
///
/// None of them takes time in proportion to the number of live blocks. Regions are in lists by the
/// longest run that they may have, so that a request for up to 16 blocks finds one that has the
/// run, after those in which a block was taken or freed since they were last searched in vain: each
/// of these is searched once. A longer run, and one at a multiple of more than a block, passes
/// regions with runs of about its length as well, at a load or two each.
///
/// Regions come from `S` when they are needed: the first is 256 KiB, a later one an eighth of all
/// before it together if that is more, up to 262,144 blocks or 16 MiB, whichever is less; or as
/// large as the source gives: whatever it gives is used. A request that no region of that length
/// holds gets one of its own, and the alignment counts: what it keeps a block away from the index
/// does not hold it. A region's index (bits, lengths of runs and their summaries) lie at its start.
/// In blocks of 64 bytes they take 896 bytes of 64 KiB (1.4 %) and 70 KiB of 16 MiB (0.43 %); in
/// blocks of 8 bytes 3.4 % of 2 MiB.
///
/// [`allocate_zeroed`](Allocator::allocate_zeroed) and [`grow_zeroed`](Allocator::grow_zeroed)
/// write no 64 blocks of which none was in use, if the source said that the region was zero.
///
/// # Held memory
/// A region is obtained only if none that is held has the run. So with blocks of one size that is
/// small next to a region, whatever their number, at most 1.05 times the live bytes are held in
/// regions that are full (1.1 times with 5 KiB in 64 KiB), and beside them two regions: the one
/// that is being filled, and one without live blocks. The latter is kept so that blocks which come
/// and go at a region's border obtain it once; of two, the shorter is kept, unless the longer is at
/// most 1 MiB or an eighth of all. The word that single blocks come from may keep a third.
///
/// With blocks of many sizes that are freed in any order, no workload of `tests/allocators/held.rs`
/// made it hold more than 1.25 times the most that was live, and 1.25 MiB; with sizes of up to 5
/// KiB in regions of 64 KiB, 1.5 times that, and three regions. No such bound holds for every
/// order: a region stays while one of its blocks is live, and free runs that are too short for what
/// is asked for stay unused (J. M. Robson, 1974).
///
/// Over a source that gives regions at any address, each further region may cost up to 16 MiB more,
/// see below; and what a source gave in one piece beyond the largest length is used as several
/// regions, which stay until the allocator is reset or dropped.
///
/// # Misuse
/// A block that is freed twice, or that is none of this allocator's, ends the process as soon as a
/// slow path meets it: when recent frees go back to the region's map, when a long run is freed, or
/// before a region goes back to the source.
///
/// A source of pages, or of blocks of equal size, gives as many regions as are wanted. Any other is
/// best one that gives one region, which is then used from its first byte whatever its address:
/// further regions must lie at the same distance from a multiple of 16 MiB (or of the largest
/// region), and up to that much more is asked for to reach one.
///
/// `B` is at most 1 MiB. Under a tier of the switchable allocator it is at least 16 bytes. It is
/// for one thread at a time: it can be sent, not shared.
///
/// # Examples
/// ```
/// use context_allocator::size::U64;
/// use context_allocator::{Allocator, ArenaSource, BitSetAllocator, MmapSource, NonZeroLayout};
///
/// let source = ArenaSource::new(MmapSource::new());
/// let allocator = BitSetAllocator::<ArenaSource<MmapSource>, U64>::new_in(source);
/// let layout = NonZeroLayout::from_size_align(130, 8)?;
/// let run = allocator.allocate(layout)?;
/// assert_eq!(run.len(), 3 * 64);
/// assert_eq!(allocator.blocks() - allocator.free_blocks(), 3);
/// // SAFETY: Just allocated with this layout, and not used again.
/// unsafe { allocator.deallocate(run.cast(), layout) };
/// assert_eq!(allocator.longest_free_run(), allocator.blocks());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct BitSetAllocator<S: MemorySource, B: BlockSize = U64> {
    /// The free blocks at hand.
    pub(super) hand: Cell<u64>,
    /// Where block 0 of the word at hand is.
    pub(super) hand_start: Cell<*mut u8>,
    /// Whether the blocks at hand are zero.
    pub(super) hand_is_zero: Cell<bool>,
    /// The address that all regions are at, modulo `WINDOW`.
    pub(super) phase: Cell<usize>,
    /// The region of the word at hand, or null.
    pub(super) hand_region: Cell<*mut Region>,
    /// A region without live blocks, or one that was that, or null.
    pub(super) spare: Cell<*mut Region>,
    /// Bytes that the source gave for regions, but for those of large blocks.
    pub(super) held: Cell<usize>,
    /// The address of the first region ever, by which regions of this allocator are told from those
    /// of others; 0 before.
    pub(super) identity: Cell<usize>,
    pub(super) bins: Bins,
    pub(super) all: List,
    pub(super) large: LargeBlocks,
    pub(super) quick: QuickFit,
    pub(super) source: S,
    block: PhantomData<fn() -> B>,
}

// SAFETY: The pointers lead to regions that this allocator alone uses, wherever it is; the source
// says for itself whether it can be sent.
unsafe impl<S: MemorySource + Send, B: BlockSize> Send for BitSetAllocator<S, B> {}

/// The most blocks that a map's three levels of 64 cover.
pub(super) const MOST_BLOCKS: usize = BITS * BITS * BITS;
/// The largest region in bytes, but for those of large blocks.
const MOST_BYTES: usize = 16 << 20;
impl<S: MemorySource> BitSetAllocator<S> {
    /// An allocator over `source` that holds nothing yet, with blocks of 64 bytes.
    pub const fn new(source: S) -> Self {
        Self::new_in(source)
    }
}

impl<S: MemorySource, B: BlockSize> BitSetAllocator<S, B> {
    pub(super) const BLOCK: usize = {
        assert!(
            B::BYTES <= 1 << 20,
            "BitSetAllocator<S, B>: a block is at most 1 MiB: choose B up to `U1048576`"
        );
        B::BYTES
    };

    /// Bytes of a word's blocks.
    pub(super) const WORD: usize = Self::BLOCK * BITS;

    /// What regions start at multiples of, but for the phase, and do not pass, in bytes; a power of
    /// two.
    pub(super) const WINDOW: usize = {
        let most = MOST_BLOCKS.saturating_mul(Self::BLOCK);
        let most = if most < MOST_BYTES { most } else { MOST_BYTES };
        if S::MAX_REGION < most { S::MAX_REGION.next_power_of_two() } else { most }
    };

    /// Bytes of the index of the longest region.
    pub(super) const INDEX: usize = {
        let index = index_bytes(Self::WINDOW / Self::BLOCK, Self::BLOCK);
        assert!(
            index <= Self::WINDOW / 2 && index + Self::BLOCK <= S::MAX_REGION,
            "BitSetAllocator<S, B>: the index would take more than half of a region of S: choose a source of larger \
             regions, such as `ArenaSource<MmapSource, U65536>`, or smaller blocks"
        );
        index
    };

    /// As [`new`](BitSetAllocator::new), with blocks of the size that the type names.
    pub const fn new_in(source: S) -> Self {
        // Named here, so that sizes that do not go together are an error where the allocator is
        // made.
        let _ = Self::INDEX;
        Self {
            hand: Cell::new(0),
            hand_start: Cell::new(null_mut()),
            hand_is_zero: Cell::new(false),
            phase: Cell::new(0),
            hand_region: Cell::new(null_mut()),
            spare: Cell::new(null_mut()),
            held: Cell::new(0),
            identity: Cell::new(0),
            bins: Bins::new(),
            all: List::new(),
            large: LargeBlocks::new(),
            quick: QuickFit::new(),
            source,
            block: PhantomData,
        }
    }

    /// The source of the regions.
    pub const fn source(&self) -> &S {
        &self.source
    }

    /// How many blocks its regions have, but for requests with regions of their own. Takes time in
    /// proportion to the number of regions.
    pub fn blocks(&self) -> usize {
        self.regions().map(Region::blocks).sum()
    }

    /// How many of the [`blocks`](Self::blocks) are free. Takes time in proportion to the number of
    /// regions.
    pub fn free_blocks(&self) -> usize {
        let at_hand = self.hand.get().count_ones() as usize;
        at_hand + self.regions().map(|region| region.blocks() - region.used.get()).sum::<usize>()
    }

    /// The length of the longest run of free blocks, in blocks. Takes time in proportion to the
    /// number of regions, and of words in those that have a run of 64 blocks or more.
    pub fn longest_free_run(&self) -> usize {
        self.flush();
        self.flush_quick();
        self.regions().map(|region| region.map().longest_run()).max().unwrap_or(0)
    }

    /// Bytes of the regions that it holds, as the source gave them. Takes time in proportion to the
    /// number of requests with regions of their own.
    pub fn bytes_held(&self) -> usize {
        self.held.get() + self.large.iter().map(|region| region.len()).sum::<usize>()
    }

    /// A size rounded up to whole blocks.
    #[inline(always)]
    pub(super) const fn rounded(size: usize) -> usize {
        // At most `isize::MAX` and a block, which does not overflow.
        (size + Self::BLOCK - 1) & !(Self::BLOCK - 1)
    }

    /// How many blocks a size, which is not zero, takes.
    #[inline(always)]
    pub(super) const fn count(size: usize) -> usize {
        Self::rounded(size) / Self::BLOCK
    }

    #[inline(always)]
    pub(super) const fn is_single(layout: NonZeroLayout) -> bool {
        layout.size() <= Self::BLOCK && layout.align() <= Self::BLOCK
    }

    /// Whether the layout gets a region of its own: where a region as long as they get could not
    /// hold it behind the index. The same for every layout that fits a block.
    #[inline]
    pub(super) const fn is_large(layout: NonZeroLayout) -> bool {
        let before = if layout.align() <= Self::BLOCK {
            Self::INDEX
        } else if Self::AT_ANY_PLACE {
            Self::INDEX.saturating_add(layout.align())
        } else {
            // The first such multiple behind the index: both are far below the largest number, or
            // the second is a power of two.
            Self::INDEX.next_multiple_of(layout.align())
        };
        before > Self::WINDOW || Self::rounded(layout.size()) > Self::WINDOW - before
    }
}

// SAFETY: A block is taken out of the hand or out of a region's map, where it was free, so that no
// two overlap; it lies in its region, behind the index, whose bits are never set. Numbers count
// from a region's start, which is at a multiple of `B`. Regions don't move with the allocator, and
// the one of a live block is not released.
unsafe impl<S: MemorySource, B: BlockSize> Allocator for BitSetAllocator<S, B> {
    #[inline]
    fn allocate(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, AllocError> {
        if let Some(block) = self.pop_waiting(layout) {
            return Ok(ptr::bytes(block, Self::rounded(layout.size())));
        }
        if !Self::is_single(layout) {
            return self.allocate_run(layout);
        }
        Ok(ptr::bytes(self.take_single()?, Self::BLOCK))
    }

    fn allocate_zeroed(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, AllocError> {
        let (Taken { block, dirty }, len) = self.take(layout)?;
        // SAFETY: The block was just taken, and is `len` bytes long.
        unsafe { block.write_bytes(0, dirty.min(len)) };
        Ok(ptr::bytes(block, len))
    }

    #[inline]
    unsafe fn deallocate(&self, block: NonNull<u8>, layout: NonZeroLayout) {
        // SAFETY: The block is allocated here, the layout fits it, and the caller gives it up.
        unsafe { self.give(block, layout) };
    }

    unsafe fn grow_zeroed(
        &self,
        block: NonNull<u8>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        // SAFETY: The block is allocated here, `old` fits it, and `new` is not smaller: `grow`'s
        // contract.
        unsafe { self.grow_run_zeroed(block, old, new) }
    }

    in_place_or_elsewhere!(source);
}

// SAFETY: A block grows over blocks behind it that are free, which become its own, and shrinks by
// giving its last ones back; in both cases it stays where it is. A block that has a region of its
// own has the length of that region.
unsafe impl<S: MemorySource, B: BlockSize> ResizeInPlace for BitSetAllocator<S, B> {
    #[inline]
    unsafe fn grow_in_place(
        &self,
        block: NonNull<u8>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        if Self::is_single(new) && Self::is_single(old) {
            return Ok(ptr::bytes(block, Self::BLOCK));
        }
        // SAFETY: The block is allocated here, `old` fits it, and `new` is not smaller: `grow`'s
        // contract.
        let (grown, len) = unsafe { self.grow_run(block, old, new) }?;
        Ok(ptr::bytes(grown.block, len))
    }

    #[inline]
    unsafe fn shrink_in_place(
        &self,
        block: NonNull<u8>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        if Self::is_single(new) && Self::is_single(old) {
            return Ok(ptr::bytes(block, Self::BLOCK));
        }
        // SAFETY: The block is allocated here, `old` fits it, and `new` is not larger: `shrink`'s
        // contract.
        unsafe { self.shrink_run(block, old, new) }
    }
}

// SAFETY: Every block lies in a region on one of the lists, and a region belongs to this allocator
// alone.
unsafe impl<S: MemorySource, B: BlockSize> Owns for BitSetAllocator<S, B> {
    /// Looks through all regions: takes time in proportion to their number.
    fn owns(&self, address: NonNull<u8>) -> bool {
        let address = address.addr().get();
        let within = |start: usize, len: usize| address.wrapping_sub(start) < len;
        self.regions().any(|region| within(region.start().addr(), region.bytes(Self::BLOCK)))
            || self.large.iter().any(|region| within(region.cast::<u8>().addr().get(), region.len()))
    }
}

impl<S: MemorySource, B: BlockSize> Reset for BitSetAllocator<S, B> {
    fn reset(&mut self) {
        // SAFETY: The allocator is borrowed mutably, so nothing that borrows it is left to use a
        // block.
        unsafe { self.free_all_but_one() };
    }
}

// SAFETY: `new` obtains nothing, dropping releases all regions, `recycle` keeps one at most;
// regions are released with the length that was returned. A block is `B` bytes or more at a
// multiple of `B`, and `new_in` refuses to compile where that is less than 16.
unsafe impl<S: MemorySource + Send, B: BlockSize> LocalAllocator for BitSetAllocator<S, B> {
    type Source = S;
    type WithSource<S2: MemorySource + Send> = BitSetAllocator<S2, B>;
    type Cache = NoThreadCache;
    const REUSES_BLOCKS: bool = true;
    const LARGEST: usize =
        if S::MAX_REGION / 2 >= Self::WINDOW { isize::MAX as usize } else { Self::WINDOW / 2 };

    fn new_in(source: S) -> Self {
        const {
            assert!(
                B::BYTES >= 16,
                "BitSetAllocator<S, U8> cannot serve a tier, because a block that another thread frees holds a link of 16 \
                 bytes: write `BitSetAllocator<S, U16>`, or larger blocks"
            );
        }
        Self::new_in(source)
    }

    fn source(&self) -> &S {
        &self.source
    }

    #[inline(always)]
    fn allocate_at_hand(&self, layout: NonZeroLayout) -> Option<NonNull<u8>> {
        if let Some(block) = self.pop_waiting(layout) {
            return Some(block);
        }
        if Self::is_single(layout) { self.pop() } else { self.take_run_held(layout).map(|run| run.block) }
    }

    #[inline(always)]
    fn owns_at_hand(&self, address: NonNull<u8>) -> bool {
        // The region whose word is at hand.
        let Some(region) = NonNull::new(self.hand_region.get()) else { return false };
        // SAFETY: The region of the word at hand is held.
        let end = unsafe { region.as_ref() }.bytes(Self::BLOCK);
        address.addr().get().wrapping_sub(region.addr().get()) < end
    }

    fn recycle(&mut self) {
        self.reset();
    }
}

impl<S: MemorySource, B: BlockSize> Drop for BitSetAllocator<S, B> {
    fn drop(&mut self) {
        // SAFETY: The allocator is going, and its blocks with it.
        unsafe { self.release_all() };
    }
}

impl<S: MemorySource, B: BlockSize> fmt::Debug for BitSetAllocator<S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BitSetAllocator")
            .field("block", &B::BYTES)
            .field("blocks", &self.blocks())
            .field("free_blocks", &self.free_blocks())
            .field("bytes_held", &self.bytes_held())
            .finish_non_exhaustive()
    }
}
