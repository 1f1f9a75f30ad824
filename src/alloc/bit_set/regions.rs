//! Obtaining and releasing regions.
//!
//! Where the source gives pages, or blocks as large as the window, a region is asked for at a
//! multiple of the window, and the phase is 0. Any other source is asked for what it has, at a
//! multiple of a block: the first region sets the phase, so that none of it is lost, and a later
//! one is used from where the phase says.
//!
//! ```text
//!   phase = start of the first region modulo WINDOW
//!   |<------- WINDOW ------->|<------- WINDOW ------->|
//!   +------------------------+------------------------+-----+
//!   | Region (primary)       | Region (continuation)  | ... |   longer than a window: several maps
//!   +------------------------+------------------------+-----+
//! ```

use core::ptr::{NonNull, null_mut};

use super::BitSetAllocator;
use super::large::release;
use super::region::{FOREIGN, Region, index_bytes, region_bytes};
use crate::error::{AllocError, SourceError};
use crate::layout::NonZeroLayout;
use crate::misuse;
use crate::ptr;
use crate::size::BlockSize;
use crate::source::MemorySource;
use crate::source::{Obtained, request};

/// The shortest region that is asked for unless the source has no longer ones, in bytes.
const SHORTEST: usize = 256 << 10;
/// A region is as long as this part of all that are held, if that is more,
const PART: usize = 8;
/// and but for the first has room for so many blocks.
const FEW: usize = 8;
/// A region without live blocks that is no longer than this is kept rather than a shorter one, in
/// bytes.
const KEPT: usize = 1 << 20;
/// Where each further region may cost as much again as the longest, it is so many times as long as
/// the last.
const GROWTH: usize = 4;
/// What a source of pages aligns its regions to, in bytes.
const PAGE: usize = 4096;

impl<S: MemorySource, B: BlockSize> BitSetAllocator<S, B> {
    /// Whether every region is at a multiple of the window because the source gives nothing else.
    const NO_PHASE: bool = S::MIN_ALIGN >= Self::WINDOW;

    /// Whether regions are asked for at multiples of the window.
    const ALIGNED: bool = Self::NO_PHASE || (S::MIN_ALIGN >= PAGE && S::MAX_REGION >= Self::WINDOW);

    /// Whether a region may begin anywhere, so that as much as an alignment may be lost before a
    /// block; where the source gives large blocks regions of their own, that is allowed for.
    pub(super) const AT_ANY_PLACE: bool = !Self::ALIGNED && S::MAX_REGION / 2 >= Self::WINDOW;

    /// What regions are asked for at multiples of.
    const ALIGN: usize = if Self::ALIGNED {
        Self::WINDOW
    } else if Self::BLOCK > align_of::<Region>() {
        Self::BLOCK
    } else {
        align_of::<Region>()
    };

    /// The address of every region, modulo the window; a constant if regions are asked for at its
    /// multiples.
    #[inline(always)]
    pub(super) fn phase(&self) -> usize {
        if Self::ALIGNED { 0 } else { self.phase.get() }
    }

    /// Every region but those of large blocks, while none is released.
    pub(super) fn regions(&self) -> impl Iterator<Item = &Region> {
        self.all.iter(|region| &region.all)
    }

    /// Takes a region without free blocks out of its bin.
    #[inline]
    pub(super) fn close(&self, region: &Region) {
        // SAFETY: The region is this allocator's, and so are those in the bins: all are held.
        unsafe { self.bins.remove(region) };
    }

    /// Notes that a region has free blocks that it had not before.
    #[inline]
    pub(super) fn reopen(&self, region: &Region) {
        if !region.known.is_untold() {
            // SAFETY: As in `close`.
            unsafe { self.bins.untell(region) };
        }
    }

    /// How long the next region should be, in bytes, before the limits of the source.
    fn preferred(&self) -> usize {
        let Some(newest) = self.all.first() else { return SHORTEST };
        if Self::ALIGNED {
            ((self.held.get() / PART) & !(PAGE - 1)).max(SHORTEST).max(FEW * Self::BLOCK)
        } else {
            newest.bytes(Self::BLOCK).saturating_mul(GROWTH).max(SHORTEST)
        }
    }

    /// Obtains a region that holds `size` bytes, whole blocks, at a multiple of `align`.
    #[cold]
    #[inline(never)]
    pub(super) fn obtain_region(&self, size: usize, align: usize) -> Result<&Region, AllocError> {
        let least = region_bytes(size + align.max(Self::BLOCK), Self::BLOCK);
        let most = Self::WINDOW.min(if Self::ALIGNED { S::MAX_REGION } else { S::MAX_REGION - Self::ALIGN });
        let least = least.min(most);
        let preferred = self.preferred().clamp(least, most);
        match self.obtain_one(preferred, least) {
            Err(_) if preferred > least => self.obtain_one(least, least),
            outcome => outcome,
        }
    }

    /// Obtains up to `preferred` bytes, of which at least `least` become a region.
    fn obtain_one(&self, preferred: usize, least: usize) -> Result<&Region, AllocError> {
        let layout = NonZeroLayout::from_size_align(least, Self::ALIGN)?;
        // Somewhere in a window's length more the phase is met.
        for more in [0, Self::WINDOW] {
            let asked = layout.with_size(least.saturating_add(more))?;
            let Obtained { region: obtained, zeroed: is_zero } =
                request::obtain_between(&self.source, asked, preferred.saturating_add(more))?;
            if let Some(region) = self.adopt(obtained, is_zero, least) {
                return Ok(region);
            }
            // SAFETY: Just obtained at this alignment, and not used.
            unsafe { release(&self.source, obtained, Self::ALIGN) };
        }
        Err(AllocError::Source(SourceError::AlignmentTooLarge))
    }

    /// Makes what the source gave a region, or several; `None` where the phase leaves less than
    /// `least` bytes.
    fn adopt(&self, obtained: NonNull<[u8]>, is_zero: bool, least: usize) -> Option<&Region> {
        let start = obtained.cast::<u8>();
        let address = start.addr().get();
        if self.all.is_empty() {
            self.phase.set(address & (Self::WINDOW - 1));
        }
        if self.identity.get() == 0 {
            self.identity.set(address);
        }
        debug_assert!(!Self::ALIGNED || self.phase.get() == 0, "the source aligns its regions");
        let mut from = self.phase().wrapping_sub(address) & (Self::WINDOW - 1);
        if obtained.len().saturating_sub(from) < least {
            return None;
        }
        // The length of the region that begins there, if there is room for its index and a block.
        let region_at = |from: usize| {
            let len = obtained.len().saturating_sub(from).min(Self::WINDOW) & !(Self::BLOCK - 1);
            if len < index_bytes(len / Self::BLOCK, Self::BLOCK) + Self::BLOCK { None } else { Some(len) }
        };
        self.held.set(self.held.get() + obtained.len());
        let is_split = region_at(from + Self::WINDOW).is_some();
        let mut first = None;
        while let Some(len) = region_at(from) {
            // What the source gave is the first region's to give back.
            let given = if first.is_none() { obtained } else { ptr::bytes(start, 0) };
            // SAFETY: `from` is less than the length of what was obtained.
            let place = unsafe { start.add(from) };
            // SAFETY: These `len` bytes were just obtained. They start at a multiple of a block and
            // of 8, as the first region did, and windows are multiples of both; there is room for
            // the index and a block.
            let region: &Region = unsafe {
                Region::make(place, len, Self::BLOCK, given, is_split, is_zero, self.identity.get())
            };
            // SAFETY: The region is new.
            unsafe { self.all.push(region, |region| &region.all) };
            self.tell_empty(region);
            first = first.or(Some(region));
            from += Self::WINDOW;
        }
        first
    }

    /// Puts a region without live blocks behind all others.
    fn tell_empty(&self, region: &Region) {
        // SAFETY: The region is this allocator's, and so are those in the bins: all are held.
        unsafe { self.bins.transition(region, region.blocks()) };
    }

    /// Sees to a region without live blocks, and to that of the word at hand if it has none either.
    ///
    /// # Safety
    /// The pointer is that of a region that is held, and no reference to it is used afterwards: it
    /// may be gone. (That is why it is passed as a pointer: what a parameter's reference leads to
    /// must be there for as long as the function runs.)
    #[cold]
    #[inline(never)]
    pub(super) unsafe fn emptied(&self, region: *mut Region) {
        let at_hand = self.hand_region.get();
        // SAFETY: The region of the word at hand is held.
        if let Some(hand_region) = unsafe { at_hand.as_ref() }
            && hand_region.used.get() == self.hand.get().count_ones() as usize
        {
            self.flush();
            self.hand_region.set(null_mut());
            if at_hand != region {
                if self.spare.get() == region {
                    // It was the spare one, and was used since. `retire` must not release it here:
                    // it is looked at below.
                    self.spare.set(null_mut());
                }
                // SAFETY: The region is held, has no live block, is not at hand, and is not looked
                // at again.
                unsafe { self.retire(at_hand) };
            }
        }
        // SAFETY: As above; if it was at hand, it is not any more.
        unsafe { self.retire(region) };
    }

    /// Keeps a region without live blocks as the spare one, or releases it, or the one that was
    /// kept until now.
    ///
    /// # Safety
    /// As [`emptied`](Self::emptied); the region has no live block, and is not that of the word at
    /// hand.
    #[inline(never)]
    pub(super) unsafe fn retire(&self, region: *mut Region) {
        // SAFETY: The region is held, as the caller promises.
        let region = unsafe { &*region };
        misuse::check(region.is_of(self.identity.get()), FOREIGN, core::ptr::from_ref(region).addr());
        if region.is_split {
            return;
        }
        // SAFETY: The spare region is held: when it is released, it is not the spare one any more.
        let kept = unsafe { self.spare.replace(region.pointer()).as_ref() };
        let kept = kept.filter(|kept| {
            let is_at_hand = core::ptr::eq(*kept, self.hand_region.get());
            kept.is_empty() && !is_at_hand && !core::ptr::eq(*kept, region)
        });
        let mut spare = region;
        if let Some(kept) = kept {
            let (shorter, longer) =
                if kept.obtained.len() < region.obtained.len() { (kept, region) } else { (region, kept) };
            let released;
            let keeps_longer = longer.obtained.len() <= KEPT.max(self.held.get() / PART);
            (spare, released) = if keeps_longer { (longer, shorter) } else { (shorter, longer) };
            self.spare.set(spare.pointer());
            // What waits may lie in the region.
            self.flush_quick();
            released.check_empty();
            self.close(released);
            self.held.set(self.held.get() - released.obtained.len());
            // SAFETY: Every region is on this list.
            unsafe { self.all.remove(released, |region| &region.all) };
            // SAFETY: The source gave this region at this alignment; it has no live block, is off
            // the lists, is not at hand and not the spare one.
            unsafe { release(&self.source, released.obtained, Self::ALIGN) };
        }
        if spare.known.is_open() && !spare.known.is(spare.blocks()) {
            self.tell_empty(spare);
        }
    }

    /// Frees every block, and releases all regions but the longest.
    ///
    /// # Safety
    /// No block is used any more.
    pub(super) unsafe fn free_all_but_one(&self) {
        self.flush_quick();
        let longest =
            self.regions().filter(|region| !region.is_split).max_by_key(|region| region.obtained.len());
        if let Some(kept) = longest {
            self.close(kept);
            // SAFETY: Every region is on this list.
            unsafe { self.all.remove(kept, |region| &region.all) };
        }
        // SAFETY: The caller's promise.
        unsafe { self.release_all() };
        if let Some(kept) = longest {
            // SAFETY: The kept region was taken off the list before the others were released, so
            // that it is still held.
            unsafe { self.all.push(kept, |region| &region.all) };
            self.held.set(kept.obtained.len());
            kept.start_over();
            self.tell_empty(kept);
        }
    }

    /// Releases every region on the list of all, and those of large blocks; the allocator is then
    /// as new.
    ///
    /// # Safety
    /// No block is used any more.
    pub(super) unsafe fn release_all(&self) {
        // SAFETY: The caller's promise.
        unsafe { self.large.release_all(&self.source) };
        self.hand.set(0);
        self.hand_start.set(null_mut());
        self.hand_region.set(null_mut());
        self.spare.set(null_mut());
        self.held.set(0);
        self.bins.clear();
        self.quick.clear();
        // Continuations go with the regions that they continue, so they leave the list before.
        for region in self.regions().filter(|region| region.obtained.is_empty()) {
            // SAFETY: The region is on this list; the iterator has passed it, and its links stay as
            // they are.
            unsafe { self.all.remove(region, |region| &region.all) };
        }
        while let Some(region) = self.all.first() {
            // SAFETY: The region is the first on the list.
            unsafe { self.all.remove(region, |region| &region.all) };
            // SAFETY: The source gave this region at this alignment; it is off the lists, and the
            // caller promises that no block of it is used.
            unsafe { release(&self.source, region.obtained, Self::ALIGN) };
        }
        self.all.clear();
    }
}
