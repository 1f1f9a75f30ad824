//! Taking and giving blocks.

use core::ptr::NonNull;

use super::bits::Wanted;
use super::map::UNSETTLED;
use super::region::Region;
use super::word::{self, BITS};
use super::{BitSetAllocator, LargeBlocks, Quick, quick};
use crate::{AllocError, BlockSize, MemorySource, NonZeroLayout, SourceError, ptr};

/// How many regions are tried for a run before a new one is obtained.
const TRIED: usize = 8;

impl<S: MemorySource, B: BlockSize> BitSetAllocator<S, B> {
    /// The longest run that waits to be wanted again, in blocks: none that has a region of its own.
    const LONGEST_QUICK: usize = {
        let most = (Self::WINDOW - Self::BOOKS) / Self::BLOCK;
        if most < quick::LONGEST { most } else { quick::LONGEST }
    };

    /// Takes a block or a run that waits.
    #[inline(always)]
    pub(super) fn pop_waiting(&self, layout: NonZeroLayout) -> Option<NonNull<u8>> {
        if layout.align() > Self::BLOCK {
            return None;
        }
        let len = Self::count(layout.size());
        let block = self.quick.pop(len)?;
        // SAFETY: What waits lies in a region that is held.
        let (region, _) = unsafe { self.place_of(block) };
        region.add_used(len);
        Some(block)
    }

    /// Takes a block from the hand.
    #[inline(always)]
    pub(super) fn pop(&self) -> Option<NonNull<u8>> {
        let hand = self.hand.get();
        if hand == 0 {
            return None;
        }
        self.hand.set(word::without_lowest(hand));
        let block = ptr::up(self.hand_start.get(), word::lowest(hand) * Self::BLOCK);
        // SAFETY: With a bit in the hand, its word is that of a region, and the block lies in the region.
        Some(unsafe { NonNull::new_unchecked(block) })
    }

    /// Takes the next word to hand, obtaining a region if need be, and a block from it.
    #[inline(never)]
    pub(super) fn refill_and_pop(&self) -> Result<NonNull<u8>, AllocError> {
        if !self.refill() {
            self.flush_quick();
        }
        if self.hand.get() == 0 && !self.refill() {
            self.obtain_region(Self::BLOCK, Self::BLOCK)?;
            self.refill();
        }
        self.pop().ok_or(AllocError::Source(SourceError::TooLarge))
    }

    /// Takes the next word to the hand, which is empty; `false` where no region has a free block.
    #[inline]
    fn refill(&self) -> bool {
        let Some(region) = self.first_open() else { return false };
        let map = region.map();
        let Some(word) = map.next_for_single(region.cursor.get()) else { return false };
        let bits = map.take_word(word);
        region.add_used(bits.count_ones() as usize);
        region.cursor.set(word + 1);
        self.hand.set(bits);
        self.hand_start.set(ptr::up(region.start(), word * Self::WORD));
        if map.is_full() {
            self.close(region);
        }
        let left = self.hand_region.replace(region.pointer());
        if left != region.pointer()
            && let Some(left) = NonNull::new(left)
        {
            // SAFETY: The region of the word at hand was held.
            let left = unsafe { left.as_ref() };
            if left.is_empty() {
                // SAFETY: The region is held, and not looked at again.
                unsafe { self.emptied(left.pointer()) };
            }
        }
        true
    }

    /// Gives the blocks at hand back to their region's map.
    pub(super) fn flush(&self) {
        let hand = self.hand.replace(0);
        if hand == 0 {
            return;
        }
        // SAFETY: With blocks at hand there is their region, and it is held.
        let region = unsafe { &*self.hand_region.get() };
        let word = (self.hand_start.get().addr() - region.start().addr()) / Self::WORD;
        region.map().give_word(word, hand);
        region.sub_used(hand.count_ones() as usize);
        self.reopen(region);
    }

    /// Gives the runs that wait back to their regions' maps.
    pub(super) fn flush_quick(&self) {
        for len in Quick::lengths() {
            while let Some(run) = self.quick.pop(len) {
                // SAFETY: A run that waits lies in a region that is held: one is released only after all runs went back.
                let (region, at) = unsafe { self.place_of(run) };
                self.give_to(region, at, len);
            }
        }
    }

    /// The region of a block, and the block's number.
    ///
    /// # Safety
    /// The block was allocated here, without a region of its own, and not given back.
    #[inline(always)]
    unsafe fn place_of(&self, block: NonNull<u8>) -> (&Region, usize) {
        let offset = block.addr().get().wrapping_sub(self.phase()) & (Self::WINDOW - 1);
        let region = ptr::down(block.as_ptr(), offset).cast::<Region>();
        // SAFETY: A region starts where its window does and does not leave it, so this is the region that the block lies in,
        // and the block's pointer was made from the region's; it is held because the block is not given back.
        (unsafe { &*region }, offset / Self::BLOCK)
    }

    /// Gives back a block or a run.
    ///
    /// # Safety
    /// As [`Allocator::deallocate`](crate::Allocator::deallocate).
    #[inline(always)]
    pub(super) unsafe fn give(&self, block: NonNull<u8>, layout: NonZeroLayout) {
        let len = Self::count(layout.size());
        if layout.align() > Self::BLOCK || len > Self::LONGEST_QUICK {
            // SAFETY: The caller's promises.
            return unsafe { self.give_run_back(block, layout) };
        }
        // SAFETY: The caller's promises; so few blocks have no region of their own.
        let (region, at) = unsafe { self.place_of(block) };
        // SAFETY: The caller gives the run up; its region is released only after all that waits went back to the maps.
        if !unsafe { self.quick.push(len, block) } {
            if len == 1 {
                // SAFETY: The block is in the region.
                unsafe { self.give_single_back(region, at) };
            } else {
                self.give_to(region, at, len);
            }
        }
        region.sub_used(len);
        if region.is_empty() {
            // SAFETY: The region is held, and not looked at again.
            unsafe { self.emptied(region.pointer()) };
        }
    }

    /// Gives a block back to its region's map.
    ///
    /// # Safety
    /// The block with this number is in the region, and allocated.
    #[inline(always)]
    unsafe fn give_single_back(&self, region: &Region, at: usize) {
        let (word, at) = (at / BITS, at % BITS);
        // SAFETY: The block is in the region, so its word is.
        let (bits, longest) = unsafe { region.word(word) };
        bits.set(bits.get() | 1 << at);
        if longest.get() != UNSETTLED {
            self.unsettle(region, word);
        }
    }

    /// Does what `give_single_back` leaves for the first free block since the word was settled.
    #[inline(never)]
    fn unsettle(&self, region: &Region, word: usize) {
        region.map().unsettle(word);
        self.reopen(region);
    }

    /// Takes a run out of a region's map.
    #[inline]
    fn take_run_from(&self, region: &Region, layout: NonZeroLayout) -> Option<NonNull<u8>> {
        let map = region.map();
        let wanted = Wanted::new(layout.size(), layout.align(), Self::BLOCK, region.start().addr());
        let at = map.find(wanted)?;
        map.take(at, wanted.len);
        region.add_used(wanted.len);
        if map.is_full() {
            self.close(region);
        }
        NonNull::new(ptr::up(region.start(), at * Self::BLOCK))
    }

    /// Takes a run out of the hand.
    #[inline]
    fn take_run_from_hand(&self, layout: NonZeroLayout) -> Option<NonNull<u8>> {
        let len = Self::rounded(layout.size()) / Self::BLOCK;
        let hand = self.hand.get();
        if len > BITS || layout.align() > Self::BLOCK {
            return None;
        }
        let starts = word::run_starts(hand, len);
        if starts == 0 {
            return None;
        }
        let at = word::lowest(starts);
        self.hand.set(hand & !word::mask(at, len));
        NonNull::new(ptr::up(self.hand_start.get(), at * Self::BLOCK))
    }

    /// Takes a run from the hand or from a region that was obtained already, if one of the first few has it.
    #[inline(never)]
    pub(super) fn take_run_held(&self, layout: NonZeroLayout) -> Option<NonNull<u8>> {
        if let Some(block) = self.take_run_from_hand(layout) {
            return Some(block);
        }
        if Self::is_large(layout) {
            return None;
        }
        self.open_regions().take(TRIED).find_map(|region| self.take_run_from(region, layout))
    }

    /// Allocates anything but a single block, of which none waits.
    #[inline(never)]
    pub(super) fn allocate_run(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, AllocError> {
        match self.take_run_held(layout) {
            Some(block) => Ok(ptr::bytes(block, Self::rounded(layout.size()))),
            None => self.allocate_run_elsewhere(layout),
        }
    }

    #[cold]
    #[inline(never)]
    fn allocate_run_elsewhere(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, AllocError> {
        if Self::is_large(layout) {
            return self.large.allocate(&self.source, layout);
        }
        let block = match self.take_run_after_flush(layout) {
            Some(block) => block,
            None => self.take_run_from_new(layout)?,
        };
        Ok(ptr::bytes(block, Self::rounded(layout.size())))
    }

    /// Takes a run after everything that is free went back to its map.
    fn take_run_after_flush(&self, layout: NonZeroLayout) -> Option<NonNull<u8>> {
        if self.hand.get() == 0 && self.quick.is_empty() {
            return None;
        }
        self.flush();
        self.flush_quick();
        self.open_regions().take(TRIED).find_map(|region| self.take_run_from(region, layout))
    }

    /// Takes a run from a new region, or, where there is none to be had, from any that has it.
    fn take_run_from_new(&self, layout: NonZeroLayout) -> Result<NonNull<u8>, AllocError> {
        match self.obtain_region(Self::rounded(layout.size()), layout.align()) {
            Ok(region) => match self.take_run_from(region, layout) {
                Some(block) => Ok(block),
                None => {
                    // SAFETY: The region was just obtained, and is not looked at again.
                    unsafe { self.emptied(region.pointer()) };
                    Err(AllocError::Source(SourceError::TooLarge))
                }
            },
            Err(error) => {
                let mut rest = self.open_regions().skip(TRIED);
                rest.find_map(|region| self.take_run_from(region, layout)).ok_or(error)
            }
        }
    }

    /// Gives a run back to its region's map, or to the source.
    ///
    /// # Safety
    /// As [`Allocator::deallocate`](crate::Allocator::deallocate).
    #[inline(never)]
    unsafe fn give_run_back(&self, block: NonNull<u8>, layout: NonZeroLayout) {
        if Self::is_large(layout) {
            // SAFETY: The caller's promises; every layout that fits the block says that it has a region of its own.
            unsafe { self.large.deallocate(&self.source, block) };
            return;
        }
        // SAFETY: The caller's promises; the block has no region of its own.
        let (region, at) = unsafe { self.place_of(block) };
        let len = Self::rounded(layout.size()) / Self::BLOCK;
        self.give_to(region, at, len);
        region.sub_used(len);
        if region.is_empty() {
            // SAFETY: The region is held, and not looked at again.
            unsafe { self.emptied(region.pointer()) };
        }
    }

    #[inline(never)]
    fn give_to(&self, region: &Region, at: usize, len: usize) {
        region.map().give(at, len);
        self.reopen(region);
    }

    /// Whether a block that may stay where it is has a region of its own; an error where it may not, because only one of the layouts
    /// asks for that, or because of the new alignment.
    #[inline(always)]
    fn stays(block: NonNull<u8>, old: NonZeroLayout, new: NonZeroLayout) -> Result<bool, AllocError> {
        let is_large = Self::is_large(old);
        let aligned = ptr::padding(block.addr().get(), new.align()) == 0;
        if is_large == Self::is_large(new) && aligned { Ok(is_large) } else { Err(AllocError::NotInPlace) }
    }

    /// The `grow_in_place` of anything but single blocks that stay so.
    ///
    /// # Safety
    /// As [`Allocator::grow`](crate::Allocator::grow).
    pub(super) unsafe fn grow_run(
        &self,
        block: NonNull<u8>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        if Self::stays(block, old, new)? {
            // SAFETY: The block is allocated, and has a region of its own.
            let len = unsafe { LargeBlocks::len(block) };
            return if new.size() <= len { Ok(ptr::bytes(block, len)) } else { Err(AllocError::NotInPlace) };
        }
        let len = Self::rounded(new.size());
        let (from, to) = (Self::rounded(old.size()) / Self::BLOCK, len / Self::BLOCK);
        if to > from {
            // SAFETY: The block is allocated, and has no region of its own.
            let (region, at) = unsafe { self.place_of(block) };
            if !self.take_behind(region, at + from, to - from) {
                return Err(AllocError::NotInPlace);
            }
        }
        Ok(ptr::bytes(block, len))
    }

    /// Takes `len` blocks from `at` on, if they are there and free.
    fn take_behind(&self, region: &Region, at: usize, len: usize) -> bool {
        if len > region.end().saturating_sub(at) {
            return false;
        }
        let map = region.map();
        if !map.bits.is_free(at, len) {
            if self.hand.get() == 0 || !core::ptr::eq(self.hand_region.get(), region) {
                return false;
            }
            self.flush();
            if !map.bits.is_free(at, len) {
                return false;
            }
        }
        map.take(at, len);
        region.add_used(len);
        if map.is_full() {
            self.close(region);
        }
        true
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
            let (region, at) = unsafe { self.place_of(block) };
            self.give_to(region, at + to, from - to);
            region.sub_used(from - to);
        }
        Ok(ptr::bytes(block, len))
    }
}
