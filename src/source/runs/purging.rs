//! Giving the memory of free slices up: by who releases some, and by a thread.
//!
//! ```text
//!   waiting:   up to keep        more than keep                      more than most
//!              stay for ever     two ticks, then they go     the last release purges a quarter
//! ```
//!
//! Time is counted in ticks of half the delay, by whoever looks at the clock: the thread, which
//! sleeps from tick to tick while there is more than `keep`, or, where there is none, who releases
//! more than that. What became free in one tick goes in the second one after.
//!
//! The thread runs on nothing but the pool, the clock, and its stack: no allocation through the
//! global allocator, no thread-local of this library, no signal handler of the program.

use core::ffi::c_void;
use core::ptr::{NonNull, null_mut};

use super::index::{DIRTY, Place, Way};
use super::pool::Pool;
use super::states::Which;
use super::{RunSource, words};
use crate::ptr;
use crate::size::BlockSize;
use crate::size::SLICE;
use crate::source::{Decommit, Sweep};
use crate::sync::Held;
use crate::sys;

/// Where a pool is for ever, if that is known, and the thread for it.
pub(super) struct Itself {
    pool: *const c_void,
    body: Option<sys::Body>,
}

// SAFETY: The pointer is compared, and used by the thread alone, for which `of` asks that the pool
// may be shared.
unsafe impl Send for Itself {}
// SAFETY: As above.
unsafe impl Sync for Itself {}

impl Itself {
    pub(super) const UNKNOWN: Self = Self { pool: core::ptr::null(), body: None };

    pub(super) const fn of<S, C>(pool: &'static RunSource<S, C>) -> Self
    where
        S: Decommit + Send + Sync + 'static,
        C: BlockSize,
    {
        Self { pool: core::ptr::from_ref(pool).cast(), body: Some(purge_in_background::<S, C>) }
    }
}

/// Why somebody who released slices must see to the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Excess {
    None,
    /// More waits than is to stay, and no thread sees to it.
    Unattended,
    /// More waits than may.
    TooMuch,
}

impl<S, C> RunSource<S, C>
where
    S: Decommit,
    C: BlockSize,
{
    /// Gives the memory of all free slices up, now, and returns how many bytes that was.
    ///
    /// One system call for each run of slices, and for each map that is kept. Other threads obtain
    /// and release meanwhile.
    pub fn purge(&self) -> usize {
        self.give_up(Which::Dirty, 0)
    }

    /// What is to be done after a release; see [`settle`](Self::settle).
    #[inline(always)]
    pub(super) fn excess(&self, pool: &Pool) -> Excess {
        let waiting = pool.waiting * SLICE;
        if waiting <= self.purge.keep_bytes() {
            Excess::None
        } else if waiting > self.purge.most_bytes() {
            Excess::TooMuch
        } else if !pool.purger.running && self.purge.tick().is_some() {
            Excess::Unattended
        } else {
            Excess::None
        }
    }

    /// Does what is to be done after a release, without the lock.
    #[inline(always)]
    pub(super) fn settle(&self, excess: Excess) {
        match excess {
            Excess::None => {}
            Excess::Unattended => self.attend(),
            Excess::TooMuch => self.give_much_up(),
        }
    }

    /// Makes less wait than may.
    #[cold]
    #[inline(never)]
    fn give_much_up(&self) {
        let most = self.purge.most_bytes();
        let target = self.keep().max((most - most / 4) / SLICE);
        self.give_up(Which::Due, target);
        self.give_up(Which::Waiting, target);
    }

    fn keep(&self) -> usize {
        self.purge.keep_bytes() / SLICE
    }

    /// Starts the thread or, where there is to be none, looks whether something is due.
    #[cold]
    #[inline(never)]
    fn attend(&self) {
        let Some(tick) = self.purge.tick() else { return };
        let clock = sys::coarse_millis() / tick;
        let mut pool = self.pool.lock();
        // What is kept aside became free in the tick that may end here.
        pool.flush(C::BYTES, Self::WHOLE_CHUNK);
        let new = pool.purger.look(clock);
        if let Err(pool) = self.start_thread(pool) {
            let due = new && !pool.purger.running;
            drop(pool);
            if due {
                self.give_up(Which::Due, self.keep());
            }
        }
    }

    /// Starts the thread.
    ///
    /// # Errors
    /// The lock, if it runs or there is to be none.
    fn start_thread<'a>(&self, mut pool: Held<'a, Pool>) -> Result<(), Held<'a, Pool>> {
        let own = core::ptr::eq(self.itself.pool, core::ptr::from_ref(self).cast());
        let may = own && self.purge.makes_thread() && !pool.purger.impossible;
        let Some(body) = self.itself.body.filter(|_| may && !pool.purger.running) else { return Err(pool) };
        pool.purger.running = true;
        pool.purger.process = sys::process_name();
        drop(pool);
        // SAFETY: The pointer came from a reference that is good for ever, to a pool that may be
        // shared, and this is its body.
        let started = unsafe { sys::start_thread(body, self.itself.pool.cast_mut()) };
        if started.is_err() {
            let mut pool = self.pool.lock();
            pool.purger.running = false;
            pool.purger.impossible = true;
            pool.sweeps.clear();
        }
        Ok(())
    }

    /// See [`MemorySource::sweep_later`].
    #[cold]
    #[inline(never)]
    pub(super) fn list_sweep(&self, sweep: &'static Sweep) -> bool {
        let mut pool = self.pool.lock();
        pool.sweeps.add(sweep);
        let pool = if self.purge.tick().is_some() { self.start_thread(pool) } else { Err(pool) };
        if let Err(mut pool) = pool
            && !pool.purger.running
        {
            pool.sweeps.refuse(sweep);
            return false;
        }
        true
    }

    /// What the thread does: it ends when no more waits than is to stay, and no sweep has more to
    /// do.
    fn attend_for_long(&self) {
        let Some(tick) = self.purge.tick() else { return };
        loop {
            sys::sleep_millis(tick);
            let clock = sys::coarse_millis() / tick;
            let mut pool = self.pool.lock();
            pool.flush(C::BYTES, Self::WHOLE_CHUNK);
            // A tick has passed, wherever the clock's own begin.
            pool.purger.clock = clock;
            pool.purger.tick = pool.purger.tick.wrapping_add(1);
            let mut turn = pool.sweeps.first();
            drop(pool);
            while let Some(sweep) = turn {
                let more = sweep.run();
                turn = self.pool.lock().sweeps.ran(sweep, more);
            }
            self.give_up(Which::Due, self.keep());
            let mut pool = self.pool.lock();
            if pool.waiting <= self.keep() && pool.sweeps.is_empty() {
                pool.purger.running = false;
                return;
            }
        }
    }

    /// Gives slices up, the highest addresses first, until no more than `target` wait (where not
    /// all are to go, however they wait); returns how many bytes.
    fn give_up(&self, which: Which, target: usize) -> usize {
        let mut number = usize::MAX;
        let mut given = self.give_maps_up(which, target);
        if which != Which::Due {
            self.pool.lock().flush(C::BYTES, Self::WHOLE_CHUNK);
        }
        loop {
            let one_at_a_time = self.purging.lock();
            let mut pool = self.pool.lock();
            if which != Which::Dirty && pool.waiting <= target {
                return given;
            }
            let Some(place) = pool.index.next(DIRTY, number, Way::Down) else { return given };
            number = pool.index.number(place);
            let Some((start, slices)) = pool.begin_purge(place, which, target, Self::WHOLE_CHUNK) else {
                continue;
            };
            drop(pool);
            let clean = self.decommit(start, slices);
            self.pool.lock().end_purge(place, slices, clean, Self::WHOLE_CHUNK);
            drop(one_at_a_time);
            given += clean.count_ones() as usize * SLICE;
        }
    }

    /// Gives the memory of slices up; those for which that was done.
    fn decommit(&self, chunk: NonNull<u8>, slices: u64) -> u64 {
        let mut clean = 0;
        if slices != Self::WHOLE_CHUNK {
            // SAFETY: The chunk is held of the source below.
            unsafe { self.source.keep_pages_small(ptr::bytes(chunk, C::BYTES)) };
        }
        for (at, len) in words::runs(slices) {
            // SAFETY: Slices of a chunk lie inside it.
            let start = unsafe { chunk.add(at * SLICE) };
            // SAFETY: The range lies in a chunk that this pool holds, and the slices are neither
            // held nor free, so that nobody accesses them.
            let outcome = unsafe { self.source.decommit(ptr::bytes(start, len * SLICE)) };
            if outcome.is_ok() {
                clean |= words::mask(at, len);
            }
        }
        clean
    }
}

impl Pool {
    /// Takes slices of a chunk out that are to be purged: the chunk's start, and which.
    fn begin_purge(
        &mut self,
        place: Place,
        which: Which,
        target: usize,
        whole: u64,
    ) -> Option<(NonNull<u8>, u64)> {
        let (tick, most) = (self.purger.tick, self.waiting.saturating_sub(target));
        let chunk = self.index.chunk(place);
        let start = NonNull::new(chunk.start)?;
        let found = chunk.states.candidates(tick, which);
        let slices = if which == Which::Dirty { found } else { words::highest(found, most) };
        if slices == 0 {
            return None;
        }
        let taken = chunk.states.begin_purge(slices);
        self.index.update(place, whole);
        let count = slices.count_ones() as usize;
        self.free -= count;
        self.dirty -= taken.dirty;
        self.waiting -= taken.waiting;
        self.being_purged += count;
        Some((start, slices))
    }

    /// Puts them back.
    fn end_purge(&mut self, place: Place, slices: u64, clean: u64, whole: u64) {
        self.index.chunk(place).states.end_purge(slices, clean);
        self.index.update(place, whole);
        let count = slices.count_ones() as usize;
        self.free += count;
        self.dirty += (slices & !clean).count_ones() as usize;
        self.being_purged -= count;
    }
}

/// The thread of a pool.
extern "C" fn purge_in_background<S, C>(pool: *mut c_void) -> *mut c_void
where
    S: Decommit + Send + Sync + 'static,
    C: BlockSize,
{
    sys::name_thread(c"slice-purger");
    // SAFETY: Only `attend` starts this, with the pointer that `Itself::of` made from a reference
    // of this type that is good for ever.
    let pool: &'static RunSource<S, C> = unsafe { &*pool.cast_const().cast() };
    pool.attend_for_long();
    null_mut()
}
