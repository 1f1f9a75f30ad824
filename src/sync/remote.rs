//! Blocks on their way home.
//!
//! A block freed by a thread that does not use its heap (or shard, whose lock is taken) is pushed
//! on the heap's list, from where the heap's user takes all at once. It is a stack of R. K. Treiber
//! (1986) without the pop: pushes by compare-exchange, everything taken with one swap, so that the
//! ABA problem does not arise. A block of a slab that its heap let go of goes to the slab's word
//! instead: [`Returned`](super::Returned).
//!
//! ```text
//!   head --> | next | layout | ... --> | next | layout | ... --> null
//!            a freed block              a freed block
//! ```
//!
//! The block itself holds the link and its layout (size and alignment in one word), which is why
//! blocks of allocators that reuse them are at least two words.

use core::ptr::{NonNull, null_mut};

use super::atomic::AtomicPtr;
use super::atomic::Ordering::{Acquire, Relaxed, Release};
use super::const_fn;
use crate::layout::NonZeroLayout;

/// What a block on the list begins with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RemoteBlock {
    next: *mut RemoteBlock,
    /// The size in bytes above [`ALIGN_BITS`] bits of the alignment's logarithm.
    layout: usize,
}

impl RemoteBlock {
    /// Makes a freed block one that leads to `next`.
    ///
    /// # Safety
    /// The block is the caller's alone, fits `layout`, and has room for a `RemoteBlock`: two words
    /// at a multiple of 8.
    #[inline(always)]
    pub(crate) unsafe fn write(block: NonNull<u8>, next: *mut Self, layout: NonZeroLayout) -> NonNull<Self> {
        let block = block.cast::<Self>();
        let layout = layout.size() << ALIGN_BITS | layout.align().ilog2() as usize;
        // SAFETY: The block is the caller's and large enough.
        unsafe { block.write(Self { next, layout }) };
        block
    }

    /// Has a block lead to `next`.
    ///
    /// # Safety
    /// The block is the caller's, and a `RemoteBlock`.
    #[inline(always)]
    pub(super) unsafe fn link(block: NonNull<Self>, next: *mut Self) {
        // SAFETY: The block is the caller's, and was written as one.
        unsafe { (*block.as_ptr()).next = next };
    }

    /// The layout that the block was freed with.
    #[inline]
    pub(crate) fn layout(&self) -> Option<NonZeroLayout> {
        let (size, align) = (self.layout >> ALIGN_BITS, 1 << (self.layout & ((1 << ALIGN_BITS) - 1)));
        // `write` packed a layout, so this one is as good.
        NonZeroLayout::from_size_align(size, align).ok()
    }
}

/// Blocks that are linked from the first to the last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batch {
    pub(crate) first: NonNull<RemoteBlock>,
    pub(crate) last: NonNull<RemoteBlock>,
}

impl Batch {
    /// A batch of one freed block.
    ///
    /// # Safety
    /// The block is the caller's alone, fits `layout`, and has room for a [`RemoteBlock`]: two
    /// words at a multiple of 8.
    #[inline]
    pub(crate) unsafe fn of_one(block: NonNull<u8>, layout: NonZeroLayout) -> Self {
        // SAFETY: The block is the caller's, and has room for the two words that are written.
        let block = unsafe { RemoteBlock::write(block, null_mut(), layout) };
        Self { first: block, last: block }
    }

    /// Splits off the first blocks for which the answer is `true`, which it is for the first one: a
    /// batch of them, how many they are, and the others.
    ///
    /// # Safety
    /// The blocks are the caller's, and linked.
    #[cfg(feature = "std")]
    #[inline]
    pub(crate) unsafe fn split(
        self,
        belongs: impl Fn(NonNull<RemoteBlock>) -> bool,
    ) -> (Self, usize, Option<Self>) {
        let mut last = self.first;
        let mut count = 1;
        while last != self.last {
            // SAFETY: The blocks are the caller's, and linked up to the last.
            let Some(next) = NonNull::new(unsafe { last.read() }.next) else { break };
            if !belongs(next) {
                return (
                    Self { first: self.first, last },
                    count,
                    Some(Self { first: next, last: self.last }),
                );
            }
            last = next;
            count += 1;
        }
        (self, count, None)
    }

    /// This batch and another behind it.
    ///
    /// # Safety
    /// The blocks of both are the caller's.
    #[cfg(feature = "std")]
    pub(crate) unsafe fn before(self, other: Option<Self>) -> Self {
        let Some(other) = other else { return self };
        // SAFETY: The last block is the caller's, and a `RemoteBlock`.
        unsafe { RemoteBlock::link(self.last, other.first.as_ptr()) };
        Self { first: self.first, last: other.last }
    }
}

/// Enough for the logarithm of any alignment; a block that is large enough to lose bits of its size
/// to it is never on a list, because no allocator that reuses blocks gives blocks that large.
const ALIGN_BITS: u32 = 6;

/// A list that many threads push on and one takes from.
#[derive(Debug)]
pub(crate) struct RemoteList {
    head: AtomicPtr<RemoteBlock>,
}

impl RemoteList {
    const_fn! {
        /// An empty list.
        pub(crate) fn new() -> Self {
            Self { head: AtomicPtr::new(null_mut()) }
        }
    }

    /// Pushes a block.
    ///
    /// # Safety
    /// The block is the caller's alone, fits `layout`, and has room for a [`RemoteBlock`]: two
    /// words at a multiple of 8.
    #[inline]
    pub(crate) unsafe fn push(&self, block: NonNull<u8>, layout: NonZeroLayout) {
        // SAFETY: The block is the caller's alone, fits `layout`, and has room for two words.
        let batch = unsafe { Batch::of_one(block, layout) };
        // SAFETY: The block is the caller's, and a batch by itself.
        unsafe { self.push_all(batch) };
    }

    /// Pushes blocks that are linked to one another.
    ///
    /// # Safety
    /// The blocks are the caller's alone, and belong to the list's heap.
    #[inline]
    pub(crate) unsafe fn push_all(&self, batch: Batch) {
        let mut head = self.head.load(Relaxed);
        loop {
            // SAFETY: The last block is the caller's, and a `RemoteBlock`.
            unsafe { RemoteBlock::link(batch.last, head) };
            match self.head.compare_exchange_weak(head, batch.first.as_ptr(), Release, Relaxed) {
                Ok(_) => return,
                Err(other) => head = other,
            }
        }
    }

    /// Whether nothing was there when this looked.
    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.head.load(Relaxed).is_null()
    }

    /// Takes all blocks, the one pushed last first.
    ///
    /// The blocks are the caller's from here on.
    #[inline]
    pub(crate) fn take(&self) -> RemoteBlocks {
        if self.is_empty() {
            return RemoteBlocks { next: null_mut() };
        }
        RemoteBlocks { next: self.head.swap(null_mut(), Acquire) }
    }

    /// Forgets what is on the list. Nobody else may know of it.
    #[inline]
    pub(crate) fn clear(&self) {
        self.head.store(null_mut(), Relaxed);
    }
}

/// The blocks that [`RemoteList::take`] took.
#[derive(Debug)]
pub(crate) struct RemoteBlocks {
    next: *mut RemoteBlock,
}

impl Iterator for RemoteBlocks {
    type Item = (NonNull<u8>, NonZeroLayout);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let block = NonNull::new(self.next)?;
        // SAFETY: `push` wrote it, and `take` made it this iterator's.
        let freed = unsafe { block.read() };
        self.next = freed.next;
        Some((block.cast(), freed.layout()?))
    }
}
