//! Maps of files, which several processes can share.

use core::ffi::{CStr, c_void};
use core::ptr::{self, NonNull};

use super::{errno, keeping_errno, outcome};

/// A number by which the kernel knows an open file.
pub(crate) type Descriptor = libc::c_int;

/// Makes a file in memory that cannot be cut shorter; it has no place in any folder, and goes with its last descriptor and map.
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
/// The error number of `ftruncate`: `EPERM` where the file may not become shorter.
pub(crate) fn set_length(file: Descriptor, len: i64) -> Result<(), i32> {
    // SAFETY: No memory is passed, and no map is in what the caller cuts off.
    uninterrupted(|| i64::from(unsafe { libc::ftruncate(file, len) }))
}

/// Makes a file longer by `len` bytes at `end`, with zeros for which there is room on the disk.
///
/// # Errors
/// The error number of `fallocate` (Linux 2.6.23): `ENOSPC` where the disk is full, `EOPNOTSUPP` where the file system cannot.
pub(crate) fn lengthen_reserving(file: Descriptor, end: i64, len: i64) -> Result<(), i32> {
    // SAFETY: No memory is passed; a longer file changes no map.
    uninterrupted(|| i64::from(unsafe { libc::fallocate(file, 0, end, len) }))
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

/// Maps `len` bytes of a file from `offset` on, shared: wherever there is room, or at `at`, whose `len` bytes then are the file's.
///
/// # Errors
/// The error number of `mmap`.
///
/// # Safety
/// Where `at` is given, the `len` bytes there are whole pages that a function of this folder mapped, and nothing uses them. The caller
/// answers for the other users of the file.
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
        // SAFETY: What is replaced at `address` is unused, as the caller promises; else no existing memory changes.
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

/// A number that no other running process has.
pub(crate) fn process_name() -> i32 {
    // SAFETY: Always callable.
    unsafe { libc::getpid() }
}
