//! The regions of a bump allocator: obtained, kept for later, released.
//!
//! ```text
//!   newest          previous, marked: spare     previous                older regions
//!   +--------+---   +--------+-----------+      +--------+--------
//!   | header |      | header |  unused   |      | header | ...
//!   +--------+---   +--------+-----------+      +--------+--------
//! ```
//!
//! One of the regions that a rewind frees, of at most [`MOST_SPARE`] bytes, is *spare*: it stays
//! for the next that is needed.
//!
//! Always: the regions on the list are those that the allocator holds. At most one is spare: it is
//! right below the newest, whose link to it is marked, and no block lies in it.

use core::ptr::{NonNull, null_mut};

use super::arithmetic::{LAST, MIN_ALIGN, next_region, usable};
use super::{BumpAllocator, Checkpoint};
use crate::error::AllocError;
use crate::layout::NonZeroLayout;
use crate::layout::round_up;
use crate::ptr;
use crate::source::MemorySource;
use crate::source::Obtained;
use crate::source::request::obtain_between;

/// What a region begins with.
pub(super) struct RegionHeader {
    previous: *mut RegionHeader,
    /// Length of the region in bytes, this header included.
    len: usize,
}

pub(super) const HEADER: usize = size_of::<RegionHeader>();
const REGION_ALIGN: usize = 16;
const _: () = assert!(HEADER.is_multiple_of(MIN_ALIGN) && align_of::<RegionHeader>() <= REGION_ALIGN);
const _: () = assert!(HEADER.is_power_of_two() && HEADER <= REGION_ALIGN);

/// By how much the limit moves up, in bytes: so much memory, at most, is zeroed though it was zero.
pub(super) const STEP: usize = 64 * 1024;
const _: () = assert!(STEP.is_multiple_of(MIN_ALIGN));

/// The longest region in bytes that is kept for the next scope.
const MOST_SPARE: usize = LAST;

/// The bit of a link that leads to the spare region; headers are aligned to more.
const SPARE: usize = 1;

impl<S: MemorySource> BumpAllocator<S> {
    /// Start and length of each region but the spare one, the newest first.
    pub(super) fn regions(&self) -> impl Iterator<Item = (*mut RegionHeader, usize)> + '_ {
        let mut next = self.newest.get();
        core::iter::from_fn(move || {
            let header = NonNull::new(next)?;
            // The iterator borrows the allocator, and no caller in this file releases a region
            // while it runs.
            next = previous_of(header);
            if is_spare(next) {
                next = NonNull::new(ptr::untagged(next, SPARE)).map_or(null_mut(), previous_of);
            }
            Some((header.as_ptr(), len_of(header)))
        })
    }

    /// Obtains a region in which `layout` fits, and makes it the newest.
    pub(super) fn obtain(&self, layout: NonZeroLayout) -> Result<(), AllocError> {
        // From a multiple of `REGION_ALIGN`, hence of `HEADER`, the first multiple of `align`
        // behind the header is at most the larger of the two away.
        let before = HEADER.max(layout.align());
        let size = round_up(layout.size(), MIN_ALIGN).ok_or(AllocError::TooLarge)?;
        let needed = size.checked_add(before).ok_or(AllocError::TooLarge)?;
        let least = NonZeroLayout::from_size_align(needed, REGION_ALIGN)?;
        if let Some(spare) = self.take_spare(needed) {
            self.push(Obtained { region: ptr::bytes(spare.cast(), len_of(spare)), zeroed: false });
            return Ok(());
        }
        let last = NonNull::new(self.newest.get()).map_or(0, len_of);
        let preferred = next_region(last);
        let obtained = obtain_between(&self.source, least, preferred).or_else(|refusal| {
            // What is kept for later may be just what the source lacks.
            if self.release_spare() { obtain_between(&self.source, least, preferred) } else { Err(refusal) }
        })?;
        self.push(obtained);
        Ok(())
    }

    /// Makes a region that is not on the list the newest.
    fn push(&self, Obtained { region, zeroed }: Obtained) {
        let header = region.cast::<RegionHeader>();
        let spare = self.unlink_spare();
        // SAFETY: The region was just obtained, or was kept: it is ours, larger than a header and
        // aligned for it.
        unsafe { header.write(RegionHeader { previous: self.newest.get(), len: region.len() }) };
        self.newest.set(header.as_ptr());
        if let Some(spare) = spare {
            self.link_spare(spare);
        }
        self.start_over();
        if zeroed {
            self.limit.set(self.cursor.get());
        }
    }

    /// Puts the cursor at the start of the newest region, of which nothing is known to be zero.
    pub(super) fn start_over(&self) {
        self.cursor.set(ptr::up(self.newest.get().cast(), HEADER));
        self.limit.set(self.end());
    }

    /// The end of the newest region; of none, where the cursor is.
    pub(super) fn end(&self) -> *mut u8 {
        match NonNull::new(self.newest.get()) {
            Some(header) => end_of(header),
            None => self.cursor.get(),
        }
    }

    /// Moves the limit up to at least `to`, if the newest region goes so far; says whether it does.
    pub(super) fn raise_limit(&self, to: usize) -> bool {
        let (end, limit) = (self.end(), self.limit.get().addr());
        if to > end.addr() {
            return false;
        }
        // The end is at least the limit, so the distance does not overflow, wherever the region is.
        let step = STEP.min(end.addr() - limit);
        self.limit.set(ptr::at(end, to.max(limit + step)));
        true
    }

    /// The spare region, which is not used.
    pub(super) fn spare(&self) -> Option<NonNull<RegionHeader>> {
        let previous = previous_of(NonNull::new(self.newest.get())?);
        if is_spare(previous) { NonNull::new(ptr::untagged(previous, SPARE)) } else { None }
    }

    /// Takes the spare region off the list.
    fn unlink_spare(&self) -> Option<NonNull<RegionHeader>> {
        let spare = self.spare()?;
        set_previous(NonNull::new(self.newest.get())?, previous_of(spare));
        Some(spare)
    }

    /// Puts a region that is not used on the list, below the newest, which there is; there is no
    /// other spare one.
    fn link_spare(&self, spare: NonNull<RegionHeader>) {
        if let Some(newest) = NonNull::new(self.newest.get()) {
            set_previous(spare, previous_of(newest));
            set_previous(newest, ptr::tagged(spare.as_ptr(), SPARE));
        }
    }

    /// Takes the spare region, if there is one of at least so many bytes.
    fn take_spare(&self, needed: usize) -> Option<NonNull<RegionHeader>> {
        if len_of(self.spare()?) >= needed { self.unlink_spare() } else { None }
    }

    /// Releases the spare region; says whether there was one.
    pub(super) fn release_spare(&self) -> bool {
        let Some(spare) = self.unlink_spare() else { return false };
        // SAFETY: The region is on no list, and nobody uses it.
        unsafe { self.release(spare) };
        true
    }

    /// # Safety
    /// The region is one of this allocator, on no list, and nobody uses it any more.
    unsafe fn release(&self, region: NonNull<RegionHeader>) {
        let len = len_of(region);
        if let Ok(layout) = NonZeroLayout::of_region(len, REGION_ALIGN) {
            // SAFETY: The caller's promises; all of a region fits it.
            unsafe { self.source.release(ptr::bytes(region.cast(), len), layout) };
        }
    }

    /// Takes the newest region off the list; the caller sets cursor and limit.
    fn pop(&self) -> Option<NonNull<RegionHeader>> {
        let newest = NonNull::new(self.newest.get())?;
        self.newest.set(previous_of(newest));
        Some(newest)
    }

    /// Releases one region; takes time in proportion to how many are younger. If it is the newest,
    /// nothing more is allocated in the one before it.
    ///
    /// # Safety
    /// The region is on the list and not spare, and no block in it is used any more.
    pub(super) unsafe fn release_one(&self, region: NonNull<RegionHeader>) {
        if self.newest.get() == region.as_ptr() {
            self.release_spare();
            self.newest.set(previous_of(region));
            self.cursor.set(self.end());
            if self.newest.get().is_null() {
                self.cursor.set(ptr::dangling(MIN_ALIGN));
            }
            self.limit.set(self.cursor.get());
        } else {
            let mut younger = NonNull::new(self.newest.get());
            while let Some(header) = younger {
                let previous = previous_of(header);
                if previous == region.as_ptr() {
                    set_previous(header, previous_of(region));
                    break;
                }
                younger = NonNull::new(ptr::untagged(previous, SPARE));
            }
        }
        // SAFETY: The region is off the list, and the caller promises that no block is used.
        unsafe { self.release(region) };
    }

    /// Releases all regions on the list.
    ///
    /// # Safety
    /// No block is used any more. The caller sets cursor and limit.
    pub(super) unsafe fn release_all(&self) {
        self.release_spare();
        while let Some(region) = self.pop() {
            // SAFETY: The region is off the list, and the caller promises that no block is used.
            unsafe { self.release(region) };
        }
    }

    /// Goes back to a checkpoint that was made before the newest region was obtained.
    ///
    /// # Safety
    /// As [`rewind`](Self::rewind).
    #[cold]
    #[inline(never)]
    pub(super) unsafe fn rewind_to_older(&self, checkpoint: Checkpoint) {
        let mut spare = self.unlink_spare();
        // The checkpoint's region is on the list, as the caller promises. The blocks of those above
        // it were all allocated since, and are not used any more.
        while self.newest.get() != checkpoint.newest
            && let Some(mut region) = self.pop()
        {
            if len_of(region) <= MOST_SPARE && spare.map_or(0, len_of) < len_of(region) {
                match spare.replace(region) {
                    Some(shorter) => region = shorter,
                    None => continue,
                }
            }
            // SAFETY: The region is off the list, and nobody uses a block in it.
            unsafe { self.release(region) };
        }
        match (checkpoint.newest.is_null(), spare) {
            // Without another to hold on to, the spare region is the newest, with nothing in it.
            (true, Some(spare)) => {
                set_previous(spare, null_mut());
                self.newest.set(spare.as_ptr());
                self.start_over();
            }
            (_, spare) => {
                if let Some(spare) = spare {
                    self.link_spare(spare);
                }
                self.cursor.set(checkpoint.cursor);
                self.limit.set(self.end());
            }
        }
    }

    /// Frees every block, and releases every region but the largest.
    ///
    /// # Safety
    /// No block is used any more.
    pub(super) unsafe fn free_all_but_largest(&self) {
        self.release_spare();
        let (newest, limit) = (self.newest.get(), self.limit.get());
        let Some(largest) = self.regions().max_by_key(|&(_, len)| len) else { return };
        let mut kept = null_mut();
        while let Some(region) = self.pop() {
            if region.as_ptr() == largest.0 {
                kept = region.as_ptr();
            } else {
                // SAFETY: The region is off the list, and the caller promises that no block is
                // used.
                unsafe { self.release(region) };
            }
        }
        if let Some(kept) = NonNull::new(kept) {
            set_previous(kept, null_mut());
        }
        self.newest.set(kept);
        self.start_over();
        if kept == newest {
            self.limit.set(limit);
        }
    }
}

/// The length of a region of an allocator.
pub(super) fn len_of(header: NonNull<RegionHeader>) -> usize {
    // SAFETY: The callers have the header from the list: the region is held, and `push` wrote its
    // header.
    unsafe { header.as_ref() }.len
}

/// What is before a region on the list; [marked](is_spare) if that is the spare one.
pub(super) fn previous_of(header: NonNull<RegionHeader>) -> *mut RegionHeader {
    // SAFETY: As in `len_of`.
    unsafe { header.as_ref() }.previous
}

fn set_previous(header: NonNull<RegionHeader>, previous: *mut RegionHeader) {
    // SAFETY: As in `len_of`; headers are the allocator's alone, and no reference to one is kept.
    unsafe { (*header.as_ptr()).previous = previous };
}

/// Whether a link leads to the spare region.
fn is_spare(previous: *mut RegionHeader) -> bool {
    previous.addr() & SPARE != 0
}

/// Behind the last byte of a region that blocks may use.
pub(super) fn end_of(header: NonNull<RegionHeader>) -> *mut u8 {
    ptr::up(header.as_ptr().cast(), usable(header.addr().get(), len_of(header)))
}
