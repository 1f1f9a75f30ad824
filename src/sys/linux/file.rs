//! Maps of files, which several processes can share.

use core::ffi::{CStr, c_void};
use core::ptr::{self, NonNull};

use super::{errno, keeping_errno, outcome};

/// A number by which the kernel knows an open file.
pub(crate) type Descriptor = libc::c_int;

/// Makes a file in memory that cannot be cut shorter; it has no place in any folder, and goes with
/// its last descriptor and map.
///
/// # Errors
/// The error number of `memfd_create` (Linux 3.17).
pub(crate) fn memory_file(name: &CStr) -> Result<Descriptor, i32> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: The kernel reads the name, which ends with a zero.
    let made = outcome(|| i64::from(unsafe { libc::memfd_create(name.as_ptr(), flags) }))?;
    let file = Descriptor::try_from(made).map_err(|_| libc::EBADF)?;
    // SAFETY: No memory is passed; the file was just made.
    outcome(|| i64::from(unsafe { libc::fcntl(file, libc::F_ADD_SEALS, libc::F_SEAL_SHRINK) }))?;
    Ok(file)
}

/// Makes a file longer, with zeros for which nothing is reserved yet, or shorter.
///
/// # Errors
/// The error number of `ftruncate`: `EPERM` where the file may not become shorter, `EFBIG` beyond
/// the process's limit on the length of files (`RLIMIT_FSIZE`).
pub(crate) fn set_length(file: Descriptor, len: i64) -> Result<(), i32> {
    // SAFETY: No memory is passed, and no map is in what the caller cuts off.
    without_signal(|| uninterrupted(|| i64::from(unsafe { libc::ftruncate(file, len) })))
}

/// Makes a file longer by `len` bytes at `end`, with zeros for which there is room on the disk.
///
/// # Errors
/// The error number of `fallocate` (Linux 2.6.23): `ENOSPC` where the disk is full, `EOPNOTSUPP`
/// where the file system cannot, `EFBIG` beyond the process's limit on the length of files.
pub(crate) fn lengthen_reserving(file: Descriptor, end: i64, len: i64) -> Result<(), i32> {
    // SAFETY: No memory is passed; a longer file changes no map.
    without_signal(|| uninterrupted(|| i64::from(unsafe { libc::fallocate(file, 0, end, len) })))
}

/// The outcome of a call that makes a file longer, without the signal that comes with `EFBIG` and
/// would end the process.
///
/// The kernel sends `SIGXFSZ` to the thread that makes the call. So it is blocked in this thread
/// meanwhile, and taken if it came; what the process does with the signal stays as it is, and so
/// does one that was pending before.
fn without_signal(call: impl FnOnce() -> Result<(), i32>) -> Result<(), i32> {
    keeping_errno(|| {
        let only = signal_set();
        let pending = is_pending();
        let mut before = core::mem::MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: The kernel reads the one set and writes the other.
        let blocked = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &only, before.as_mut_ptr()) };
        if blocked != 0 {
            return Err(blocked);
        }
        let outcome = call();
        if outcome == Err(libc::EFBIG) && !pending {
            take_signal(&only);
        }
        // SAFETY: The set was written above, since that call succeeded; the kernel reads it.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), core::ptr::null_mut()) };
        outcome
    })
}

/// The set with `SIGXFSZ` alone.
fn signal_set() -> libc::sigset_t {
    let mut set = core::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: The function writes the whole set.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: The set was just written.
    unsafe { libc::sigaddset(set.as_mut_ptr(), libc::SIGXFSZ) };
    // SAFETY: As above.
    unsafe { set.assume_init() }
}

/// Whether a `SIGXFSZ` waits for this thread already.
fn is_pending() -> bool {
    let mut set = signal_set();
    // SAFETY: The kernel writes the set.
    let known = unsafe { libc::sigpending(&mut set) } == 0;
    // SAFETY: The set is one.
    known && unsafe { libc::sigismember(&set, libc::SIGXFSZ) } == 1
}

/// Takes the signal of a set that waits for this thread, if there is one.
fn take_signal(set: &libc::sigset_t) {
    let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    loop {
        // SAFETY: The kernel reads the set and the time, and writes nothing.
        let taken = outcome(|| i64::from(unsafe { libc::sigtimedwait(set, core::ptr::null_mut(), &now) }));
        if taken != Err(libc::EINTR) {
            return;
        }
    }
}

/// The outcome of a call that is made again where a signal came in between.
fn uninterrupted(call: impl Fn() -> i64) -> Result<(), i32> {
    loop {
        match outcome(&call) {
            Err(libc::EINTR) => {}
            done => return done.map(|_| ()),
        }
    }
}

/// Maps `len` bytes of a file from `offset` on, shared: wherever there is room, or at `at`, whose
/// `len` bytes then are the file's.
///
/// # Errors
/// The error number of `mmap`.
///
/// # Safety
/// Where `at` is given, the `len` bytes there are whole pages that a function of this folder
/// mapped, and nothing uses them. The caller answers for the other users of the file.
pub(crate) unsafe fn map_file(
    file: Descriptor,
    offset: i64,
    len: usize,
    at: Option<NonNull<u8>>,
) -> Result<NonNull<u8>, i32> {
    let (address, fixed) = match at {
        Some(at) => (at.as_ptr().cast::<c_void>(), libc::MAP_FIXED),
        None => (ptr::null_mut(), 0),
    };
    keeping_errno(|| {
        // SAFETY: What is replaced at `address` is unused, as the caller promises; else no existing
        // memory changes.
        let start = unsafe {
            libc::mmap(
                address,
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | fixed,
                file,
                offset,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(errno());
        }
        NonNull::new(start.cast::<u8>()).ok_or(libc::ENOMEM)
    })
}
