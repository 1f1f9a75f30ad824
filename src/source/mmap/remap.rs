//! Regions made larger or smaller by moving their pages, not their bytes.
//!
//! Policy, locks, names and the rest of what a map was told go with it. Pages of the pool are not
//! moved, since most kernels refuse: whoever asked copies instead.

use core::ptr::NonNull;

use super::region::{alignment, guard, map_between, populate, release_guards, rounded};
use super::{MmapOptions, PageKind};
use crate::error::SourceError;
use crate::layout::NonZeroLayout;
use crate::layout::round_up;
use crate::ptr;
use crate::source::Remapped;
use crate::sys;
use sys::{Advice, MapKind};

/// Makes the region at `start`, for `old`, one for `new`.
///
/// # Safety
/// As [`MemorySource::remap`](crate::MemorySource::remap), for a region with these options.
pub(super) unsafe fn remap(
    options: &MmapOptions,
    start: NonNull<u8>,
    old: NonZeroLayout,
    new: NonZeroLayout,
) -> Result<Remapped, SourceError> {
    let (old_len, new_len) = (rounded(options, old.size())?, rounded(options, new.size())?);
    let page = sys::page_size();
    let transparent =
        options.pages.has(PageKind::Transparent) && new_len >= PageKind::Transparent.bytes(page);
    let kind = if transparent { PageKind::Transparent } else { PageKind::Base };
    let align = alignment(kind, new, page);
    let aligned = start.addr().get().is_multiple_of(align);
    if old_len == new_len && start.addr().get().is_multiple_of(new.align()) {
        return Ok(Remapped { region: ptr::bytes(start, new_len), kept: new_len, zeroed: true });
    }
    if options.pages.has_pool() {
        return Err(SourceError::Unsupported);
    }
    let guard = guard(options);
    // SAFETY: The caller's promises; the lengths are those of the maps.
    let resized = unsafe { in_place(start, old_len, new_len, guard == 0 && aligned, align <= page) };
    let moved = match resized {
        Some(resized) => resized?,
        // SAFETY: The caller's promises; nothing has changed yet.
        None => unsafe { elsewhere(guard, start, old_len, new_len, align) }?,
    };
    if kind == PageKind::Transparent && old_len < new_len {
        // An advice: a kernel without it would have refused the region, had base pages not been
        // allowed.
        // SAFETY: The region is ours; joining pages changes no contents.
        let _advised = unsafe { sys::advise(moved, new_len, Advice::HugePages) };
    }
    if options.populate && old_len < new_len {
        // SAFETY: `old_len` is less than the region's length.
        let tail = unsafe { moved.add(old_len) };
        // The region cannot be given back any more: where memory is short, its last pages come with
        // their first touch.
        // SAFETY: The tail is new, so it is zero and nobody accesses it.
        let _populated = unsafe { populate(options, kind, tail, new_len - old_len) };
    }
    Ok(Remapped { region: ptr::bytes(moved, new_len), kept: old_len.min(new_len), zeroed: true })
}

/// Moves the pages of a part of a plain region to a new region for `new`, which is not smaller;
/// that part is zero then.
///
/// # Safety
/// As [`Decommit::take_out`](crate::source::Decommit::take_out), for a region without options.
pub(super) unsafe fn take_out(
    range: NonNull<[u8]>,
    new: NonZeroLayout,
) -> Result<NonNull<[u8]>, SourceError> {
    let (start, len, page) = (range.cast::<u8>(), range.len(), sys::page_size());
    let new_len = round_up(new.size(), page).ok_or(SourceError::TooLarge)?;
    if !(start.addr().get() | len).is_multiple_of(page) || new_len < len {
        return Err(SourceError::System(libc::EINVAL));
    }
    // SAFETY: The range is whole pages of a region, and the caller's.
    let taken = unsafe { sys::take_pages(start, len) }.map_err(super::report::lacking)?;
    // SAFETY: What was taken is a map of its own, of `len` bytes, without guards.
    let moved = unsafe { elsewhere(0, taken, len, new_len, new.align()) };
    if moved.is_err() {
        // Back by copying: unlike moving, that needs no memory but the pages.
        // SAFETY: Both ranges have that many bytes, and are the caller's and this function's.
        unsafe { start.copy_from_nonoverlapping(taken, len) };
        // SAFETY: `elsewhere` left the map where it was; nobody uses it any more.
        unsafe { sys::unmap(taken, len) };
    }
    Ok(ptr::bytes(moved?, new_len))
}

/// Resizes the map where it is if it `can` be, or lets the kernel choose the place if `anywhere`
/// does; `None` where that is not to be had.
///
/// # Safety
/// As [`remap`]; without guards, the map is `old` bytes long.
unsafe fn in_place(
    start: NonNull<u8>,
    old: usize,
    new: usize,
    can: bool,
    anywhere: bool,
) -> Option<Result<NonNull<u8>, SourceError>> {
    if !can {
        return None;
    }
    if new <= old {
        // SAFETY: `new` is at most `old`.
        let tail = unsafe { start.add(new) };
        if new < old {
            // SAFETY: The tail is whole pages of the region, and nobody uses it any more, as the
            // caller promises.
            unsafe { sys::unmap(tail, old - new) };
        }
        return Some(Ok(start));
    }
    // SAFETY: The pages are the region's, as the caller promises.
    match unsafe { sys::remap(start, old, new, anywhere) } {
        Ok(moved) => Some(Ok(moved)),
        // The policy of who asked is to copy where pages cannot be moved; where there is no memory
        // that fails too.
        Err(errno) if anywhere => Some(Err(SourceError::System(errno))),
        Err(_) => None,
    }
}

/// Moves the map to a multiple of `align`, between new guards.
///
/// # Safety
/// As [`remap`]; the map is `old` bytes long, and `guard` bytes are a guard at either end.
unsafe fn elsewhere(
    guard: usize,
    start: NonNull<u8>,
    old: usize,
    new: usize,
    align: usize,
) -> Result<NonNull<u8>, SourceError> {
    let nothing = MapKind { writable: false, reserve: false };
    let to = map_between(guard, new, align, nothing)?;
    // What is cut off goes after the move: the kernel would cut first, and could fail then.
    let kept = old.min(new);
    // SAFETY: The pages are the region's, as the caller promises; those at `to` were just mapped
    // for this.
    match unsafe { sys::remap_to(start, kept, new, to) } {
        Ok(moved) => {
            // SAFETY: `kept` is at most `old`.
            let rest = unsafe { start.add(kept) };
            if kept < old {
                // SAFETY: The rest is whole pages of the region that nobody uses any more, as the
                // caller promises.
                unsafe { sys::unmap(rest, old - kept) };
            }
            // SAFETY: The old guards are the region's, which has moved from between them.
            unsafe { release_guards(guard, start, old) };
            Ok(moved)
        }
        Err(errno) => {
            // What was mapped between the new guards may be gone already, and somebody else's map
            // may be there; so it is left alone. At worst that costs addresses, no memory, each
            // time that the kernel has none for its own index.
            // SAFETY: The new guards were just mapped, and nothing uses them.
            unsafe { release_guards(guard, to, new) };
            Err(SourceError::System(errno))
        }
    }
}
