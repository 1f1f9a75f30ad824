//! Closures that a source calls run without its locks: they may use the source, and what is made
//! over it.

#![cfg(feature = "testing")]

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::time::Duration;

use context_allocator::size::{U64, U4096, U65536};
use context_allocator::source::{CachingSource, CountingSource, LimitSource, PooledSource, RunSource};
use context_allocator::{ArenaSource, MemorySource, MmapSource};
use support::layout;

context_allocator::global_thread_and_coroutine_switchable_allocator!(static ALLOC);

/// Fails if `f` does not come back.
fn in_time(what: &'static str, f: impl FnOnce() + Send + 'static) {
    let (done, wait) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        f();
        let _ = done.send(());
    });
    let outcome = wait.recv_timeout(Duration::from_secs(60));
    assert!(outcome != Err(mpsc::RecvTimeoutError::Timeout), "{what} does not come back");
    thread.join().expect(what);
}

/// Obtains and releases some regions, so that the source has something to give back.
fn use_some<S: MemorySource>(source: &S, size: usize) {
    let asked = layout(size, 8);
    let held: Vec<_> = (0..40).map(|_| source.obtain(asked).expect("memory")).collect();
    for region in held {
        // SAFETY: Obtained with this layout above, and not used again.
        unsafe { source.release(region, asked) };
    }
}

/// Reclaims with a closure that uses the source, with one that asks it to reclaim, and with one
/// that panics.
fn reclaims<S: MemorySource + Send + 'static>(what: &'static str, size: usize, source: S) {
    in_time(what, move || {
        use_some(&source, size);
        let mut ranges = 0;
        let bytes = source.reclaim(&mut |range| {
            ranges += 1;
            use_some(&source, size);
            let formatted = format!("{range:?} {}", "-".repeat(2000));
            assert!(formatted.len() > 2000);
        });
        assert!(bytes > 0 && ranges > 0, "{what}: {ranges} ranges");
        use_some(&source, size);
        let mut inner = 0;
        source.reclaim(&mut |_| inner += source.reclaim(&mut |_| ()));
        use_some(&source, size);
        let unwound =
            catch_unwind(AssertUnwindSafe(|| source.reclaim(&mut |_| panic!("a closure that panics"))));
        assert!(unwound.is_err());
        use_some(&source, size);
        source.reclaim(&mut |_| ());
    });
}

#[test]
fn closures_may_use_what_calls_them() {
    reclaims("an arena", 60, ArenaSource::<_, U64, U4096>::new_in(MmapSource::new()));
    reclaims("an arena of slices", 5000, ArenaSource::new(MmapSource::new()));
    reclaims("an arena of an arena", 60, {
        ArenaSource::<_, U64, U4096>::new_in(ArenaSource::<_, U4096, U65536>::new_in(MmapSource::new()))
    });
    reclaims("a cache", 5000, CachingSource::new(MmapSource::new()));
    reclaims("a cache over an arena", 3000, {
        CachingSource::new(ArenaSource::<_, U4096, U65536>::new_in(MmapSource::new()))
    });
    reclaims("slices", 100_000, RunSource::new(MmapSource::new()));
    reclaims(
        "a limit",
        60,
        LimitSource::new(ArenaSource::<_, U64, U4096>::new_in(MmapSource::new()), 1 << 20),
    );
    reclaims("a count", 60, CountingSource::new(ArenaSource::<_, U64, U4096>::new_in(MmapSource::new())));
    reclaims("the process's pool", 3 << 20, PooledSource::new());
}

/// The global allocator stands on the pool that is being reclaimed.
#[test]
fn notes_may_be_taken_of_what_leaves_the_pool() {
    in_time("the process's pool", || {
        drop((0..64).map(|_| vec![1u8; 3 << 20]).collect::<Vec<_>>());
        let mut log = String::new();
        PooledSource::new().reclaim(&mut |range| {
            log += &format!("{:?} {}\n", range.cast::<u8>(), "-".repeat(2000));
        });
        assert!(log.len() > 2000);
    });
}
