//! A thread of the library's own, and the time that it goes by.

use core::ffi::{CStr, c_void};
use core::mem::MaybeUninit;
use core::ptr;
use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::Relaxed;

use super::keeping_errno;

/// What a thread runs.
pub(crate) type Body = extern "C" fn(*mut c_void) -> *mut c_void;

/// Milliseconds of a clock that never goes back and ticks every few milliseconds; no system call
/// where the kernel has it in the process's memory.
pub(crate) fn coarse_millis() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    keeping_errno(|| {
        // SAFETY: `now` is writable.
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut now) };
    });
    now.tv_sec.cast_unsigned() * 1000 + now.tv_nsec.cast_unsigned() / 1_000_000
}

/// Sleeps for that many milliseconds, or until a signal comes.
pub(crate) fn sleep_millis(millis: u64) {
    let seconds = i64::try_from(millis / 1000).unwrap_or(i64::MAX);
    let time = libc::timespec { tv_sec: seconds, tv_nsec: (millis % 1000 * 1_000_000).cast_signed() };
    keeping_errno(|| {
        // SAFETY: `time` is readable, and where the rest is to be written is nowhere.
        unsafe { libc::nanosleep(&raw const time, ptr::null_mut()) };
    });
}

/// Names the calling thread, for debuggers and `/proc`; at most 15 bytes.
pub(crate) fn name_thread(name: &CStr) {
    keeping_errno(|| {
        // SAFETY: The name is a readable string.
        unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
    });
}

/// Stack of a thread whose work is a few calls deep; where thread-locals need more than that, the
/// thread gets the default.
const STACK: usize = 128 * 1024;

/// Starts a detached thread that runs `body(argument)` with all signals blocked. The library that
/// `body` lies in stays loaded.
///
/// The C library keeps index of the thread in memory from its own `malloc`. Nothing is allocated
/// through Rust's global allocator.
///
/// # Errors
/// The error number of `pthread_create` and of what prepares it.
///
/// # Safety
/// `body` may be called with `argument` on any thread, at any time from now on.
pub(crate) unsafe fn start_thread(body: Body, argument: *mut c_void) -> Result<(), i32> {
    /// The body that was started last, whose library stays loaded: the loader need not be asked
    /// again, which has a lock of its own.
    static LAST: AtomicUsize = AtomicUsize::new(0);
    let code = body as *const ();
    if LAST.load(Relaxed) != code.addr() {
        super::keep_loaded(code);
        LAST.store(code.addr(), Relaxed);
    }
    keeping_errno(|| {
        // SAFETY: `body` may be called with `argument` on any thread from now on.
        let started = unsafe { start_with_stack(Some(STACK), body, argument) };
        match started {
            // SAFETY: The caller's promises; no thread was started.
            Err(libc::EINVAL) => unsafe { start_with_stack(None, body, argument) },
            other => other,
        }
    })
}

/// # Safety
/// As [`start_thread`].
unsafe fn start_with_stack(stack: Option<usize>, body: Body, argument: *mut c_void) -> Result<(), i32> {
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    let attributes = attributes.as_mut_ptr();
    // SAFETY: The attributes are writable.
    error_of(unsafe { libc::pthread_attr_init(attributes) })?;
    // SAFETY: The attributes are initialised.
    let mut outcome =
        error_of(unsafe { libc::pthread_attr_setdetachstate(attributes, libc::PTHREAD_CREATE_DETACHED) });
    if let Some(stack) = stack {
        // SAFETY: The attributes are initialised.
        outcome =
            outcome.and_then(|()| error_of(unsafe { libc::pthread_attr_setstacksize(attributes, stack) }));
    }
    // SAFETY: The attributes are initialised; the caller's promises.
    outcome = outcome.and_then(|()| unsafe { start_without_signals(attributes, body, argument) });
    // SAFETY: The attributes are initialised, and not used again.
    unsafe { libc::pthread_attr_destroy(attributes) };
    outcome
}

/// Starts a thread, which has the signal mask of who starts it, so that no handler of the program
/// ever runs on it.
///
/// # Safety
/// As [`start_thread`]; the attributes are initialised.
unsafe fn start_without_signals(
    attributes: *const libc::pthread_attr_t,
    body: Body,
    argument: *mut c_void,
) -> Result<(), i32> {
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: The set is writable.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    // SAFETY: The first set was filled, the second is writable.
    error_of(unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr()) })?;
    let mut thread = MaybeUninit::<libc::pthread_t>::uninit();
    // SAFETY: The attributes are initialised and the name of the thread writable; the caller's
    // promises.
    let outcome = error_of(unsafe { libc::pthread_create(thread.as_mut_ptr(), attributes, body, argument) });
    // SAFETY: The set was written above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut()) };
    outcome
}

fn error_of(error: i32) -> Result<(), i32> {
    if error == 0 { Ok(()) } else { Err(error) }
}
