//! Work on memory that is held, which a source's thread does beside its own.
//!
//! An allocator may hold regions in which whole pages have no block, while the thread that uses the
//! allocator sleeps. A [`Sweep`] is the function that finds such pages and gives them up. The
//! thread of a pool runs it at each of its ticks (see [`Purge`](super::Purge)):
//!
//! ```text
//!   idle --sweep_later--> listed --nothing left--> last look --nothing left--> idle
//!                           ^                          |
//!                           '------ there was more ----'
//! ```
//!
//! A last look, one tick later, finds what was left to do by a thread that still saw the sweep
//! listed.

use core::ptr::{NonNull, null_mut};
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicPtr, AtomicU8};

/// A function that gives up memory which nobody uses in regions that are held; see
/// [`MemorySource::sweep_later`](super::MemorySource::sweep_later).
///
/// The function returns whether it is to be called again. It runs on a thread of the source's, with
/// no lock of the source held; it does not unwind, and uses no global allocator.
#[derive(Debug)]
pub struct Sweep {
    run: fn() -> bool,
    state: AtomicU8,
    /// The next on the list of its source.
    next: AtomicPtr<Sweep>,
}

const IDLE: u8 = 0;
const LISTED: u8 = 1;
const LAST_LOOK: u8 = 2;
/// The source has no thread for it.
const REFUSED: u8 = 3;

impl Sweep {
    /// The sweep that runs that function.
    #[must_use]
    pub const fn new(run: fn() -> bool) -> Self {
        Self { run, state: AtomicU8::new(IDLE), next: AtomicPtr::new(null_mut()) }
    }

    /// Whether a thread runs it soon, or no source has a thread for it, so that a call of
    /// [`sweep_later`](super::MemorySource::sweep_later) would change nothing.
    #[inline]
    pub fn is_listed(&self) -> bool {
        matches!(self.state.load(Relaxed), LISTED | REFUSED)
    }
}

/// The sweeps that a source's thread runs; reached under the source's lock.
#[derive(Debug)]
pub(super) struct Sweeps {
    first: Option<&'static Sweep>,
}

impl Sweeps {
    pub(super) const fn new() -> Self {
        Self { first: None }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Lists a sweep, unless it is listed.
    pub(super) fn add(&mut self, sweep: &'static Sweep) {
        if matches!(sweep.state.swap(LISTED, Relaxed), IDLE | REFUSED) {
            let next = self.first.map_or(null_mut(), |first| core::ptr::from_ref(first).cast_mut());
            sweep.next.store(next, Relaxed);
            self.first = Some(sweep);
        }
    }

    /// Takes a sweep off the list: there is no thread to run it, unless another source has one.
    pub(super) fn refuse(&mut self, sweep: &'static Sweep) {
        if matches!(sweep.state.load(Relaxed), LISTED | LAST_LOOK) {
            self.strike(sweep);
        }
        sweep.state.store(REFUSED, Relaxed);
    }

    /// The first sweep, and what it is at the moment.
    pub(super) fn first(&self) -> Option<Turn> {
        self.first.map(Turn::of)
    }

    /// Notes whether there was more to do in a turn, takes the sweep off the list if its last look
    /// found nothing, and gives the turn of the next.
    pub(super) fn ran(&mut self, turn: Turn, more: bool) -> Option<Turn> {
        let Turn { sweep, state } = turn;
        let next = sweep.next();
        let now = sweep.state.load(Relaxed);
        if more {
            sweep.state.store(LISTED, Relaxed);
        } else if now == state && state == LISTED {
            sweep.state.store(LAST_LOOK, Relaxed);
        } else if now == LAST_LOOK {
            self.strike(sweep);
        }
        next.map(Turn::of)
    }

    /// Takes a sweep off the list.
    fn strike(&mut self, sweep: &'static Sweep) {
        let mut before = None;
        let mut at = self.first;
        while let Some(listed) = at.filter(|&listed| !core::ptr::eq(listed, sweep)) {
            before = Some(listed);
            at = listed.next();
        }
        match before {
            Some(before) => before.next.store(sweep.next.load(Relaxed), Relaxed),
            None => self.first = sweep.next(),
        }
        sweep.state.store(IDLE, Relaxed);
    }

    /// Takes all off the list: there is no thread for them any more.
    pub(super) fn clear(&mut self) {
        while let Some(sweep) = self.first {
            self.strike(sweep);
        }
    }
}

/// A sweep that is to run, and what it was when its turn came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    sweep: &'static Sweep,
    state: u8,
}

impl Turn {
    fn of(sweep: &'static Sweep) -> Self {
        Self { sweep, state: sweep.state.load(Relaxed) }
    }

    /// Runs the sweep; whether there is more to do.
    pub(super) fn run(self) -> bool {
        (self.sweep.run)()
    }
}

impl Sweep {
    fn next(&self) -> Option<&'static Sweep> {
        // SAFETY: What is on the list is a static.
        NonNull::new(self.next.load(Relaxed)).map(|next| unsafe { next.as_ref() })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use core::sync::atomic::AtomicUsize;

    static LEFT: AtomicUsize = AtomicUsize::new(0);

    fn some() -> bool {
        LEFT.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    fn none() -> bool {
        false
    }

    /// One round over the list; how many ran.
    fn round(sweeps: &mut Sweeps) -> usize {
        let (mut ran, mut turn) = (0, sweeps.first());
        while let Some(this) = turn {
            ran += 1;
            let more = this.run();
            turn = sweeps.ran(this, more);
        }
        ran
    }

    #[test]
    fn a_sweep_runs_until_a_last_look_found_nothing() {
        static SOME: Sweep = Sweep::new(some);
        static NONE: Sweep = Sweep::new(none);
        let mut sweeps = Sweeps::new();
        LEFT.store(2, Relaxed);
        for sweep in [&SOME, &NONE, &SOME] {
            sweeps.add(sweep);
            assert!(sweep.is_listed());
        }
        assert_eq!(round(&mut sweeps), 2);
        assert!(SOME.is_listed() && !NONE.is_listed());
        assert_eq!(round(&mut sweeps), 2);
        // The one that found nothing twice is gone.
        assert_eq!(round(&mut sweeps), 1);
        // It asks again before its last look, and is listed for another.
        sweeps.add(&SOME);
        assert_eq!(round(&mut sweeps), 1);
        sweeps.add(&NONE);
        assert_eq!(round(&mut sweeps), 2);
        sweeps.clear();
        assert!(sweeps.is_empty() && !SOME.is_listed() && !NONE.is_listed());
        sweeps.add(&NONE);
        sweeps.refuse(&NONE);
        sweeps.refuse(&NONE);
        assert!(NONE.is_listed() && sweeps.is_empty());
        // Another source has a thread.
        let mut others = Sweeps::new();
        others.add(&NONE);
        assert_eq!(round(&mut others), 1);
    }
}
