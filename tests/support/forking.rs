//! A process that forks while its other threads allocate and free: the child has their memory, and
//! none of them.
//!
//! One body for several test binaries, each with tiers of its own as the `#[global_allocator]`.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering::AcqRel, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// What a thread publishes for others to check and free: never under a lock, which a fork could
/// find held.
#[derive(Debug)]
pub struct Slots([AtomicPtr<Words>; 64]);

type Words = Vec<String>;

/// Words of all lengths, up to those that are larger than a size class.
pub fn words(count: usize) -> Words {
    (0..count).map(|number| black_box(format!("{number:>width$}", width = 1 + number * 7 % 300))).collect()
}

/// Checks what `words` made, wherever it was moved.
pub fn check(words: &[String]) {
    for (number, word) in words.iter().enumerate() {
        assert_eq!(word.trim_start(), number.to_string());
    }
}

impl Default for Slots {
    fn default() -> Self {
        Self::new()
    }
}

impl Slots {
    /// Nothing is published yet.
    pub const fn new() -> Self {
        Self([const { AtomicPtr::new(null_mut()) }; 64])
    }

    /// Publishes some words in place of others, which are checked, grown and freed.
    pub fn exchange(&self, slot: usize, words: Option<Words>) {
        let mine = words.map_or(null_mut(), |words| Box::into_raw(Box::new(words)));
        let theirs = self.0[slot % self.0.len()].swap(mine, AcqRel);
        if !theirs.is_null() {
            // SAFETY: What is in a slot came from `into_raw`, and the swap made it this thread's.
            let mut theirs = unsafe { Box::from_raw(theirs) };
            check(&theirs);
            theirs.extend_from_within(..0);
            theirs.push(theirs.len().to_string());
            check(&theirs);
        }
    }

    /// Frees all.
    pub fn clear(&self) {
        (0..self.0.len()).for_each(|slot| self.exchange(slot, None));
    }
}

/// Keeps `threads` threads busy with `work`, each call with a number of its own, while `f` runs.
pub fn while_busy(threads: usize, work: fn(usize), f: impl FnOnce()) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let stop = &stop;
            scope.spawn(move || {
                let mut number = thread;
                while !stop.load(Relaxed) {
                    work(number);
                    number += threads;
                }
            });
        }
        // A panic here must stop the threads too.
        let result = catch_unwind(AssertUnwindSafe(f));
        stop.store(true, Relaxed);
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
    });
}

/// Forks a hundred times while six threads do each of the works, which fill the slots; the children
/// do some of it too.
pub fn fork_while_busy(slots: &Slots, works: &[fn(usize)]) {
    for &work in works {
        while_busy(6, work, || {
            for round in 0..100 {
                in_a_child(|| {
                    (0..20).for_each(|number| work(round + number));
                    slots.clear();
                    check(&words(100));
                });
            }
        });
    }
    slots.clear();
}

/// Forks; the child runs `f` and exits. Fails if `f` panics in the child, or does not come back.
pub fn in_a_child(f: impl FnOnce()) {
    // SAFETY: The child runs `f` alone, which uses no lock of another thread but the allocator's,
    // and leaves by `_exit`.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "the process cannot fork");
    if child == 0 {
        let failed = catch_unwind(AssertUnwindSafe(f)).is_err();
        // SAFETY: Always callable.
        unsafe { libc::_exit(i32::from(failed)) };
    }
    assert_eq!(wait(child), Some(0), "the child failed");
}

/// Forks; the child runs `f`. The signal that ends the child; none where it comes to the end of
/// `f`.
pub fn signal_in_a_child(f: impl FnOnce()) -> Option<i32> {
    // SAFETY: As in `in_a_child`.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "the process cannot fork");
    if child == 0 {
        let _ = catch_unwind(AssertUnwindSafe(f));
        // SAFETY: Always callable.
        unsafe { libc::_exit(0) };
    }
    let status = wait(child).expect("the child ends");
    libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status))
}

/// The exit status of a child; none, and the child killed, if it does not end.
fn wait(child: libc::pid_t) -> Option<i32> {
    let until = Instant::now() + Duration::from_secs(20);
    let mut status = 0;
    loop {
        // SAFETY: `status` is writable.
        let ended = unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) };
        assert!(ended >= 0);
        if ended == child {
            return Some(status);
        }
        if Instant::now() > until {
            // SAFETY: The child was not waited for yet, so the number is its own.
            unsafe { libc::kill(child, libc::SIGKILL) };
            // SAFETY: As above.
            unsafe { libc::waitpid(child, &raw mut status, 0) };
            return None;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Some work with a map, so that blocks of many sizes come and go.
pub fn count_words(words: &[String]) -> usize {
    let mut lengths = BTreeMap::<usize, Vec<&str>>::new();
    for word in words {
        lengths.entry(word.len()).or_default().push(word);
    }
    lengths.values().map(Vec::len).sum()
}
