//! What the lock of a pool of slices guards: the index, runs kept aside, and the sums of all
//! chunks.
//!
//! Always: `free`, `dirty`, `waiting` and `being_purged` are the sums of the chunks, and of the
//! runs kept aside, which are free, dirty and waiting here but held to the index of their chunks,
//! and of what is idle of maps. A run enters the index only if they say that it is held.

use core::ptr::NonNull;

use super::index::{Index, Place};
use super::maps::Maps;
use super::recent::Recent;
use super::words;
use crate::misuse::end_process;
use crate::size::SLICE;
use crate::source::sweep::Sweeps;
use crate::sys;

/// What the lock guards. Counts are of slices.
pub(super) struct Pool {
    pub(super) index: Index,
    pub(super) ones: Recent,
    pub(super) fours: Recent,
    pub(super) maps: Maps,
    pub(super) chunks: usize,
    pub(super) free: usize,
    pub(super) dirty: usize,
    pub(super) waiting: usize,
    pub(super) being_purged: usize,
    pub(super) purger: Purger,
    /// What the purger's thread does beside.
    pub(super) sweeps: Sweeps,
}

// SAFETY: The slices kept aside belong to the pool, not to a thread.
unsafe impl Send for Pool {}

impl Pool {
    /// Nothing.
    pub(super) const fn new() -> Self {
        Self {
            index: Index::new(),
            ones: Recent::new(),
            fours: Recent::new(),
            maps: Maps::new(),
            chunks: 0,
            free: 0,
            dirty: 0,
            waiting: 0,
            being_purged: 0,
            purger: Purger::new(),
            sweeps: Sweeps::new(),
        }
    }

    /// Where the index of the chunk are in which a run of `len` slices starts that somebody holds,
    /// and which slice of it that is.
    ///
    /// Ends the process if nobody does: the run was given back twice, or it is none of this pool.
    #[inline]
    pub(super) fn find_held(&mut self, start: NonNull<u8>, len: usize, chunk: usize) -> (Place, usize) {
        let address = start.addr().get();
        let at = address % chunk / SLICE;
        let whole = address.is_multiple_of(SLICE) && at + len <= chunk / SLICE;
        match self.index.find(address / chunk) {
            Some(place) if whole && self.index.chunk(place).is_held(words::mask(at, len)) => (place, at),
            _ => end_process("a run of slices was given back that nobody holds", address),
        }
    }

    /// A child of a fork has no thread but the one that forked.
    pub(super) fn after_fork(&mut self) {
        if self.purger.running && self.purger.process != sys::process_name() {
            self.purger.running = false;
            self.sweeps.clear();
        }
    }

    /// The runs that are kept aside for requests of that length and alignment, in slices.
    #[inline(always)]
    pub(super) fn recent(&mut self, len: usize, align: usize) -> Option<&mut Recent> {
        match (len, align) {
            (1, 1) => Some(&mut self.ones),
            (4, 4) => Some(&mut self.fours),
            _ => None,
        }
    }

    /// Takes a run that was kept aside.
    #[inline(always)]
    pub(super) fn take_recent(&mut self, len: usize, align: usize) -> Option<NonNull<u8>> {
        let start = self.recent(len, align)?.pop()?;
        self.free -= len;
        self.dirty -= len;
        self.waiting -= len;
        Some(start)
    }

    /// Keeps a run aside, if there is room.
    #[inline(always)]
    pub(super) fn put_recent(&mut self, start: NonNull<u8>, len: usize, align: usize) -> bool {
        let kept = self.recent(len, align).is_some_and(|recent| recent.push(start));
        if kept {
            self.count_put(len);
        }
        kept
    }

    #[inline(always)]
    pub(super) fn count_put(&mut self, slices: usize) {
        self.free += slices;
        self.dirty += slices;
        self.waiting += slices;
    }

    /// Enters what was kept aside in the index; whether there was any.
    #[cold]
    #[inline(never)]
    pub(super) fn flush(&mut self, chunk: usize, whole: u64) -> bool {
        let mut any = false;
        loop {
            let (start, len) = match (self.ones.pop(), self.fours.pop()) {
                (None, None) => return any,
                (Some(one), None) => (one, 1),
                (None, Some(four)) => (four, 4),
                (Some(one), Some(four)) => {
                    self.enter_free(one, 1, chunk, whole);
                    (four, 4)
                }
            };
            self.enter_free(start, len, chunk, whole);
            any = true;
        }
    }

    pub(super) fn enter_free(&mut self, start: NonNull<u8>, len: usize, chunk: usize, whole: u64) {
        let tick = self.purger.tick;
        let (place, at) = self.find_held(start, len, chunk);
        self.index.chunk(place).states.put(words::mask(at, len), tick);
        self.index.update(place, whole);
    }

    /// Free slices become held; whether all of them were clean.
    #[inline]
    pub(super) fn take(&mut self, place: Place, slices: u64, whole: u64) -> bool {
        let taken = self.index.chunk(place).states.take(slices);
        self.index.update(place, whole);
        self.free -= slices.count_ones() as usize;
        self.dirty -= taken.dirty;
        self.waiting -= taken.waiting;
        taken.dirty == 0
    }

    /// Held slices whose memory is gone become free.
    pub(super) fn put_clean(&mut self, place: Place, slices: u64, whole: u64) {
        self.index.chunk(place).states.put_clean(slices);
        self.index.update(place, whole);
        self.free += slices.count_ones() as usize;
    }

    /// Held slices become free.
    #[inline]
    pub(super) fn put(&mut self, place: Place, slices: u64, whole: u64) {
        let tick = self.purger.tick;
        self.index.chunk(place).states.put(slices, tick);
        self.index.update(place, whole);
        self.count_put(slices.count_ones() as usize);
    }
}

/// What the pool knows of time, and of its thread.
pub(super) struct Purger {
    /// Ticks in which somebody looked.
    pub(super) tick: u32,
    /// What the clock was in the last one.
    pub(super) clock: u64,
    /// Whether there is a thread, in the process `process`.
    pub(super) running: bool,
    pub(super) process: u64,
    /// Whether there can be none.
    pub(super) impossible: bool,
}

impl Purger {
    pub(super) const fn new() -> Self {
        Self { tick: 0, clock: 0, running: false, process: 0, impossible: false }
    }

    /// Notes what the clock is; whether a new tick has begun.
    pub(super) const fn look(&mut self, clock: u64) -> bool {
        let new = self.clock != clock;
        self.clock = clock;
        if new {
            self.tick = self.tick.wrapping_add(1);
        }
        new
    }
}
