//! No operating system: waiting is spinning.

use core::sync::atomic::AtomicU32;

/// Returns at once; the caller looks at the word again.
pub(crate) fn futex_wait(_word: &AtomicU32, _expected: u32) {
    core::hint::spin_loop();
}

/// Nobody sleeps here.
pub(crate) fn futex_wake_one(_word: &AtomicU32) {}

/// Threads have no names here.
pub(crate) fn thread_name() -> usize {
    0
}

/// There is nowhere to write to.
pub(crate) fn write_error(_text: &[u8]) {}

/// Ends the program: a panic that leaves an `extern "C"` function aborts, even if panics unwind.
pub(crate) fn abort() -> ! {
    extern "C" fn end() -> ! {
        panic!("memory of context-allocator was misused");
    }
    end()
}
