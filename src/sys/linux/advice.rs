//! What the kernel is told about a map: huge pages, dumps, forks, locks, names, pages given up.

use core::ffi::{CStr, c_void};
use core::ptr::NonNull;
use core::sync::atomic::AtomicU8;
use core::sync::atomic::Ordering::Relaxed;

use super::{keeping_errno, outcome};

/// One thing that `madvise` can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(crate) enum Advice {
    /// Join pages into huge ones where possible (Linux 2.6.38, if configured).
    HugePages = libc::MADV_HUGEPAGE,
    /// Join no pages into huge ones (Linux 2.6.38, if configured).
    SmallPages = libc::MADV_NOHUGEPAGE,
    /// Leave the pages out of core dumps (3.4).
    NoDump = libc::MADV_DONTDUMP,
    /// Leave the pages out of the child of a fork (2.6.16).
    NoFork = libc::MADV_DONTFORK,
    /// Give the child of a fork zeroed pages (4.14).
    WipeOnFork = libc::MADV_WIPEONFORK,
    /// Give the memory up; the pages read as zero (always there; on huge pages of the pool since
    /// 5.18).
    Discard = libc::MADV_DONTNEED,
    /// The same where the pages are locked (5.18).
    DiscardLocked = 24,
    /// The memory may be taken before the pages are next written to; they then read as zero (4.5).
    DiscardLazily = libc::MADV_FREE,
    /// Give the memory of a shared map up, and make a hole in its file (2.6.16; not in every file
    /// system).
    Remove = libc::MADV_REMOVE,
    /// Touch every page for writing (5.14).
    Populate = 23,
}

/// Gives advice on the `len` bytes at `start`.
///
/// # Errors
/// The error number of `madvise`: `EINVAL` where the kernel does not know the advice.
///
/// # Safety
/// The range consists of whole pages of maps that are the caller's, and whatever the advice does to
/// their contents is what the caller wants.
pub(crate) unsafe fn advise(start: NonNull<u8>, len: usize, advice: Advice) -> Result<(), i32> {
    // SAFETY: The pages are the caller's, as the caller promises.
    outcome(|| i64::from(unsafe { libc::madvise(start.as_ptr().cast::<c_void>(), len, advice as i32) }))
        .map(|_| ())
}

/// Whether the kernel joins pages into huge ones without being told to: `always` is chosen in
/// `/sys/kernel/mm/transparent_hugepage/enabled`. Read once; a file that cannot be read says no.
pub(crate) fn joins_pages_unasked() -> bool {
    static ANSWER: AtomicU8 = AtomicU8::new(UNKNOWN);
    const UNKNOWN: u8 = 2;
    let known = ANSWER.load(Relaxed);
    if known != UNKNOWN {
        return known == 1;
    }
    let mut text = [0; 64];
    let joins = keeping_errno(|| {
        // SAFETY: The path ends with a zero.
        let file = unsafe {
            libc::open(
                c"/sys/kernel/mm/transparent_hugepage/enabled".as_ptr(),
                libc::O_RDONLY | libc::O_CLOEXEC,
            )
        };
        if file < 0 {
            return false;
        }
        // SAFETY: The text has room for as many bytes.
        let read = unsafe { libc::read(file, text.as_mut_ptr().cast(), text.len()) };
        // SAFETY: The file was just opened, and nobody else knows it.
        unsafe { libc::close(file) };
        usize::try_from(read).is_ok_and(|len| text[..len].starts_with(b"[always]"))
    });
    ANSWER.store(u8::from(joins), Relaxed);
    joins
}

/// Leaves the `len` bytes at `start` out of core dumps; a hint, so a refusal is no error.
///
/// # Safety
/// The range consists of whole pages that are the caller's.
pub(crate) unsafe fn exclude_from_core_dump(start: NonNull<u8>, len: usize) {
    // SAFETY: This advice changes no memory; the pages are the caller's, as the caller promises.
    let _a_hint = unsafe { advise(start, len, Advice::NoDump) };
}

/// Keeps the `len` bytes at `start` from being swapped out: from now on, or each page from its
/// first touch on.
///
/// # Errors
/// The error number of `mlock` or `mlock2`: `ENOMEM`, `EPERM` or `EAGAIN` where the process may
/// lock no more; `ENOSYS` or `EINVAL` for `on_fault` before Linux 4.4.
///
/// # Safety
/// The range consists of whole pages that are the caller's.
pub(crate) unsafe fn lock(start: NonNull<u8>, len: usize, on_fault: bool) -> Result<(), i32> {
    // Not in every version of the C library.
    const MLOCK_ONFAULT: libc::c_uint = 1;
    let range = start.as_ptr().cast::<c_void>();
    outcome(|| {
        if on_fault {
            // SAFETY: Locking changes no contents; the pages are the caller's, as the caller
            // promises.
            unsafe { libc::syscall(libc::SYS_mlock2, range, len, MLOCK_ONFAULT) }
        } else {
            // SAFETY: As above.
            i64::from(unsafe { libc::mlock(range, len) })
        }
    })
    .map(|_| ())
}

/// Shows `name` for the `len` bytes at `start` in `/proc/self/maps`.
///
/// # Errors
/// The error number of `prctl`: `EINVAL` before Linux 5.17 and where the kernel is configured
/// without; `EBADF` for huge pages of the pool.
pub(crate) fn name(start: NonNull<u8>, len: usize, name: &'static CStr) -> Result<(), i32> {
    const PR_SET_VMA: i32 = 0x5356_4d41;
    const PR_SET_VMA_ANON_NAME: usize = 0;
    let (range, text) = (start.as_ptr(), name.as_ptr());
    // SAFETY: The kernel reads the name, which is static, and notes it for the addresses; no memory
    // changes.
    outcome(|| i64::from(unsafe { libc::prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, range, len, text) }))
        .map(|_| ())
}

/// Writes a zero to each page of the `len` bytes at `start`, so that it is there.
///
/// # Safety
/// The range is writable, whole pages of `page` bytes, zero, and nobody else accesses it.
pub(crate) unsafe fn touch(start: NonNull<u8>, len: usize, page: usize) {
    keeping_errno(|| {
        for offset in (0..len).step_by(page) {
            // SAFETY: `offset` is less than `len`.
            let first = unsafe { start.add(offset) };
            // SAFETY: The byte is writable and the caller's alone.
            unsafe { first.write_volatile(0) };
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys;

    /// What kernels before 5.14 are served by.
    #[test]
    fn touching_makes_pages_be_there_and_leaves_them_zero() {
        let page = sys::page_size();
        let start = sys::map(4 * page).unwrap();
        let pages: [*const u8; 4] =
            std::array::from_fn(|index| start.as_ptr().wrapping_add(index * page).cast_const());
        let mut status = [0; 4];
        sys::nodes_of_pages(&pages, &mut status).unwrap();
        assert_eq!(status, [-libc::ENOENT; 4]);
        // SAFETY: Just mapped, whole pages that nobody else uses.
        unsafe { touch(start, 4 * page, page) };
        sys::nodes_of_pages(&pages, &mut status).unwrap();
        assert!(status.iter().all(|&node| node >= 0), "{status:?}");
        // SAFETY: Mapped and zeroed.
        let contents = unsafe { std::slice::from_raw_parts(start.as_ptr(), 4 * page) };
        assert!(contents.iter().all(|&byte| byte == 0));
        // SAFETY: Not used again.
        unsafe { sys::unmap(start, 4 * page) };
    }
}
