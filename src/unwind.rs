//! Where no panic may pass.

#![forbid(unsafe_code)]

/// Runs `f`. A panic in it ends the process: a second one, in a drop that runs because of the
/// first, does, also without the standard library.
#[inline(always)]
pub(crate) fn no_unwind<R>(f: impl FnOnce() -> R) -> R {
    struct Stop;
    impl Drop for Stop {
        #[cold]
        fn drop(&mut self) {
            panic!("no panic may pass here");
        }
    }
    let stop = Stop;
    let result = f();
    core::mem::forget(stop);
    result
}
