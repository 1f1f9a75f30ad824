//! Linux: memory maps, where their pages lie, futexes, thread exit and fork.
//!
//! ```text
//!   background  a thread of the library's own, the time that it goes by
//!   map      maps made, moved, protected, given back
//!   advice   what the kernel is told about a map: huge pages, dumps, forks, locks, names, purging
//!   library  shared libraries, kept loaded
//!   file     maps of files, which several processes can share
//!   numa     policies, nodes, where a page lies
//!   thread   futexes, thread exit, forks
//! ```
//!
//! None of these allocates through Rust's global allocator. A failure is the error number of the
//! call, and `errno` is afterwards what it was before: an allocation must not change it.

mod advice;
mod background;
mod file;
mod library;
mod map;
mod numa;
mod thread;

pub(crate) use advice::*;
pub(crate) use background::*;
pub(crate) use file::*;
pub(crate) use library::*;
pub(crate) use map::*;
pub(crate) use numa::*;
pub(crate) use thread::*;

/// The error number of the calling thread's last failed system call.
fn errno() -> i32 {
    // SAFETY: Always callable; gives the address of the calling thread's `errno`.
    let location = unsafe { libc::__errno_location() };
    // SAFETY: The C library keeps `errno` readable for the life of the thread.
    unsafe { *location }
}

/// Runs `f`, and puts `errno` back to what it was: an allocation must not change it.
fn keeping_errno<R>(f: impl FnOnce() -> R) -> R {
    // SAFETY: As in `errno`.
    let location = unsafe { libc::__errno_location() };
    // SAFETY: As in `errno`.
    let before = unsafe { *location };
    let result = f();
    // SAFETY: As in `errno`; only this thread writes its own.
    unsafe { *location = before };
    result
}

/// The size of a page in bytes, a power of two.
///
/// Linux on x86-64 and most of aarch64 uses 4 KiB; asked once and kept.
pub(crate) fn page_size() -> usize {
    use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    static PAGE: AtomicUsize = AtomicUsize::new(0);
    let known = PAGE.load(Relaxed);
    if known != 0 {
        return known;
    }
    // SAFETY: No memory is passed.
    let asked = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    let size = usize::try_from(asked).ok().filter(|size| size.is_power_of_two()).unwrap_or(4096);
    PAGE.store(size, Relaxed);
    size
}

/// Writes text to standard error, without a lock or a buffer; what cannot be written is lost.
pub(crate) fn write_error(text: &[u8]) {
    keeping_errno(|| {
        // SAFETY: The text is readable for its length.
        unsafe { libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len()) };
    });
}

/// Ends the process at once by SIGABRT.
pub(crate) fn abort() -> ! {
    // SAFETY: Always callable.
    unsafe { libc::abort() }
}

/// The outcome of a call that returns -1 where it fails; `errno` is put back.
fn outcome(f: impl FnOnce() -> i64) -> Result<i64, i32> {
    keeping_errno(|| match f() {
        -1 => Err(errno()),
        result => Ok(result),
    })
}
