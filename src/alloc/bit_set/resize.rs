//! Growing and shrinking blocks where they are.

use core::ptr::NonNull;

use super::BitSetAllocator;
use super::blocks::Taken;
use super::large::LargeBlocks;
use super::region::Region;
use crate::error::AllocError;
use crate::layout::NonZeroLayout;
use crate::ptr;
use crate::size::BlockSize;
use crate::source::MemorySource;

impl<S: MemorySource, B: BlockSize> BitSetAllocator<S, B> {
    /// Whether a block that may stay where it is has a region of its own; an error where it may
    /// not, because only one of the layouts asks for that, or because of the new alignment.
    #[inline(always)]
    fn stays(block: NonNull<u8>, old: NonZeroLayout, new: NonZeroLayout) -> Result<bool, AllocError> {
        let is_large = Self::is_large(old);
        let aligned = ptr::padding(block.addr().get(), new.align()) == 0;
        if is_large == Self::is_large(new) && aligned { Ok(is_large) } else { Err(AllocError::NotInPlace) }
    }

    /// The `grow_in_place` of anything but single blocks that stay so, and the block's new length.
    ///
    /// # Safety
    /// As [`Allocator::grow`](crate::Allocator::grow).
    pub(super) unsafe fn grow_run(
        &self,
        block: NonNull<u8>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<(Taken, usize), AllocError> {
        if Self::stays(block, old, new)? {
            // SAFETY: The block is allocated, and has a region of its own.
            let len = unsafe { LargeBlocks::len(block) };
            return if new.size() <= len {
                Ok((Taken::dirty(block), len))
            } else {
                Err(AllocError::NotInPlace)
            };
        }
        let mut dirty = usize::MAX;
        let len = Self::rounded(new.size());
        let (from, to) = (Self::rounded(old.size()) / Self::BLOCK, len / Self::BLOCK);
        if to > from {
            // SAFETY: The block is allocated, and has no region of its own.
            let (region, offset) = unsafe { self.place_of(block) };
            let at = offset / Self::BLOCK;
            let behind = self.take_behind(region, at + from, to - from).ok_or(AllocError::NotInPlace)?;
            dirty = (from + behind) * Self::BLOCK;
        }
        Ok((Taken { block, dirty }, len))
    }

    /// [`Allocator::grow_zeroed`](crate::Allocator::grow_zeroed): writes no block behind the old
    /// ones that was never in use.
    ///
    /// # Safety
    /// As there.
    pub(super) unsafe fn grow_run_zeroed(
        &self,
        block: NonNull<u8>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        // SAFETY: The block is allocated here, `old` fits it, and `new` is not smaller: `grow`'s
        // contract.
        let in_place = unsafe { self.grow_run(block, old, new) };
        let (grown, len) = match in_place {
            Ok(grown) => grown,
            Err(_) => self.take(new)?,
        };
        if grown.block != block {
            // SAFETY: Both are allocated, so they do not overlap; each has at least `old.size()`
            // bytes, as `old` fits the one and the other was taken for no less.
            unsafe { grown.block.copy_from_nonoverlapping(block, old.size()) };
            // SAFETY: The caller gives it up, since the call succeeds now.
            unsafe { self.give(block, old) };
        }
        let dirty = grown.dirty.min(len).saturating_sub(old.size());
        // SAFETY: The block is at least `old.size()` bytes long.
        let tail = unsafe { grown.block.add(old.size()) };
        // SAFETY: Up to there it is no longer than `len`.
        unsafe { tail.write_bytes(0, dirty) };
        Ok(ptr::bytes(grown.block, len))
    }

    /// Takes `len` blocks from `at` on, if they are there and free, and returns how many of them
    /// may not be zero.
    fn take_behind(&self, region: &Region, at: usize, len: usize) -> Option<usize> {
        if len > region.end().saturating_sub(at) {
            return None;
        }
        let map = region.map();
        if !map.bits.is_free(at, len) {
            if self.hand.get() == 0 || !core::ptr::eq(self.hand_region.get(), region) {
                return None;
            }
            self.flush();
            if !map.bits.is_free(at, len) {
                return None;
            }
        }
        map.take(at, len);
        region.add_used(len);
        let dirty = region.touch(at, len);
        if map.is_full() {
            self.close(region);
        }
        Some(dirty)
    }

    /// The `shrink_in_place` of anything but single blocks.
    ///
    /// # Safety
    /// As [`Allocator::shrink`](crate::Allocator::shrink).
    pub(super) unsafe fn shrink_run(
        &self,
        block: NonNull<u8>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        if Self::stays(block, old, new)? {
            // SAFETY: The block is allocated, and has a region of its own.
            let len = unsafe { LargeBlocks::len(block) };
            // Half of the region may stay unused, not more.
            return if new.size() > len / 2 {
                Ok(ptr::bytes(block, len))
            } else {
                Err(AllocError::NotInPlace)
            };
        }
        let len = Self::rounded(new.size());
        let (from, to) = (Self::rounded(old.size()) / Self::BLOCK, len / Self::BLOCK);
        if to < from {
            // SAFETY: The block is allocated, and has no region of its own.
            let (region, offset) = unsafe { self.place_of(block) };
            self.give_to(region, offset + to * Self::BLOCK, from - to);
            region.sub_used(from - to);
        }
        Ok(ptr::bytes(block, len))
    }
}
