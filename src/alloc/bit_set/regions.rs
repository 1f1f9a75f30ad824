//! Obtaining and releasing regions.
//!
//! Where the source gives pages, or blocks as large as the window, a region is asked for at a multiple of the window, and the
//! phase is 0. Any other source is asked for what it has, at a multiple of a block: the first region sets the phase, so that none of
//! it is lost, and a later one is used from where the phase says.
//!
//! ```text
//!   phase = start of the first region modulo WINDOW
//!   |<------- WINDOW ------->|<------- WINDOW ------->|
//!   +------------------------+------------------------+-----+
//!   | Region (primary)       | Region (continuation)  | ... |     what came is longer than a window: several maps
//!   +------------------------+------------------------+-----+
//! ```

use core::ptr::{NonNull, null_mut};

use super::BitSetAllocator;
use super::large::release;
use super::region::{Region, books_bytes, region_bytes};
use crate::source::request;
use crate::{AllocError, BlockSize, MemorySource, NonZeroLayout, SourceError, ptr};

/// The first region, in bytes.
const FIRST: usize = 256 << 10;
/// How much longer each region is than the last.
const GROWTH: usize = 4;
/// What a source of pages aligns its regions to, in bytes.
const PAGE: usize = 4096;

impl<S: MemorySource, B: BlockSize> BitSetAllocator<S, B> {
    /// Whether every region is at a multiple of the window because the source gives nothing else.
    const NO_PHASE: bool = S::MIN_ALIGN >= Self::WINDOW;

    /// Whether regions are asked for at multiples of the window.
    const ALIGNED: bool = Self::NO_PHASE || (S::MIN_ALIGN >= PAGE && S::MAX_REGION >= Self::WINDOW);

    /// Whether a region may begin anywhere, so that as much as an alignment may be lost before a block; where the source gives large blocks
    /// regions of their own, that is allowed for.
    pub(super) const AT_ANY_PLACE: bool = !Self::ALIGNED && S::MAX_REGION / 2 >= Self::WINDOW;

    /// What regions are asked for at multiples of.
    const ALIGN: usize = if Self::ALIGNED {
        Self::WINDOW
    } else if Self::BLOCK > align_of::<Region>() {
        Self::BLOCK
    } else {
        align_of::<Region>()
    };

    #[inline(always)]
    pub(super) fn phase(&self) -> usize {
        if Self::NO_PHASE { 0 } else { self.phase.get() }
    }

    /// Every region but those of large blocks, while none is released.
    pub(super) fn regions(&self) -> impl Iterator<Item = &Region> {
        self.all.iter(|region| &region.all)
    }

    /// The regions with free blocks in their maps, while none is released.
    pub(super) fn open_regions(&self) -> impl Iterator<Item = &Region> {
        self.open.iter(|region| &region.open)
    }

    #[inline]
    pub(super) fn first_open(&self) -> Option<&Region> {
        // SAFETY: What is on the list is held.
        NonNull::new(self.open.head.get()).map(|region| unsafe { region.as_ref() })
    }

    /// Takes a region without free blocks off the open list.
    #[inline]
    pub(super) fn close(&self, region: &Region) {
        if region.is_open.replace(false) {
            // SAFETY: An open region is on this list, whose regions are held.
            unsafe { self.open.remove(region, |region| &region.open) };
        }
    }

    /// Puts a region with free blocks on the open list, behind those that are there.
    #[inline]
    pub(super) fn reopen(&self, region: &Region) {
        if !region.is_open.replace(true) {
            // SAFETY: A region that was not open is on no list of these links, and is held.
            unsafe { self.open.push_back(region, |region| &region.open) };
        }
    }

    /// Obtains a region that holds `size` bytes, whole blocks, at a multiple of `align`.
    #[cold]
    #[inline(never)]
    pub(super) fn obtain_region(&self, size: usize, align: usize) -> Result<&Region, AllocError> {
        let least = region_bytes(size + align.max(Self::BLOCK), Self::BLOCK);
        let preferred = self.last.get().saturating_mul(GROWTH).clamp(FIRST, Self::WINDOW.max(FIRST));
        let most = Self::WINDOW.min(if Self::ALIGNED { S::MAX_REGION } else { S::MAX_REGION - Self::ALIGN });
        let least = least.min(most);
        let preferred = preferred.clamp(least, most);
        match self.obtain_one(preferred, least) {
            Err(_) if preferred > least => self.obtain_one(least, least),
            outcome => outcome,
        }
    }

    /// Obtains `size` bytes, of which at least `least` become a region.
    fn obtain_one(&self, size: usize, least: usize) -> Result<&Region, AllocError> {
        let layout = NonZeroLayout::from_size_align(size, Self::ALIGN)?;
        // Somewhere in a window's length more the phase is met.
        for size in [size, size.saturating_add(Self::WINDOW)] {
            let obtained = request::obtain(&self.source, layout.with_size(size)?)?;
            if let Some(region) = self.adopt(obtained, least) {
                return Ok(region);
            }
            // SAFETY: Just obtained at this alignment, and not used.
            unsafe { release(&self.source, obtained, Self::ALIGN) };
        }
        Err(AllocError::Source(SourceError::AlignmentTooLarge))
    }

    /// Makes what the source gave a region, or several; `None` where the phase leaves less than `least` bytes.
    fn adopt(&self, obtained: NonNull<[u8]>, least: usize) -> Option<&Region> {
        let start = obtained.cast::<u8>();
        let address = start.addr().get();
        if self.all.head.get().is_null() {
            self.phase.set(address & (Self::WINDOW - 1));
        }
        let mut from = self.phase().wrapping_sub(address) & (Self::WINDOW - 1);
        if obtained.len().saturating_sub(from) < least {
            return None;
        }
        // The length of the region that begins there, if there is room for its books and a block.
        let region_at = |from: usize| {
            let len = obtained.len().saturating_sub(from).min(Self::WINDOW) & !(Self::BLOCK - 1);
            if len < books_bytes(len / Self::BLOCK, Self::BLOCK) + Self::BLOCK { None } else { Some(len) }
        };
        let is_split = region_at(from + Self::WINDOW).is_some();
        let mut first = None;
        while let Some(len) = region_at(from) {
            // What the source gave is the first region's to give back.
            let given = if first.is_none() { obtained } else { ptr::bytes(start, 0) };
            // SAFETY: `from` is less than the length of what was obtained.
            let place = unsafe { start.add(from) };
            // SAFETY: These `len` bytes were just obtained. They start at a multiple of a block and of 8, as the first region did, and
            // windows are multiples of both; there is room for the books and a block.
            let region: &Region = unsafe { Region::make(place, len, Self::BLOCK, given, is_split) };
            // SAFETY: The region is new.
            unsafe { self.all.push_back(region, |region| &region.all) };
            self.reopen(region);
            self.last.set(len);
            first = first.or(Some(region));
            from += Self::WINDOW;
        }
        first
    }

    /// Sees to a region without live blocks: one is kept beside the one in use.
    ///
    /// # Safety
    /// The pointer is that of a region that is held, and no reference to it is used afterwards: it may be gone. (That is why it is
    /// passed as a pointer: what a parameter's reference leads to must be there for as long as the function runs.)
    #[cold]
    #[inline(never)]
    pub(super) unsafe fn emptied(&self, region: *mut Region) {
        // SAFETY: The region is held, as the caller promises.
        let region = unsafe { &*region };
        if region.is_split || core::ptr::eq(self.hand_region.get(), region) {
            return;
        }
        let kept = self.spare.get();
        if let Some(kept) = NonNull::new(kept)
            && !core::ptr::eq(kept.as_ptr(), region)
            && !core::ptr::eq(kept.as_ptr(), self.hand_region.get())
            // SAFETY: The spare region is held: when it is released, it is not the spare one any more.
            && unsafe { kept.as_ref() }.is_empty()
        {
            self.flush_quick();
            self.close(region);
            // SAFETY: Every region is on this list.
            unsafe { self.all.remove(region, |region| &region.all) };
            // SAFETY: The source gave this region at this alignment; it has no live block, is off the lists, is not at hand and not
            // the spare one.
            unsafe { release(&self.source, region.obtained, Self::ALIGN) };
        } else {
            self.spare.set(region.pointer());
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
            // SAFETY: Every region is on this list.
            unsafe { self.all.remove(kept, |region| &region.all) };
        }
        // SAFETY: The caller's promise.
        unsafe { self.release_all() };
        if let Some(kept) = longest {
            // SAFETY: The kept region was taken off the list before the others were released, so that it is still held.
            unsafe { self.all.push_back(kept, |region| &region.all) };
            kept.start_over();
            kept.is_open.set(false);
            self.reopen(kept);
            self.last.set(kept.bytes(Self::BLOCK));
        }
    }

    /// Releases every region on the list of all, and those of large blocks; the allocator is then as new.
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
        self.last.set(0);
        self.open.clear();
        self.quick.clear();
        // Continuations go with the regions that they continue, so they leave the list before.
        for region in self.regions().filter(|region| region.obtained.is_empty()) {
            // SAFETY: The region is on this list; the iterator has passed it, and its links stay as they are.
            unsafe { self.all.remove(region, |region| &region.all) };
        }
        while let Some(region) = NonNull::new(self.all.head.get()) {
            // SAFETY: What is on the list is held.
            let region = unsafe { region.as_ref() };
            // SAFETY: The region is the first on the list.
            unsafe { self.all.remove(region, |region| &region.all) };
            // SAFETY: The source gave this region at this alignment; it is off the lists, and the caller promises that no block of it
            // is used.
            unsafe { release(&self.source, region.obtained, Self::ALIGN) };
        }
        self.all.clear();
    }
}
