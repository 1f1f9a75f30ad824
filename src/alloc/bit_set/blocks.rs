//! Taking and giving blocks.

use core::ptr::NonNull;

use super::BitSetAllocator;
use super::bits::Wanted;
use super::map::UNSETTLED;
use super::quick_fit::{self, QuickFit};
use super::region::Region;
use super::word::{self, BITS};
use crate::error::{AllocError, SourceError};
use crate::layout::NonZeroLayout;
use crate::ptr;
use crate::size::BlockSize;
use crate::source::MemorySource;

/// A block that was taken.
#[derive(Clone, Copy)]
pub(super) struct Taken {
    pub(super) block: NonNull<u8>,
    /// Its bytes from this one on are zero; perhaps more than it has.
    pub(super) dirty: usize,
}

impl Taken {
    /// A block that may have any bytes.
    pub(super) const fn dirty(block: NonNull<u8>) -> Self {
        Self { block, dirty: usize::MAX }
    }
}

impl<S: MemorySource, B: BlockSize> BitSetAllocator<S, B> {
    /// The longest run that waits to be wanted again, in blocks: none that has a region of its own.
    const LONGEST_QUICK: usize = {
        let most = (Self::WINDOW - Self::INDEX) / Self::BLOCK;
        if most < quick_fit::LONGEST { most } else { quick_fit::LONGEST }
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

    /// What is known of a block that was taken from the hand.
    #[inline]
    pub(super) fn taken_from_hand(&self, block: NonNull<u8>) -> Taken {
        if self.hand_is_zero.get() { Taken { block, dirty: 0 } } else { Taken::dirty(block) }
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
        // SAFETY: With a bit in the hand, its word is that of a region, and the block lies in the
        // region.
        Some(unsafe { NonNull::new_unchecked(block) })
    }

    /// Takes a single block from the hand or from a region; none waits.
    #[inline(always)]
    pub(super) fn take_single(&self) -> Result<NonNull<u8>, AllocError> {
        match self.pop() {
            Some(block) => Ok(block),
            None => match self.refill_and_pop() {
                Some(block) => Ok(block),
                None => self.take_single_elsewhere(),
            },
        }
    }

    /// Takes the next word to hand and a block from it, if a region has a free block. As long as it
    /// has one, it is the region of the last word.
    #[inline(never)]
    fn refill_and_pop(&self) -> Option<NonNull<u8>> {
        // SAFETY: The region of the word at hand is held.
        match unsafe { self.hand_region.get().as_ref() } {
            Some(region) if region.known.is_open() => self.refill_from(region),
            _ => self.refill_from_another()?,
        }
        self.pop()
    }

    /// Takes a word of a region that has a free block to the hand, which is empty.
    #[inline(always)]
    fn refill_from(&self, region: &Region) {
        let map = region.map();
        let Some(word) = map.next_for_single(region.cursor.get()) else { return };
        let bits = region.take_word(word);
        region.add_used(bits.count_ones() as usize);
        region.cursor.set(word + 1);
        let dirty = region.touch(word * BITS, BITS);
        self.hand.set(bits);
        self.hand_start.set(ptr::up(region.start(), word * Self::WORD));
        self.hand_is_zero.set(dirty == 0);
        if map.is_full() {
            self.close(region);
        }
    }

    /// Takes a word of the first region that has a free block to the hand, which is empty, in place
    /// of one of the last word's region, which has none; `None` if no region has one.
    #[cold]
    #[inline(never)]
    fn refill_from_another(&self) -> Option<()> {
        let region = self.bins.first()?;
        self.refill_from(region);
        let left = self.hand_region.replace(region.pointer());
        // SAFETY: The region of the word at hand was held.
        if let Some(left) = unsafe { left.as_ref() }
            && left.is_empty()
        {
            // SAFETY: The region is held, has no live block, is not at hand any more, and is not
            // looked at again.
            unsafe { self.retire(left.pointer()) };
        }
        Some(())
    }

    /// Takes a single block of a run that waits, or of a new region.
    #[cold]
    #[inline(never)]
    fn take_single_elsewhere(&self) -> Result<NonNull<u8>, AllocError> {
        if let Some((run, len)) = self.quick.pop_shortest() {
            // SAFETY: What waits lies in a region that is held.
            let (region, offset) = unsafe { self.place_of(run) };
            self.give_to(region, offset, len);
        } else {
            self.obtain_region(Self::BLOCK, Self::BLOCK)?;
        }
        self.refill_and_pop().ok_or(AllocError::Source(SourceError::TooLarge))
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
        for len in QuickFit::lengths() {
            self.quick.drain(len, |run| {
                // SAFETY: A run that waits lies in a region that is held: one is released only
                // after all runs went back.
                let (region, offset) = unsafe { self.place_of(run) };
                self.give_to(region, offset, len);
            });
        }
    }

    /// The region of a block, and how many bytes behind its start the block is.
    ///
    /// # Safety
    /// The block was allocated here, without a region of its own, and not given back.
    #[inline(always)]
    pub(super) unsafe fn place_of(&self, block: NonNull<u8>) -> (&Region, usize) {
        let (address, phase) = (block.addr().get(), self.phase());
        let start = (address.wrapping_sub(phase) & !(Self::WINDOW - 1)).wrapping_add(phase);
        let region = ptr::at(block.as_ptr(), start).cast::<Region>();
        // SAFETY: A region starts where its window does and does not leave it, so this is the
        // region that the block lies in, and the block's pointer was made from the region's; it is
        // held because the block is not given back.
        (unsafe { &*region }, address.wrapping_sub(start))
    }

    /// Gives back a block or a run.
    ///
    /// # Safety
    /// As [`Allocator::deallocate`](crate::Allocator::deallocate).
    #[inline(always)]
    pub(super) unsafe fn give(&self, block: NonNull<u8>, layout: NonZeroLayout) {
        let len = Self::count(layout.size());
        if layout.align() > Self::BLOCK || len > Self::LONGEST_QUICK {
            core::hint::cold_path();
            // SAFETY: The block is allocated here, the layout fits it, and the caller gives it up.
            return unsafe { self.give_run_back(block, layout) };
        }
        // SAFETY: The caller's promises; so few blocks have no region of their own.
        let (region, offset) = unsafe { self.place_of(block) };
        // SAFETY: The caller gives the run up; its region is released only after all that waits
        // went back to the maps.
        if !unsafe { self.quick.push(len, block) } {
            if len == 1 {
                // SAFETY: The block is in the region.
                unsafe { self.give_single_back(region, offset / Self::BLOCK) };
            } else {
                self.give_to(region, offset, len);
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
        let (word, bit) = (at / BITS, at % BITS);
        // SAFETY: The block is in the region, so its word is.
        let (bits, longest) = unsafe { region.word(word) };
        if longest.get() != UNSETTLED {
            return self.revive(region, at);
        }
        bits.set(bits.get() | 1 << bit);
    }

    /// Does what `give_single_back` leaves for the first block that is freed since the word was
    /// settled.
    #[inline(never)]
    fn revive(&self, region: &Region, at: usize) {
        region.give_single(at, self.identity.get());
        self.reopen(region);
    }

    /// Takes a run out of a region's map.
    #[inline]
    fn take_run_from(&self, region: &Region, layout: NonZeroLayout) -> Option<Taken> {
        let map = region.map();
        let wanted = Wanted::new(layout.size(), layout.align(), Self::BLOCK, region.start().addr());
        let at = map.find(wanted)?;
        map.take(at, wanted.len);
        region.add_used(wanted.len);
        let dirty = region.touch(at, wanted.len) * Self::BLOCK;
        if map.is_full() {
            self.close(region);
        }
        let block = NonNull::new(ptr::up(region.start(), at * Self::BLOCK))?;
        Some(Taken { block, dirty })
    }

    /// Takes a run out of the map of any region that has it.
    #[inline]
    fn take_run_from_any(&self, layout: NonZeroLayout) -> Option<Taken> {
        let wanted = Wanted::new(layout.size(), layout.align(), Self::BLOCK, 0);
        // SAFETY: What is in the bins is held; nothing here releases a region, and `take_run_from`
        // closes no other.
        unsafe { self.bins.find(wanted, |region| self.take_run_from(region, layout)) }
    }

    /// Takes a run out of the hand.
    #[inline]
    fn take_run_from_hand(&self, layout: NonZeroLayout) -> Option<Taken> {
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
            .map(|block| self.taken_from_hand(block))
    }

    /// Takes a run from the hand or from a region that was obtained already.
    #[inline(never)]
    pub(super) fn take_run_held(&self, layout: NonZeroLayout) -> Option<Taken> {
        if let Some(taken) = self.take_run_from_hand(layout) {
            return Some(taken);
        }
        if Self::is_large(layout) {
            return None;
        }
        self.take_run_from_any(layout)
    }

    /// Allocates anything but a single block, of which none waits.
    #[inline(never)]
    pub(super) fn allocate_run(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, AllocError> {
        match self.take_run_held(layout) {
            Some(run) => Ok(ptr::bytes(run.block, Self::rounded(layout.size()))),
            None => self.take_run_elsewhere(layout).map(|(run, len)| ptr::bytes(run.block, len)),
        }
    }

    /// Takes any block, and says its length.
    pub(super) fn take(&self, layout: NonZeroLayout) -> Result<(Taken, usize), AllocError> {
        let taken = if let Some(block) = self.pop_waiting(layout) {
            Taken::dirty(block)
        } else if Self::is_single(layout) {
            self.take_single().map(|block| self.taken_from_hand(block))?
        } else if let Some(run) = self.take_run_held(layout) {
            run
        } else {
            return self.take_run_elsewhere(layout);
        };
        Ok((taken, Self::rounded(layout.size())))
    }

    /// Takes a run after everything that is free went back to its map, or from a new region, and
    /// says its length.
    #[cold]
    #[inline(never)]
    fn take_run_elsewhere(&self, layout: NonZeroLayout) -> Result<(Taken, usize), AllocError> {
        if Self::is_large(layout) {
            return self.large.allocate(&self.source, layout);
        }
        let len = Self::rounded(layout.size());
        if self.hand.get() != 0 || !self.quick.is_empty() {
            self.flush();
            self.flush_quick();
            if let Some(run) = self.take_run_from_any(layout) {
                return Ok((run, len));
            }
        }
        let region = self.obtain_region(len, layout.align())?;
        match self.take_run_from(region, layout) {
            Some(run) => Ok((run, len)),
            None => {
                // SAFETY: The region was just obtained, and is not looked at again.
                unsafe { self.emptied(region.pointer()) };
                Err(AllocError::Source(SourceError::TooLarge))
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
            // SAFETY: The caller's promises; every layout that fits the block says that it has a
            // region of its own.
            unsafe { self.large.deallocate(&self.source, block) };
            return;
        }
        // SAFETY: The caller's promises; the block has no region of its own.
        let (region, offset) = unsafe { self.place_of(block) };
        let len = Self::rounded(layout.size()) / Self::BLOCK;
        self.give_to(region, offset, len);
        region.sub_used(len);
        if region.is_empty() {
            // SAFETY: The region is held, and not looked at again.
            unsafe { self.emptied(region.pointer()) };
        }
    }

    /// Gives a run back to the map of its region, where it was allocated; ends the process if it
    /// was not.
    #[inline(never)]
    pub(super) fn give_to(&self, region: &Region, offset: usize, len: usize) {
        region.give(offset, len, Self::BLOCK, self.identity.get());
        self.reopen(region);
    }
}
