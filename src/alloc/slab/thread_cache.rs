//! The thread cache of a slab allocator.
//!
//! ```text
//!   limit   the largest size that `pop` serves: 1 KiB, or 0 while closed
//!   lists   a list of blocks for each class
//!   known   the headers of 512 slabs of the allocator, by their number modulo that
//! ```

use core::cell::Cell;
use core::ptr::{NonNull, null_mut};

use super::lengths::largest_of;
use super::lists::{AtHand, KnownSlabs, Lists};
use crate::alloc::classes::{CLASSES, FINE, LARGEST, STEP};
use crate::alloc::{Pushed, ThreadCache};
use crate::size::BlockSize;

/// What a thread keeps of a [`SlabAllocator`](super::SlabAllocator) whose slabs are `B` bytes.
pub struct SlabThreadCache<B: BlockSize> {
    limit: Cell<usize>,
    pub(super) lists: Lists,
    pub(super) known: KnownSlabs<B>,
}

// SAFETY: Blocks on the lists and slabs in the table are put there by the allocator, and taken back
// by it before another thread uses it; a list gives each block once. A block that lies in a slab of
// the table is one of that slab's, because slabs consist of nothing but blocks and their header.
// Closing sets the limit to 0, which every size but none is beyond, and none wraps to beyond any
// limit.
unsafe impl<B: BlockSize> ThreadCache for SlabThreadCache<B> {
    const PRESENT: bool = true;
    const EMPTY: Self = Self { limit: Cell::new(0), lists: Lists::new(), known: KnownSlabs::new() };

    #[inline(always)]
    fn open(&self, open: bool) {
        self.limit.set(if open { Self::FINE } else { 0 });
    }

    #[inline(always)]
    fn is_open(&self) -> bool {
        self.limit.get() != 0
    }

    #[inline(always)]
    fn serves(&self, size: usize) -> bool {
        size.wrapping_sub(1) < self.limit.get()
    }

    #[inline(always)]
    fn alike(&self, size: usize, other: usize) -> bool {
        size.wrapping_sub(1) / STEP == other.wrapping_sub(1) / STEP
    }

    #[inline(always)]
    unsafe fn pop(&self, size: usize, align: usize) -> *mut u8 {
        if !self.serves(size) || align > STEP {
            return null_mut();
        }
        self.lists.pop((size - 1) / STEP)
    }

    #[inline(always)]
    fn knows(&self, block: NonNull<u8>) -> bool {
        self.known.get(block.addr().get()).is_some()
    }

    #[inline(always)]
    unsafe fn push(&self, block: NonNull<u8>) -> Pushed {
        let Some(header) = self.known.get(block.addr().get()) else { return Pushed::Elsewhere };
        // SAFETY: The table has the slab just now.
        let slab = unsafe { &*header };
        // SAFETY: The block lies in the slab, and the caller gives it up.
        if unsafe { slab.push(block) } {
            Pushed::Transition(NonNull::from_ref(slab).cast())
        } else {
            Pushed::Taken
        }
    }
}

impl<B: BlockSize> SlabThreadCache<B> {
    pub(super) fn at_hand(&self) -> AtHand<'_, B> {
        AtHand { lists: &self.lists, known: Some(&self.known) }
    }

    /// Sizes up to this have classes of their own steps, and are served here.
    const FINE: usize = {
        let largest = largest_of(B::BYTES, usize::MAX);
        assert!(FINE <= LARGEST && FINE / STEP <= CLASSES);
        if largest < FINE { largest } else { FINE }
    };
}
