//! What of a case is timed, where that is not all of it.

use std::cell::Cell;
use std::time::{Duration, Instant};

thread_local! {
    static READING: Cell<Option<Duration>> = const { Cell::new(None) };
}

/// Times `f` and nothing else of this run of the case: what came before was to set it up.
pub fn timed<R>(f: impl FnOnce() -> R) -> R {
    let start = Instant::now();
    let result = f();
    report(start.elapsed());
    result
}

/// Says how long this run of the case is to count.
pub fn report(duration: Duration) {
    READING.set(Some(duration));
}

/// How long `f` took, or what it said itself.
pub(crate) fn read(f: impl FnOnce()) -> Duration {
    READING.set(None);
    let start = Instant::now();
    f();
    let elapsed = start.elapsed();
    READING.take().unwrap_or(elapsed)
}
