//! What of a case is timed, where that is not all of it; and several threads that start at once.

use std::cell::{Cell, RefCell};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

thread_local! {
    static READING: Cell<Option<Duration>> = const { Cell::new(None) };
    /// When what was timed ended.
    static ENDED: Cell<Option<Instant>> = const { Cell::new(None) };
    /// Where the threads of a case wait until all of them are set up.
    static START: RefCell<Option<Arc<Barrier>>> = const { RefCell::new(None) };
}

/// Times `f` and nothing else of this run of the case: what came before was to set it up.
pub fn timed<R>(f: impl FnOnce() -> R) -> R {
    let barrier = START.with(|start| start.borrow_mut().take());
    if let Some(barrier) = barrier {
        barrier.wait();
    }
    let start = Instant::now();
    let result = f();
    let end = Instant::now();
    report(end.duration_since(start));
    ENDED.set(Some(end));
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

/// The same on several threads, which begin together: from when the first of them begins what is
/// timed until the last one ends it.
pub(crate) fn read_on(threads: usize, f: impl Fn() + Sync) -> Duration {
    let barrier = Arc::new(Barrier::new(threads));
    let on_one = || {
        barrier.wait();
        START.set(Some(barrier.clone()));
        let taken = read(&f);
        let end = ENDED.take().unwrap_or_else(Instant::now);
        // A case that times all of itself waited for nobody there.
        START.set(None);
        (end.checked_sub(taken).unwrap_or(end), end)
    };
    thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(on_one)).collect();
        let times: Vec<_> = all.into_iter().map(|thread| thread.join().expect("no case panics")).collect();
        let start = times.iter().map(|(start, _)| *start).min();
        let end = times.iter().map(|(_, end)| *end).max();
        start.zip(end).map(|(start, end)| end.duration_since(start)).unwrap_or_default()
    })
}
