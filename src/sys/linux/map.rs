//! Memory maps: made, moved, protected, given back.

use core::ffi::c_void;
use core::ptr::{self, NonNull};

use super::{errno, keeping_errno, outcome};

/// What a new map is like; the default is what [`map`] makes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MapKind {
    /// Whether it can be read and written, or nothing may touch it before [`make_writable`].
    pub(crate) writable: bool,
    /// Whether its pages count against the system's commit limit from the beginning.
    pub(crate) reserve: bool,
}

impl MapKind {
    const fn protection(self) -> i32 {
        if self.writable { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_NONE }
    }

    const fn flags(self) -> i32 {
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | if self.reserve { 0 } else { libc::MAP_NORESERVE }
    }
}

/// Maps `len` bytes of zeroed private memory, readable and writable, and reserves no swap for them.
///
/// # Errors
/// The error number of `mmap`.
pub(crate) fn map(len: usize) -> Result<NonNull<u8>, i32> {
    map_as(len, MapKind { writable: true, reserve: false })
}

/// Maps `len` bytes of zeroed private memory, wherever there is room.
///
/// # Errors
/// The error number of `mmap`.
pub(crate) fn map_as(len: usize, kind: MapKind) -> Result<NonNull<u8>, i32> {
    mmap(ptr::null_mut(), len, kind.protection(), kind.flags())
}

/// Maps `len` bytes in huge pages of `1 << page_bits` bytes: exactly at `at` if that is free, or
/// wherever there is room.
///
/// The pages are reserved now, so that a touch later cannot fail for want of them, as far as the
/// kernel keeps that promise: it does not look at a policy that the map gets later.
///
/// # Errors
/// The error number of `mmap`: `ENOMEM` without enough huge pages, `EINVAL` without any of that
/// size, `EEXIST` where something is at `at`.
pub(crate) fn map_huge(at: Option<NonNull<u8>>, len: usize, page_bits: u32) -> Result<NonNull<u8>, i32> {
    let kind = MapKind { writable: true, reserve: true };
    let huge = libc::MAP_HUGETLB | (page_bits.cast_signed() << libc::MAP_HUGE_SHIFT);
    let fixed = if at.is_some() { libc::MAP_FIXED_NOREPLACE } else { 0 };
    let address = at.map_or(ptr::null_mut(), NonNull::as_ptr);
    let start = mmap(address, len, kind.protection(), kind.flags() | huge | fixed)?;
    // Before Linux 4.17 the address is a mere hint.
    if at.is_some_and(|at| at.addr() != start.addr()) {
        // SAFETY: Just mapped; nobody has seen it.
        unsafe { unmap(start, len) };
        return Err(libc::EEXIST);
    }
    Ok(start)
}

/// Anonymous maps only; `flags` never replace a map that is there.
fn mmap(at: *mut u8, len: usize, protection: i32, flags: i32) -> Result<NonNull<u8>, i32> {
    keeping_errno(|| {
        // SAFETY: An anonymous private mapping that replaces nothing changes no existing memory.
        let start = unsafe { libc::mmap(at.cast::<c_void>(), len, protection, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(errno());
        }
        NonNull::new(start.cast::<u8>()).ok_or(libc::ENOMEM)
    })
}

/// Lets the `len` bytes at `start` be read and written.
///
/// # Errors
/// The error number of `mprotect`.
///
/// # Safety
/// The range consists of whole pages that a function of this file mapped, and is the caller's.
pub(crate) unsafe fn make_writable(start: NonNull<u8>, len: usize) -> Result<(), i32> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: More access to pages that are the caller's, as the caller promises.
    outcome(|| i64::from(unsafe { libc::mprotect(start.as_ptr().cast::<c_void>(), len, protection) }))
        .map(|_| ())
}

/// Gives the `len` bytes at `start` back to the kernel.
///
/// A failure is possible where the kernel would have to split a mapping and the process may have no
/// more of them. The addresses then stay mapped and are lost, but the memory is given up (unless
/// its pages are locked).
///
/// # Safety
/// The range consists of whole pages that a function of this file mapped and nothing uses any more.
pub(crate) unsafe fn unmap(start: NonNull<u8>, len: usize) {
    keeping_errno(|| {
        // SAFETY: The pages are the caller's and unused, as the caller promises.
        let result = unsafe { libc::munmap(start.as_ptr().cast::<c_void>(), len) };
        debug_assert!(result == 0 || errno() == libc::ENOMEM);
        if result != 0 {
            // SAFETY: As above: nobody needs what they hold. On guards this does nothing, and of a
            // file it changes nothing.
            let _given_up =
                unsafe { libc::madvise(start.as_ptr().cast::<c_void>(), len, libc::MADV_DONTNEED) };
        }
    });
}

/// Makes the map of `old` bytes at `start` one of `new` bytes; elsewhere if `may_move` and there is
/// no room.
///
/// # Errors
/// The error number of `mremap`; nothing has changed then.
///
/// # Safety
/// The range consists of whole pages that a function of this file mapped, and is the caller's; what
/// is cut off or left is not used any more.
pub(crate) unsafe fn remap(
    start: NonNull<u8>,
    old: usize,
    new: usize,
    may_move: bool,
) -> Result<NonNull<u8>, i32> {
    let flags = if may_move { libc::MREMAP_MAYMOVE } else { 0 };
    keeping_errno(|| {
        // SAFETY: The pages are the caller's, as the caller promises; the kernel moves them to
        // where nothing is.
        let moved = unsafe { libc::mremap(start.as_ptr().cast::<c_void>(), old, new, flags) };
        moved_to(moved)
    })
}

/// Moves the map of `old` bytes at `start` to `to`, as one of `new` bytes; what was mapped there
/// goes.
///
/// # Errors
/// The error number of `mremap`. The map at `start` is then as it was; whether that at `to` is
/// still there is not known.
///
/// # Safety
/// As [`remap`]; and the `new` bytes at `to` are whole pages that a function of this file mapped,
/// and nothing uses them.
pub(crate) unsafe fn remap_to(
    start: NonNull<u8>,
    old: usize,
    new: usize,
    to: NonNull<u8>,
) -> Result<NonNull<u8>, i32> {
    let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
    let (from, to) = (start.as_ptr().cast::<c_void>(), to.as_ptr().cast::<c_void>());
    keeping_errno(|| {
        // SAFETY: Both ranges are the caller's, and that at `to` is unused, as the caller promises.
        let moved = unsafe { libc::mremap(from, old, new, flags, to) };
        moved_to(moved)
    })
}

/// Moves the pages of the `len` bytes at `start` to a new map, wherever there is room; the range
/// stays mapped, and is zero (Linux 5.7).
///
/// # Errors
/// The error number of `mremap`, `EINVAL` before Linux 5.7; nothing has changed then.
///
/// # Safety
/// The range consists of whole pages of one private map that a function of this file made, and is
/// the caller's.
pub(crate) unsafe fn take_pages(start: NonNull<u8>, len: usize) -> Result<NonNull<u8>, i32> {
    let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_DONTUNMAP;
    keeping_errno(|| {
        // SAFETY: The pages are the caller's, as the caller promises; the kernel moves them to
        // where nothing is.
        let moved = unsafe { libc::mremap(start.as_ptr().cast::<c_void>(), len, len, flags) };
        moved_to(moved)
    })
}

fn moved_to(moved: *mut c_void) -> Result<NonNull<u8>, i32> {
    if moved == libc::MAP_FAILED {
        return Err(errno());
    }
    NonNull::new(moved.cast::<u8>()).ok_or(libc::ENOMEM)
}

/// How many bytes of the range are resident; 0 where the system does not say.
pub(crate) fn resident_bytes(start: NonNull<u8>, len: usize) -> usize {
    const AT_ONCE: usize = 256;
    let page = super::page_size();
    let mut resident = [0; AT_ONCE];
    let mut pages = 0;
    for begin in (0..len).step_by(AT_ONCE * page) {
        let part = (len - begin).min(AT_ONCE * page);
        let at = start.as_ptr().wrapping_add(begin).cast::<c_void>();
        // SAFETY: The kernel writes a byte for each page of the part; the range itself is not
        // accessed.
        let known = keeping_errno(|| unsafe { libc::mincore(at, part, resident.as_mut_ptr()) == 0 });
        if known {
            pages += resident[..part.div_ceil(page)].iter().filter(|state| *state & 1 != 0).count();
        }
    }
    pages * page
}
