//! Shared maps in a process whose files may not be long: an error, no signal.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::support::forking::{in_a_child, signal_in_a_child};
use crate::support::layout;
use context_allocator::error::SourceError;
use context_allocator::source::{FileSource, MemfdSource};
use context_allocator::{Allocator, MemorySource, MmapAllocator, MultipleBinarySearchTreeAllocator};

const MIB: usize = 1 << 20;

/// Makes the limit on the length of files one mebibyte, for this process.
fn limit() {
    let limit = libc::rlimit { rlim_cur: MIB as u64, rlim_max: MIB as u64 };
    // SAFETY: The kernel reads the limit.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &limit) }, 0);
}

fn memory() -> MemfdSource {
    MemfdSource::new(c"tests").expect("a file in memory")
}

fn file() -> FileSource {
    let file = tempfile::tempfile().expect("a file");
    // SAFETY: The file is new and has no name.
    unsafe { FileSource::new(file) }.expect("a source")
}

/// A request beyond the limit is refused, what is below is given, and again.
fn refused<S: MemorySource>(source: S) {
    for _ in 0..3 {
        let refusal = source.obtain(layout(4 * MIB, 8));
        assert_eq!(refusal, Err(SourceError::System(libc::EFBIG)));
        let refusal = source.obtain(layout(4 * MIB, 1 << 16));
        assert_eq!(refusal, Err(SourceError::System(libc::EFBIG)));
        assert!(MmapAllocator::new_in(&source).allocate(layout(4 * MIB, 8)).is_err());
        source.obtain(layout(100_000, 8)).expect("a region below the limit");
    }
    let best = source.obtain_between(layout(100, 8), 4 * MIB).expect("what is left below the limit");
    assert!(best.region.len() < MIB);
    let tree = MultipleBinarySearchTreeAllocator::new(&source);
    while tree.allocate(layout(1000, 8)).is_ok() {}
}

#[test]
fn a_file_beyond_the_limit_is_an_error() {
    in_a_child(|| {
        limit();
        refused(memory());
        refused(file());
        // On several threads, each gets its own signal.
        let source = memory();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..200).for_each(|_| assert!(source.obtain(layout(4 * MIB, 8)).is_err())));
            }
        });
    });
}

static SIGNALS: AtomicUsize = AtomicUsize::new(0);

extern "C" fn count(_: libc::c_int) {
    SIGNALS.fetch_add(1, Relaxed);
}

/// What the process does with the signal stays as it is: a handler, a mask, a signal that waits,
/// and the default, which ends it.
#[test]
fn the_signal_is_the_programs_own() {
    let handle = |handler: libc::sighandler_t| {
        // SAFETY: The handler, if it is one, only counts.
        unsafe { libc::signal(libc::SIGXFSZ, handler) }
    };
    let raise = || {
        // SAFETY: Always callable.
        unsafe { libc::raise(libc::SIGXFSZ) }
    };
    in_a_child(|| {
        limit();
        let counts = count as extern "C" fn(libc::c_int) as libc::sighandler_t;
        handle(counts);
        assert!(memory().obtain(layout(4 * MIB, 8)).is_err());
        assert_eq!(SIGNALS.load(Relaxed), 0);
        raise();
        assert_eq!(SIGNALS.load(Relaxed), 1);
        assert_eq!(handle(libc::SIG_IGN), counts);
        assert!(memory().obtain(layout(4 * MIB, 8)).is_err());
        assert_eq!(handle(counts), libc::SIG_IGN);
        // Blocked, with one that waits: it still does.
        let mut set = std::mem::MaybeUninit::uninit();
        // SAFETY: The function writes the set.
        unsafe { libc::sigemptyset(set.as_mut_ptr()) };
        // SAFETY: The set was just written.
        unsafe { libc::sigaddset(set.as_mut_ptr(), libc::SIGXFSZ) };
        // SAFETY: The kernel reads the set.
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut()) };
        raise();
        assert!(memory().obtain(layout(4 * MIB, 8)).is_err());
        assert_eq!(SIGNALS.load(Relaxed), 1);
        // SAFETY: As above.
        unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, set.as_ptr(), std::ptr::null_mut()) };
        assert_eq!(SIGNALS.load(Relaxed), 2);
    });
    let signal = signal_in_a_child(|| {
        limit();
        assert!(memory().obtain(layout(4 * MIB, 8)).is_err());
        raise();
    });
    assert_eq!(signal, Some(libc::SIGXFSZ));
}
