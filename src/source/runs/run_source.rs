//! The source: obtains, releases and purges under one lock.

use core::fmt;
use core::marker::PhantomData;
use core::ptr::NonNull;

use super::index::{DIRTY, Place, Way};
use super::maps::LEAST;
use super::pool::Pool;
use super::purging::Itself;
use super::words::{Fit, MOST, WHOLE};
use super::{Purge, words};
use crate::error::SourceError;
use crate::layout::NonZeroLayout;
use crate::ptr;
use crate::size::{BlockSize, U4194304};
use crate::source::request::halving;
use crate::source::through::pass_on_decommit;
use crate::source::{
    Decommit, IdleMemory, MemorySource, MmapSource, Obtained, OwnsRegions, Remapped, SLICE, Sweep,
};
use crate::sync::{Guarded, const_fn};
use crate::sys;

/// A source of runs of whole slices of 64 KiB, cut from chunks of `C` bytes that it obtains from
/// `S`, which gives the memory of free slices up after a while.
///
/// Any thread may obtain and release. Sizes up to `C` bytes are rounded up to whole slices, and the
/// slices of a region lie in one chunk; larger sizes and alignments are passed on to `S`, as
/// regions of their own, of which up to 16 that came back are kept for the next request as free
/// slices are: its front is handed out, and grows where it is. What grows beyond four slices moves
/// there, too, and lies in no chunk then. Both calls take a fixed number of steps, whatever the
/// number of chunks: some tens of nanoseconds where a chunk has room.
///
/// What happens with the memory of free slices is what a [`Purge`] says. They are given up where
/// they are (see [`Decommit`]): chunks stay until [`reclaim`](MemorySource::reclaim) or the end of
/// the pool. A pool that is a static and was made by [`for_static`](Self::for_static) makes a
/// thread for that when there is much to give up, which ends when it is done; any other pool, and
/// one that may not, does it when somebody releases.
///
/// `C` is 64 KiB to 4 MiB, which is checked when the program is compiled.
///
/// # Examples
/// ```
/// use context_allocator::{MemorySource, MmapSource, NonZeroLayout};
/// use context_allocator::source::{Purge, RunSource};
///
/// static SLICES: RunSource = RunSource::for_static(&SLICES, MmapSource::new(), Purge::new());
///
/// let layout = NonZeroLayout::from_size_align(200_000, 8)?;
/// let obtained = SLICES.obtain_between(layout, 200_000)?;
/// assert_eq!(obtained.region.len(), 4 * 65_536);
/// assert!(obtained.zeroed);
/// // SAFETY: Just obtained with this layout, and not used again.
/// unsafe { SLICES.release(obtained.region, layout) };
/// let usage = SLICES.usage();
/// assert_eq!((usage.obtained, usage.unused, usage.resident), (4 << 20, 4 << 20, 256 << 10));
/// assert_eq!(SLICES.purge(), 256 << 10);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct RunSource<S = MmapSource, C = U4194304>
where
    S: Decommit,
    C: BlockSize,
{
    pub(super) source: S,
    pub(super) pool: Guarded<Pool>,
    /// Held while slices are purged: one at a time gives memory up, and who needs what is being
    /// purged waits here.
    pub(super) purging: Guarded<()>,
    pub(super) purge: Purge,
    pub(super) itself: Itself,
    size: PhantomData<fn() -> C>,
}

/// How much a pool of slices holds, in bytes; see [`RunSource::usage`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunUsage {
    /// Bytes of chunks obtained from the pool's own source and not given back. Of what is larger
    /// than a chunk, only what nobody holds is counted.
    pub obtained: usize,
    /// Of those, bytes that nobody holds.
    pub unused: usize,
    /// Of those, bytes that may have memory.
    pub resident: usize,
}

impl<S: Decommit> RunSource<S> {
    const_fn! {
        /// A pool that takes chunks of 4 MiB from `source`, with the default [`Purge`]; it obtains
        /// nothing before its first slice is asked for.
        pub fn new(source: S) -> Self {
            Self::new_in(source)
        }
    }
}

impl<S, C> RunSource<S, C>
where
    S: Decommit,
    C: BlockSize,
{
    const CHUNK: NonZeroLayout = {
        assert!(
            C::BYTES >= SLICE && C::BYTES <= MOST * SLICE,
            "RunSource<S, C>: the chunk size C must be 64 KiB to 4 MiB"
        );
        match NonZeroLayout::from_size_align(C::BYTES, C::BYTES) {
            Ok(layout) => layout,
            Err(_) => panic!("RunSource<S, C>: C is too large"),
        }
    };
    /// Slices of a chunk.
    const SLICES: usize = Self::CHUNK.size() / SLICE;
    /// The word with all slices of a chunk.
    pub(super) const WHOLE_CHUNK: u64 = words::mask(0, Self::SLICES);

    const_fn! {
        /// As [`new`](RunSource::new), with chunks of the size that the type names.
        pub fn new_in(source: S) -> Self {
            Self::with_purge(source, Purge::new())
        }
    }

    const_fn! {
        /// The same with another [`Purge`]. It makes no thread; for that the pool must be a static.
        pub fn with_purge(source: S, purge: Purge) -> Self {
            Self::with_itself(source, purge, Itself::UNKNOWN)
        }
    }

    const_fn! {
        /// The pool of the static `itself`, which may make a thread that purges it:
        /// `static SLICES: RunSource = RunSource::for_static(&SLICES, ...)`.
        ///
        /// Given any other static, the pool makes no thread.
        pub fn for_static(itself: &'static Self, source: S, purge: Purge) -> Self
        where
            S: Send + Sync + 'static,
        {
            Self::with_itself(source, purge, Itself::of(itself))
        }
    }

    const_fn! {
        fn with_itself(source: S, purge: Purge, itself: Itself) -> Self {
            // Named here, so that sizes that do not go together are an error where the pool is
            // made.
            let _ = Self::CHUNK;
            Self { source, pool: Guarded::new(Pool::new()), purging: Guarded::new(()), purge, itself, size: PhantomData }
        }
    }

    /// The source below.
    pub const fn source(&self) -> &S {
        &self.source
    }

    /// How much the pool holds at this moment.
    pub fn usage(&self) -> RunUsage {
        let pool = self.pool.lock();
        RunUsage {
            obtained: pool.chunks * C::BYTES + pool.maps.idle * SLICE,
            unused: (pool.free + pool.being_purged) * SLICE,
            resident: (pool.dirty + pool.being_purged) * SLICE,
        }
    }

    /// The run for a layout, in slices: its length and what its start is a multiple of; none for
    /// what is passed on.
    #[inline(always)]
    fn run(layout: NonZeroLayout) -> Option<(usize, usize)> {
        if layout.size() > C::BYTES || layout.align() > C::BYTES {
            return None;
        }
        Some((layout.size().div_ceil(SLICE), layout.align().div_ceil(SLICE)))
    }

    /// Takes the best run that there is: its first byte, and whether it is known to be zero.
    #[inline]
    fn take(pool: &mut Pool, len: usize, align: usize) -> Option<(NonNull<u8>, bool)> {
        let fit = words::fit(len, align, Self::SLICES);
        let (place, at) = match Self::search(pool, DIRTY, fit, len, align) {
            Some(found) => found,
            None => Self::search(pool, 0, fit, len, align)?,
        };
        let zeroed = pool.take(place, words::mask(at, len), Self::WHOLE_CHUNK);
        let start = ptr::up(pool.index.chunk(place).start, at * SLICE);
        Some((NonNull::new(start)?, zeroed && S::ZEROED))
    }

    /// Looks for a run among the free slices (`kind` 0) or those of them that may have memory
    /// ([`DIRTY`]).
    #[inline]
    fn search(pool: &mut Pool, kind: usize, fit: Fit, len: usize, align: usize) -> Option<(Place, usize)> {
        let place = pool.index.first(kind + fit.needed)?;
        match Self::best_in(pool, kind, place, len, align) {
            Some(at) => Some((place, at)),
            None if fit.enough == Some(fit.needed) => None,
            None => Self::search_on(pool, kind, fit, len, align, place),
        }
    }

    /// The first slice of the best run in a chunk, as [`search`](Self::search) looks for it.
    #[inline(always)]
    fn best_in(pool: &mut Pool, kind: usize, place: Place, len: usize, align: usize) -> Option<usize> {
        let states = &pool.index.chunk(place).states;
        let word = if kind == DIRTY { states.dirty } else { states.free };
        words::best(word, states.free, len, align)
    }

    /// The same where a chunk may have a run that is long enough, or nearly, and the first of those
    /// has none: looks at the next few, and then for one that must have it.
    #[cold]
    #[inline(never)]
    fn search_on(
        pool: &mut Pool,
        kind: usize,
        fit: Fit,
        len: usize,
        align: usize,
        first: Place,
    ) -> Option<(Place, usize)> {
        const TRIES: usize = 31;
        let mut place = first;
        for _ in 0..TRIES {
            let number = pool.index.number(place);
            place = pool.index.next(kind + fit.needed, number, Way::Up)?;
            if let Some(at) = Self::best_in(pool, kind, place, len, align) {
                return Some((place, at));
            }
        }
        let place = pool.index.first(kind + fit.enough?)?;
        Some((place, Self::best_in(pool, kind, place, len, align)?))
    }

    /// Obtains a chunk, and enters it.
    #[cold]
    #[inline(never)]
    fn add_chunk(&self, pool: &mut Pool) -> Result<(), SourceError> {
        let start = self.source.obtain(Self::CHUNK)?.cast::<u8>();
        let number = start.addr().get() / C::BYTES;
        let entered = pool.index.enter(&self.source, start, number, Self::WHOLE_CHUNK);
        match entered {
            Ok(_) => {
                pool.chunks += 1;
                pool.free += Self::SLICES;
                Ok(())
            }
            Err(error) => {
                // SAFETY: Just obtained with this layout; nobody has seen it.
                unsafe { self.source.release(ptr::bytes(start, C::BYTES), Self::CHUNK) };
                Err(error)
            }
        }
    }

    /// A run, or what is passed on; and whether it is known to be zero.
    #[inline]
    fn obtain_run(&self, layout: NonZeroLayout) -> Result<Obtained, SourceError> {
        let Some((len, align)) = Self::run(layout) else {
            return self.pass_on(layout);
        };
        let mut pool = self.pool.lock();
        if let Some(start) = pool.take_recent(len, align) {
            return Ok(Obtained { region: ptr::bytes(start, len * SLICE), zeroed: false });
        }
        loop {
            if let Some((start, zeroed)) = Self::take(&mut pool, len, align) {
                return Ok(Obtained { region: ptr::bytes(start, len * SLICE), zeroed });
            }
            if pool.flush(C::BYTES, Self::WHOLE_CHUNK) {
                continue;
            }
            // What is being purged may be what is missing. Waiting for it takes longer than a chunk
            // from below, and there is one purge at a time: so the chunks obtained for that reason
            // are few.
            if let Err(refusal) = self.add_chunk(&mut pool) {
                let purging = pool.being_purged > 0;
                drop(pool);
                // So may be what is kept of regions larger than a chunk.
                if purging {
                    drop(self.purging.lock());
                } else if self.give_maps_back(&mut |_| ()) == 0 {
                    return Err(refusal);
                }
                pool = self.pool.lock();
            }
        }
    }

    /// Gives kept maps and chunks that are wholly free back, and returns how many bytes that was.
    fn give_chunks_back(&self, leaving: &mut dyn FnMut(NonNull<[u8]>)) -> usize {
        let mut reclaimed = self.give_maps_back(leaving);
        let mut pool = self.pool.lock();
        pool.flush(C::BYTES, Self::WHOLE_CHUNK);
        // At most as many as there are now: a release meanwhile, by `leaving` perhaps, does not
        // keep this from ending.
        let chunks = pool.chunks;
        drop(pool);
        for _ in 0..chunks {
            let Some(start) = self.take_whole_chunk() else { break };
            let region = ptr::bytes(start, C::BYTES);
            // Without the lock: it may use this pool.
            leaving(region);
            reclaimed += C::BYTES;
            // SAFETY: The chunk was obtained with this layout, and all its slices were free and are
            // in no index now.
            unsafe { self.source.release(region, Self::CHUNK) };
        }
        reclaimed
    }

    /// Takes a chunk that is wholly free out of the index.
    fn take_whole_chunk(&self) -> Option<NonNull<u8>> {
        let mut pool = self.pool.lock();
        let place = pool.index.first(WHOLE)?;
        pool.take(place, Self::WHOLE_CHUNK, Self::WHOLE_CHUNK);
        let start = pool.index.chunk(place).start;
        pool.index.strike(place);
        pool.chunks -= 1;
        NonNull::new(start)
    }

    /// Takes a run back.
    pub(super) fn put_run(&self, start: NonNull<u8>, len: usize) {
        let mut pool = self.pool.lock();
        let (place, at) = pool.find_held(start, len, C::BYTES);
        pool.put(place, words::mask(at, len), Self::WHOLE_CHUNK);
        let excess = self.excess(&pool);
        drop(pool);
        self.settle(excess);
    }

    /// Says that the chunk in which an address lies has pages that are given up.
    ///
    /// # Safety
    /// The address lies in a region that is held of this source.
    unsafe fn keep_chunk_small(&self, address: NonNull<u8>) {
        if !sys::joins_pages_unasked() {
            return;
        }
        let number = address.addr().get() / C::BYTES;
        if self.pool.lock().index.find(number).is_some() {
            let start = ptr::at(address.as_ptr(), number * C::BYTES);
            let Some(start) = NonNull::new(start) else { return };
            // SAFETY: The index has the chunk, which stays while a region of it is held.
            unsafe { self.source.keep_pages_small(ptr::bytes(start, C::BYTES)) };
        }
    }

    /// Takes a run back whose memory is gone.
    pub(super) fn put_clean_run(&self, start: NonNull<u8>, len: usize) {
        let mut pool = self.pool.lock();
        let (place, at) = pool.find_held(start, len, C::BYTES);
        pool.put_clean(place, words::mask(at, len), Self::WHOLE_CHUNK);
    }

    /// Makes a region of this pool longer or shorter where it is, by the slices behind it; whether
    /// new ones are known to be zero.
    fn resize(&self, start: NonNull<u8>, old: usize, new: usize) -> Result<bool, SourceError> {
        if old == new {
            return Ok(S::ZEROED);
        }
        let mut zeroed = S::ZEROED;
        let mut pool = self.pool.lock();
        let (place, at) = pool.find_held(start, old, C::BYTES);
        if new > old {
            if words::run_from(pool.index.chunk(place).states.free, at + old) < new - old {
                pool.flush(C::BYTES, Self::WHOLE_CHUNK);
            }
            if words::run_from(pool.index.chunk(place).states.free, at + old) < new - old {
                return Err(SourceError::Unsupported);
            }
            zeroed &= pool.take(place, words::mask(at + old, new - old), Self::WHOLE_CHUNK);
        } else {
            pool.put(place, words::mask(at + new, old - new), Self::WHOLE_CHUNK);
            let excess = self.excess(&pool);
            drop(pool);
            self.settle(excess);
        }
        Ok(zeroed)
    }
}

// SAFETY: A region is a run of slices of one chunk that is held of the source below, so it is
// writable and overlaps no region of anybody else; the slices were free, and the lock makes each
// `take` remove them from the free ones, so it overlaps no region of this source. It is as aligned
// as asked, since chunks are multiples of `C::BYTES`, which is at least the alignment, and
// `words::best` gives multiples of it in slices. What is passed on is a region of the source below,
// cut to a length that every fitting one rounds to. Clean slices are zero where those of `S` are:
// they were never handed out, or were decommitted since. Chunks leave by `reclaim` and by the drop
// only.
unsafe impl<S, C> MemorySource for RunSource<S, C>
where
    S: Decommit,
    C: BlockSize,
{
    const MIN_ALIGN: usize = SLICE;
    const MAX_REGION: usize = S::MAX_REGION;

    #[inline]
    fn obtain(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, SourceError> {
        Ok(self.obtain_run(layout)?.region)
    }

    #[inline]
    fn obtain_between(&self, least: NonZeroLayout, preferred: usize) -> Result<Obtained, SourceError> {
        if preferred <= least.size() {
            // There is nothing to halve, and a region is whole slices in any case.
            return self.obtain_run(least);
        }
        halving::<Self>(least, preferred, |layout| self.obtain_run(layout))
    }

    #[inline]
    unsafe fn release(&self, region: NonNull<[u8]>, layout: NonZeroLayout) {
        let start = region.cast::<u8>();
        let Some((len, align)) = Self::run(layout) else {
            self.take_back(start, layout);
            return;
        };
        let mut pool = self.pool.lock();
        if !pool.put_recent(start, len, align) {
            if pool.maps.lent > 0 {
                drop(pool);
                if self.take_back_lent(start, layout) {
                    return;
                }
                pool = self.pool.lock();
            }
            let (place, at) = pool.find_held(start, len, C::BYTES);
            pool.put(place, words::mask(at, len), Self::WHOLE_CHUNK);
        }
        let excess = self.excess(&pool);
        drop(pool);
        self.settle(excess);
    }

    /// In place by the slices behind the region, or by the idle rest of a kept map whose front it
    /// is. What grows beyond a run that is kept aside moves to a kept map, by
    /// copying, so that it grows there without more of that; beyond a chunk, where there is no such
    /// map, the source below takes the memory [out](Decommit::take_out). Other regions beyond a
    /// chunk are resized as the source below does it. Back there is no way but copying.
    unsafe fn remap(
        &self,
        region: NonNull<[u8]>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<Remapped, SourceError> {
        let start = region.cast::<u8>();
        // SAFETY: The caller's promises.
        if let Some(outcome) = unsafe { self.remap_lent(start, new) } {
            return outcome;
        }
        match (Self::run(old), Self::run(new)) {
            (Some((old, _)), Some((new_len, _))) if start.addr().get().is_multiple_of(new.align()) => {
                if old < LEAST && new_len > old {
                    // SAFETY: The caller's promises; what is of no lent map and fits in a chunk is
                    // a run.
                    if let Some(moved) = unsafe { self.move_to_map(start, old, new) } {
                        return Ok(moved);
                    }
                }
                let zeroed = self.resize(start, old, new_len)?;
                let region = ptr::bytes(start, new_len * SLICE);
                Ok(Remapped { region, kept: old.min(new_len) * SLICE, zeroed })
            }
            // SAFETY: The caller's promises; the region is of no lent map.
            (None, None) => unsafe { self.remap_passed_on(start, old, new) },
            (Some((old, _)), None) => {
                // SAFETY: The caller's promises; what is of no lent map and fits in a chunk is a
                // run.
                match unsafe { self.move_to_map(start, old, new) } {
                    Some(moved) => Ok(moved),
                    // SAFETY: As above.
                    None => unsafe { self.take_out_run(start, old, new) },
                }
            }
            _ => Err(SourceError::Unsupported),
        }
    }

    fn purge(&self) -> usize {
        Self::purge(self) + self.source.purge()
    }

    fn purge_unit(&self) -> usize {
        self.source.decommit_unit()
    }

    unsafe fn purge_part(&self, range: NonNull<[u8]>) -> bool {
        // SAFETY: The range lies in a region of this source.
        unsafe { self.keep_chunk_small(range.cast()) };
        // SAFETY: The range lies in a region of the source below, as in `decommit`; the caller
        // promises the rest.
        unsafe { self.source.decommit(range) }.is_ok()
    }

    fn sweep_later(&self, sweep: &'static Sweep) -> bool {
        self.list_sweep(sweep)
    }

    fn idle(&self, report: &mut dyn FnMut(IdleMemory)) {
        let usage = self.usage();
        report(IdleMemory::of(self, usage.unused, usage.resident));
        self.source.idle(report);
    }

    /// Gives chunks that are wholly free back, and the memory of all other free slices up; that is
    /// not counted.
    fn reclaim(&self, leaving: &mut dyn FnMut(NonNull<[u8]>)) -> usize {
        let bytes = self.give_chunks_back(leaving);
        self.purge();
        bytes + self.source.reclaim(leaving)
    }

    unsafe fn before_fork(&self) {
        // The first lock waits for the purge that is under way, so that a child finds no slice that
        // somebody else has taken out.
        self.purging.hold_for_fork();
        self.pool.hold_for_fork();
        // SAFETY: The caller's promises, for the source behind.
        unsafe { self.source.before_fork() };
    }

    unsafe fn after_fork(&self) {
        // SAFETY: `before_fork` called the source's, and the caller promises that this is the call
        // behind it.
        unsafe { self.source.after_fork() };
        // SAFETY: `before_fork` held the lock, likewise.
        unsafe { self.pool.with_held_for_fork(Pool::after_fork) };
        // SAFETY: `before_fork` held the lock, likewise.
        unsafe { self.pool.release_after_fork() };
        // SAFETY: `before_fork` held the lock, likewise.
        unsafe { self.purging.release_after_fork() };
    }
}

// SAFETY: Slices lie in a chunk, which is held of the source below, and other regions are its own;
// a range in a region of this source lies in one of those.
unsafe impl<S, C> Decommit for RunSource<S, C>
where
    S: Decommit,
    C: BlockSize,
{
    pass_on_decommit!(self => self.source);
}

// SAFETY: Regions, and chunks, are held of the source below.
unsafe impl<S, C> OwnsRegions for RunSource<S, C>
where
    S: Decommit + OwnsRegions,
    C: BlockSize,
{
    fn owns(&self, address: NonNull<u8>) -> bool {
        self.source.owns(address)
    }
}

impl<S, C> Drop for RunSource<S, C>
where
    S: Decommit,
    C: BlockSize,
{
    /// Gives all wholly free chunks back, and the index; a chunk with a slice that was never
    /// released is leaked.
    fn drop(&mut self) {
        self.give_chunks_back(&mut |_| ());
        self.purge();
        self.pool.lock().index.dissolve(&self.source);
    }
}

impl<S, C> fmt::Debug for RunSource<S, C>
where
    S: Decommit + fmt::Debug,
    C: BlockSize,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunSource")
            .field("source", &self.source)
            .field("chunk", &C::BYTES)
            .field("purge", &self.purge)
            .finish_non_exhaustive()
    }
}
