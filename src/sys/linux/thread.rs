//! Threads: futexes, the end of a thread, forks.

use core::ffi::c_void;
use core::ptr;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

use super::keeping_errno;

/// Sleeps while `word` holds `expected`; may return for no reason.
pub(crate) fn futex_wait(word: &AtomicU32, expected: u32) {
    keeping_errno(|| {
        // SAFETY: FUTEX_WAIT reads the word, which the reference keeps alive, and no time-out is
        // passed.
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

/// The name of a value that each thread keeps for itself, with a function that runs when the thread
/// ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ExitKey(libc::pthread_key_t);

impl ExitKey {
    /// A new key; `at_exit` runs at the end of each thread that called [`arm`](Self::arm), after
    /// the destructors of its Rust thread-locals.
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

/// A number that no other running thread of the process has; never 0, and the same in the child of
/// a fork.
pub(crate) fn thread_name() -> usize {
    // SAFETY: Always callable.
    let thread = unsafe { libc::pthread_self() };
    thread as usize
}

/// Has `prepare` called before each fork, and the others behind it.
///
/// # Errors
/// The error number of `pthread_atfork`.
pub(crate) fn at_fork(
    prepare: unsafe extern "C" fn(),
    parent: unsafe extern "C" fn(),
    child: unsafe extern "C" fn(),
) -> Result<(), i32> {
    // SAFETY: All are functions for as long as the process lives, or the library that they lie in.
    match unsafe { libc::pthread_atfork(Some(prepare), Some(parent), Some(child)) } {
        0 => Ok(()),
        error => Err(error),
    }
}

/// Relaxed: written by the one thread of a child, before it starts others.
static FORKS: AtomicU32 = AtomicU32::new(0);

/// Notes that this process is the child of a fork.
pub(crate) fn note_fork() {
    FORKS.fetch_add(1, Relaxed);
}

/// How many forks lie between this process and the first that this library was in. Numbers of
/// processes do not tell a child from its parent: each may be the first of its own namespace.
pub(crate) fn forks_noted() -> u32 {
    FORKS.load(Relaxed)
}

/// Has a function called before the program's own constructors and those of the libraries that are
/// linked to it statically: with the lowest priority that a constructor can have. Shared libraries
/// that the program needs have run theirs by then.
macro_rules! before_constructors {
    ($function:path) => {
        const _: () = {
            #[used]
            // The section holds pointers to functions of this type, which the loader calls once, on
            // one thread.
            #[unsafe(link_section = ".init_array.00000")]
            static BEFORE: extern "C" fn() = $function;
        };
    };
}
pub(crate) use before_constructors;

/// A number that tells this process from the one that it is a child of, and from others that run,
/// as far as its fork went through the handlers.
pub(crate) fn process_name() -> u64 {
    // SAFETY: Always callable.
    let id = unsafe { libc::getpid() };
    u64::from(id.cast_unsigned()) | u64::from(forks_noted()) << 32
}
