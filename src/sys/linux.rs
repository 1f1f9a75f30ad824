//! Linux: memory maps, futexes, thread exit and fork.
//!
//! None of these allocates through Rust's global allocator. A failure is the error number of the call.

use core::ffi::c_void;
use core::ptr::{self, NonNull};
use core::sync::atomic::AtomicU32;

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

/// Maps `len` bytes of zeroed private memory, readable and writable, and reserves no swap for them.
///
/// # Errors
/// The error number of `mmap`.
pub(crate) fn map(len: usize) -> Result<NonNull<u8>, i32> {
    keeping_errno(|| {
        // SAFETY: An anonymous private mapping at an address of the kernel's choice changes no existing memory.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(errno());
        }
        NonNull::new(start.cast::<u8>()).ok_or(libc::ENOMEM)
    })
}

/// Gives the `len` bytes at `start` back to the kernel.
///
/// A failure is possible where the kernel would have to split a mapping and has no room for the pieces; the
/// memory then stays mapped and is lost, and nothing else changes.
///
/// # Safety
/// The range consists of whole pages that [`map`] returned and nothing uses any more.
pub(crate) unsafe fn unmap(start: NonNull<u8>, len: usize) {
    keeping_errno(|| {
        // SAFETY: The pages are the caller's and unused, as the caller promises.
        let result = unsafe { libc::munmap(start.as_ptr().cast::<c_void>(), len) };
        debug_assert!(result == 0 || errno() == libc::ENOMEM);
    });
}

/// Leaves the `len` bytes at `start` out of core dumps; a hint, so a refusal is no error.
///
/// # Safety
/// The range consists of whole pages that [`map`] returned.
pub(crate) unsafe fn exclude_from_core_dump(start: NonNull<u8>, len: usize) {
    keeping_errno(|| {
        // SAFETY: MADV_DONTDUMP changes no memory; the pages are the caller's, as the caller promises.
        unsafe { libc::madvise(start.as_ptr().cast::<c_void>(), len, libc::MADV_DONTDUMP) };
    });
}

/// Sleeps while `word` holds `expected`; may return for no reason.
pub(crate) fn futex_wait(word: &AtomicU32, expected: u32) {
    keeping_errno(|| {
        // SAFETY: FUTEX_WAIT reads the word, which the reference keeps alive, and no time-out is passed.
        unsafe {
            libc::syscall(
                libc::SYS_futex,
                word.as_ptr(),
                libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG,
                expected,
                ptr::null::<libc::timespec>(),
            )
        };
    });
}

/// Wakes one thread that sleeps on `word`.
pub(crate) fn futex_wake_one(word: &AtomicU32) {
    keeping_errno(|| {
        // SAFETY: FUTEX_WAKE only uses the address of the word as a name.
        unsafe {
            libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, 1_i32)
        };
    });
}

/// The name of a value that each thread keeps for itself, with a function that runs when the thread ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ExitKey(libc::pthread_key_t);

impl ExitKey {
    /// A new key; `at_exit` runs at the end of each thread that called [`arm`](Self::arm), after the
    /// destructors of its Rust thread-locals.
    ///
    /// # Errors
    /// The error number of `pthread_key_create`, `EAGAIN` where the process has no key left.
    pub(crate) fn new(at_exit: unsafe extern "C" fn(*mut c_void)) -> Result<Self, i32> {
        let mut key = 0;
        // SAFETY: `key` is writable, and `at_exit` is a function for as long as the process lives.
        match unsafe { libc::pthread_key_create(&raw mut key, Some(at_exit)) } {
            0 => Ok(Self(key)),
            error => Err(error),
        }
    }

    /// Makes the key's function run when the calling thread ends.
    ///
    /// # Errors
    /// The error number of `pthread_setspecific`.
    pub(crate) fn arm(self) -> Result<(), i32> {
        let armed = ptr::without_provenance::<c_void>(1);
        // SAFETY: The key was made by `new` and is never deleted.
        match unsafe { libc::pthread_setspecific(self.0, armed) } {
            0 => Ok(()),
            error => Err(error),
        }
    }

    /// The key as a number.
    pub(crate) fn number(self) -> u32 {
        self.0
    }

    /// The key with that number, which [`number`](Self::number) gave.
    pub(crate) fn from_number(number: u32) -> Self {
        Self(number)
    }
}

/// A number that no other running thread of the process has; never 0, and the same in the child of a fork.
pub(crate) fn thread_name() -> usize {
    // SAFETY: Always callable.
    let thread = unsafe { libc::pthread_self() };
    thread as usize
}

/// Has `prepare` called before each fork, and `after` behind it in the parent and in the child.
///
/// # Errors
/// The error number of `pthread_atfork`.
pub(crate) fn at_fork(prepare: unsafe extern "C" fn(), after: unsafe extern "C" fn()) -> Result<(), i32> {
    // SAFETY: Both are functions for as long as the process lives.
    match unsafe { libc::pthread_atfork(Some(prepare), Some(after), Some(after)) } {
        0 => Ok(()),
        error => Err(error),
    }
}
