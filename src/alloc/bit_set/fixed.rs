//! A number of blocks that is known when the program is compiled.
//!
//! ```text
//!   FixedBitSetAllocator (wherever its owner puts it)         region of N * B bytes
//!   +--------+-----+------------------------------+       +---------+---------+- - -+-----------+
//!   | source | any | bits: N bits, in whole words |       | block 0 | block 1 |     | block N-1 |
//!   +--------+-----+------------------------------+       +---------+---------+- - -+-----------+
//! ```
//!
//! Always: a bit of `any` says whether its word of `bits` has a free block; without a region no
//! block is free; bits from `N` on are never set.

use core::cell::Cell;
use core::fmt;
use core::mem::MaybeUninit;
use core::ops::{Add, Shr};
use core::ptr::NonNull;

use generic_array::{ArrayLength, GenericArray};
use typenum::{Sum, U6, U63, Unsigned};

use super::bits::{Bits, Wanted, pieces};
use super::large::release;
use super::region::{FOREIGN, TWICE};
use super::word::{self, BITS};
use crate::alloc::{Allocator, Owns, Reset, ResizeInPlace, in_place_or_elsewhere};
use crate::error::{AllocError, SourceError};
use crate::layout::NonZeroLayout;
use crate::misuse;
use crate::ptr;
use crate::size::BlockSize;
use crate::source::MemorySource;
use crate::source::request;

/// The most blocks: as many as a word of words has bits.
const MOST: usize = BITS * BITS;

mod sealed {
    /// What only numbers are, so that `Words` has a bit for each of `COUNT` blocks.
    pub trait Sealed {}
    impl<N: typenum::Unsigned> Sealed for N {}
}

/// A number of blocks, as a `typenum` number from 1 to 4,096.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a number of blocks",
    label = "not a number of blocks",
    note = "a number of blocks is a `typenum` number from 1 to 4,096, such as `typenum::U100` or `context_allocator::size::U1024`"
)]
pub trait BlockCount: sealed::Sealed + 'static {
    /// How many blocks.
    const COUNT: usize;
    /// How many words have a bit for each of them.
    type Words: ArrayLength;
}

#[diagnostic::do_not_recommend]
impl<N> BlockCount for N
where
    N: Unsigned + Add<U63> + 'static,
    Sum<N, U63>: Shr<U6, Output: ArrayLength>,
{
    const COUNT: usize = N::USIZE;
    type Words = <Sum<N, U63> as Shr<U6>>::Output;
}

/// An allocator of `N` blocks of `B` bytes whose bits stand in its own value.
///
/// It obtains one region of exactly `N * B` bytes, with the first allocation, and every byte of it
/// is a block's: there are no index. So it suits memory that is small and fixed, such as a static
/// range in firmware, and it can stand in a `static` itself. Requests take adjacent blocks, at any
/// alignment; what does not fit is refused. To allocate or free a block takes a few instructions; a
/// run looks at the words that have free blocks, at most 64. It is for one thread at a time: it can
/// be sent, not shared, unless in a [`Locked`](crate::Locked). A run that is freed twice, or is
/// none of this allocator's, ends the process.
///
/// # Held memory
/// Nothing before the first allocation, then the one region until the allocator is dropped.
///
/// # Examples
/// ```
/// use context_allocator::size::U256;
/// use context_allocator::{Allocator, Locked, MmapSource, NonZeroLayout};
/// use context_allocator::alloc::FixedBitSetAllocator;
///
/// static BUFFERS: Locked<FixedBitSetAllocator<MmapSource, U256, typenum::U100>> =
///     Locked::new(FixedBitSetAllocator::new(MmapSource::new()));
///
/// let layout = NonZeroLayout::of::<[u8; 256]>().unwrap();
/// let buffers: Vec<_> = std::iter::from_fn(|| BUFFERS.allocate(layout).ok()).collect();
/// assert_eq!(buffers.len(), 100);
/// ```
pub struct FixedBitSetAllocator<S: MemorySource, B: BlockSize, N: BlockCount> {
    source: S,
    /// Where block 0 is, once there is a region.
    start: Cell<*mut u8>,
    obtained: Cell<Option<NonNull<[u8]>>>,
    any: Cell<u64>,
    bits: GenericArray<Cell<u64>, N::Words>,
    block: core::marker::PhantomData<fn() -> B>,
}

// SAFETY: The pointers lead to a region that this allocator alone uses, wherever it is; the source
// says for itself whether it can be sent.
unsafe impl<S: MemorySource + Send, B: BlockSize, N: BlockCount> Send for FixedBitSetAllocator<S, B, N> {}

impl<S: MemorySource, B: BlockSize, N: BlockCount> FixedBitSetAllocator<S, B, N> {
    /// The region.
    const REGION: NonZeroLayout = {
        assert!(
            N::COUNT >= 1 && N::COUNT <= MOST,
            "FixedBitSetAllocator<S, B, N>: N, the number of blocks, is from 1 to 4,096: for more choose `BitSetAllocator`"
        );
        match NonZeroLayout::from_size_align(N::COUNT.saturating_mul(B::BYTES), B::BYTES) {
            Ok(layout) => layout,
            Err(_) => {
                panic!("FixedBitSetAllocator<S, B, N>: N blocks of B bytes are more than there are addresses")
            }
        }
    };

    /// An allocator over `source` that holds nothing yet.
    pub const fn new(source: S) -> Self {
        // Named here, so that a wrong number is an error where the allocator is made.
        let _ = Self::REGION;
        Self {
            source,
            start: Cell::new(core::ptr::null_mut()),
            obtained: Cell::new(None),
            any: Cell::new(0),
            // SAFETY: A cell of a word may be zero, and so may any number of them.
            bits: unsafe { MaybeUninit::<GenericArray<Cell<u64>, N::Words>>::zeroed().assume_init() },
            block: core::marker::PhantomData,
        }
    }

    /// The source of the region.
    pub const fn source(&self) -> &S {
        &self.source
    }

    /// How many blocks there are: `N`.
    pub const fn blocks(&self) -> usize {
        N::COUNT
    }

    /// How many of them are free. Looks at every word.
    pub fn free_blocks(&self) -> usize {
        if self.obtained.get().is_none() {
            return N::COUNT;
        }
        self.bits.iter().map(|bits| bits.get().count_ones() as usize).sum()
    }

    /// The length of the longest run of free blocks, in blocks. Looks at every word.
    pub fn longest_free_run(&self) -> usize {
        if self.obtained.get().is_none() {
            return N::COUNT;
        }
        let bits = self.bits();
        let across = |word| {
            let start = bits.last_run(word);
            if start == (word + 1) * BITS { 0 } else { bits.end_of(start, usize::MAX) - start }
        };
        (0..self.bits.len())
            .map(|word| word::longest_run(bits.get(word)).max(across(word)))
            .max()
            .unwrap_or(0)
    }

    /// Bytes of the region that it holds, as the source gave it.
    pub fn bytes_held(&self) -> usize {
        self.obtained.get().map_or(0, |region| region.len())
    }

    #[inline(always)]
    fn bits(&self) -> Bits<'_> {
        Bits(&self.bits)
    }

    /// Writes down which words from that of block `at` to that of block `last` have free blocks.
    #[inline]
    fn settle(&self, at: usize, last: usize) {
        for word in at / BITS..=last / BITS {
            let bit = 1 << word;
            let any = self.any.get() & !bit;
            self.any.set(if self.bits[word].get() != 0 { any | bit } else { any });
        }
    }

    /// Takes a run, if there is one as wanted.
    #[inline]
    fn take(&self, layout: NonZeroLayout) -> Option<NonNull<u8>> {
        let wanted = Wanted::new(layout.size(), layout.align(), B::BYTES, self.start.get().addr());
        let at = self.find(wanted)?;
        self.bits().take(at, wanted.len);
        self.settle(at, at + wanted.len - 1);
        NonNull::new(ptr::up(self.start.get(), at * B::BYTES))
    }

    #[inline]
    fn find(&self, wanted: Wanted) -> Option<usize> {
        let mut words = self.any.get();
        let bits = self.bits();
        if wanted.len == 1 && wanted.step == 1 {
            if words == 0 {
                return None;
            }
            let word = word::lowest(words);
            return Some(word * BITS + word::lowest(bits.get(word)));
        }
        if wanted.len > BITS {
            // A word whose last block is free.
            return bits.find_long(wanted, |from| {
                (from..self.bits.len()).find(|&word| word::suffix(bits.get(word)) > 0)
            });
        }
        if wanted.step > BITS {
            return bits.find_at_distant_multiple(wanted);
        }
        while words != 0 {
            if let Some(at) = bits.find_from(word::lowest(words), wanted) {
                return Some(at);
            }
            words = word::without_lowest(words);
        }
        None
    }

    /// Obtains the region, and makes all blocks free.
    #[cold]
    #[inline(never)]
    fn obtain(&self) -> Result<(), AllocError> {
        let obtained = request::obtain(&self.source, Self::REGION)?;
        self.obtained.set(Some(obtained));
        self.start.set(obtained.cast::<u8>().as_ptr());
        self.free_all();
        Ok(())
    }

    fn free_all(&self) {
        self.bits.iter().for_each(|bits| bits.set(0));
        self.bits().give(0, N::COUNT);
        self.settle(0, N::COUNT - 1);
    }

    /// The number of a block of this allocator.
    #[inline(always)]
    fn number(&self, block: NonNull<u8>) -> usize {
        block.addr().get().wrapping_sub(self.start.get().addr()) / B::BYTES
    }

    /// Makes a run free; ends the process if a block of it is none of this allocator's, or free
    /// already.
    fn give(&self, at: usize, len: usize) {
        let address = self.start.get().addr().wrapping_add(at.wrapping_mul(B::BYTES));
        misuse::check(at < N::COUNT && len <= N::COUNT - at, FOREIGN, address);
        misuse::check(self.bits().is_used(at, len), TWICE, address);
        self.bits().give(at, len);
        for (word, _) in pieces(at, len) {
            self.any.set(self.any.get() | 1 << word);
        }
    }

    const fn len_of(size: usize) -> usize {
        size.div_ceil(B::BYTES)
    }
}

// SAFETY: A block was free and is not any more, so that no two overlap; it lies in the region,
// which starts at a multiple of `B` and stays until the allocator is gone. Moving the allocator
// moves the bits, not the region.
unsafe impl<S: MemorySource, B: BlockSize, N: BlockCount> Allocator for FixedBitSetAllocator<S, B, N> {
    #[inline]
    fn allocate(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, AllocError> {
        let len = Self::len_of(layout.size());
        if len > N::COUNT {
            return Err(AllocError::TooLarge);
        }
        if self.obtained.get().is_none() {
            self.obtain()?;
        }
        let block = self.take(layout).ok_or(AllocError::Source(SourceError::Exhausted))?;
        Ok(ptr::bytes(block, len * B::BYTES))
    }

    #[inline]
    unsafe fn deallocate(&self, block: NonNull<u8>, layout: NonZeroLayout) {
        self.give(self.number(block), Self::len_of(layout.size()));
    }

    in_place_or_elsewhere!(source);
}

// SAFETY: A block grows over free blocks behind it, which become its own, and shrinks by giving its
// last ones back.
unsafe impl<S: MemorySource, B: BlockSize, N: BlockCount> ResizeInPlace for FixedBitSetAllocator<S, B, N> {
    unsafe fn grow_in_place(
        &self,
        block: NonNull<u8>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        let (from, to) = (Self::len_of(old.size()), Self::len_of(new.size()));
        if ptr::padding(block.addr().get(), new.align()) != 0 {
            return Err(AllocError::NotInPlace);
        }
        if to > from {
            let at = self.number(block);
            // Bits behind the last word are as those of used blocks.
            if to > N::COUNT || !self.bits().is_free(at + from, to - from) {
                return Err(AllocError::NotInPlace);
            }
            self.bits().take(at + from, to - from);
            self.settle(at + from, at + to - 1);
        }
        Ok(ptr::bytes(block, to * B::BYTES))
    }

    unsafe fn shrink_in_place(
        &self,
        block: NonNull<u8>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        let (from, to) = (Self::len_of(old.size()), Self::len_of(new.size()));
        if ptr::padding(block.addr().get(), new.align()) != 0 {
            return Err(AllocError::NotInPlace);
        }
        if to < from {
            self.give(self.number(block) + to, from - to);
        }
        Ok(ptr::bytes(block, to * B::BYTES))
    }
}

// SAFETY: Every block lies in the region, which belongs to this allocator alone.
unsafe impl<S: MemorySource, B: BlockSize, N: BlockCount> Owns for FixedBitSetAllocator<S, B, N> {
    fn owns(&self, address: NonNull<u8>) -> bool {
        self.obtained.get().is_some()
            && address.addr().get().wrapping_sub(self.start.get().addr()) < Self::REGION.size()
    }
}

impl<S: MemorySource, B: BlockSize, N: BlockCount> Reset for FixedBitSetAllocator<S, B, N> {
    fn reset(&mut self) {
        if self.obtained.get().is_some() {
            self.free_all();
        }
    }
}

impl<S: MemorySource, B: BlockSize, N: BlockCount> Drop for FixedBitSetAllocator<S, B, N> {
    fn drop(&mut self) {
        if let Some(obtained) = self.obtained.take() {
            // SAFETY: The source gave the region at this alignment; the allocator is going, and its
            // blocks with it.
            unsafe { release(&self.source, obtained, Self::REGION.align()) };
        }
    }
}

impl<S: MemorySource, B: BlockSize, N: BlockCount> fmt::Debug for FixedBitSetAllocator<S, B, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FixedBitSetAllocator")
            .field("block", &B::BYTES)
            .field("blocks", &N::COUNT)
            .field("free_blocks", &self.free_blocks())
            .finish_non_exhaustive()
    }
}
