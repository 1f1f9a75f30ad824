//! Regions longer than a chunk: obtained of the source below or of what is kept, grown and shrunk,
//! kept and given back.
//!
//! Always: the source below is called without the lock, on maps that are in no place of [`Maps`] or
//! busy there.

use core::ptr::NonNull;

use super::RunSource;
use super::maps::{Change, LEAST, Map, Maps, Slot};
use super::pool::Pool;
use super::states::Which;
use crate::error::SourceError;
use crate::layout::{NonZeroLayout, round_up};
use crate::ptr;
use crate::size::{BlockSize, SLICE};
use crate::source::through::remap;
use crate::source::{Decommit, Obtained, Remapped};
use crate::sync::Held;

impl Pool {
    /// Puts what a map is now in its place, and counts it.
    pub(super) fn set_map(&mut self, slot: Slot, map: Option<Map>) {
        let Change { idle, dirty, waiting } = self.maps.set(slot, map);
        self.free = self.free.wrapping_add_signed(idle);
        self.dirty = self.dirty.wrapping_add_signed(dirty);
        self.waiting = self.waiting.wrapping_add_signed(waiting);
    }

    /// Lends the front of a kept map; whether it is known to have no memory.
    fn lend(&mut self, layout: NonZeroLayout) -> Option<(NonNull<u8>, bool)> {
        let (slot, map) = self.maps.best(layout)?;
        self.set_map(slot, Some(map.holding(layout.size() / SLICE, self.purger.tick)));
        Some((map.start, !map.dirty))
    }
}

impl<S, C> RunSource<S, C>
where
    S: Decommit,
    C: BlockSize,
{
    /// What to ask the source below for, for a layout that is passed on: whole slices, so that the
    /// same comes out of every size that fits.
    fn passed_on(layout: NonZeroLayout) -> Result<NonZeroLayout, SourceError> {
        let size = round_up(layout.size(), SLICE).ok_or(SourceError::TooLarge)?;
        Ok(NonZeroLayout::from_size_align(size, layout.align().max(SLICE))?)
    }

    /// Obtains a region larger than a chunk.
    #[cold]
    #[inline(never)]
    pub(super) fn pass_on(&self, layout: NonZeroLayout) -> Result<Obtained, SourceError> {
        let layout = Self::passed_on(layout)?;
        let lent = self.pool.lock().lend(layout);
        if let Some((start, clean)) = lent {
            return Ok(Obtained { region: ptr::bytes(start, layout.size()), zeroed: clean && S::ZEROED });
        }
        let mut obtained = self.source.obtain_between(layout, layout.size());
        if obtained.is_err() {
            // What is kept may be what the source below lacks.
            self.give_maps_back(&mut |_| ());
            obtained = self.source.obtain_between(layout, layout.size());
        }
        Ok(obtained?.cut(layout.size()))
    }

    /// Takes back a region that is passed on; what may wait to be purged stays.
    #[cold]
    #[inline(never)]
    pub(super) fn take_back(&self, start: NonNull<u8>, layout: NonZeroLayout) {
        let Ok(layout) = Self::passed_on(layout) else { return };
        let (mut pool, lent) = self.lock_lent(start);
        let tick = pool.purger.tick;
        let layout = lent.map_or(layout, |(_, map)| map.layout);
        let others = pool.waiting - lent.map_or(0, |(_, map)| map.waiting());
        let fits = others * SLICE + layout.size() <= self.purge.most_bytes() && layout.size() > C::BYTES;
        let slot = lent.map(|(slot, _)| slot).or_else(|| pool.maps.vacant());
        match slot.filter(|_| fits) {
            Some(slot) => {
                pool.set_map(slot, Some(Maps::kept(start, layout, tick)));
                let excess = self.excess(&pool);
                drop(pool);
                self.settle(excess);
            }
            None => {
                if let Some((slot, _)) = lent {
                    pool.set_map(slot, None);
                }
                drop(pool);
                // SAFETY: The source below gave the region for this layout: as `pass_on` made it of
                // any that fits, or as the map says. Nobody uses it, as the caller of `release`
                // promises, and it is in no place of the maps.
                unsafe { self.source.release(ptr::bytes(start, layout.size()), layout) };
            }
        }
    }

    /// Takes the lock, and finds the lent map of which a region is the front, when no other thread
    /// is at it.
    fn lock_lent(&self, start: NonNull<u8>) -> (Held<'_, Pool>, Option<(Slot, Map)>) {
        loop {
            let pool = self.pool.lock();
            let lent = pool.maps.lent_at(start);
            if lent.is_none_or(|(_, map)| !map.busy) {
                return (pool, lent);
            }
            // Its idle rest is being purged.
            drop(pool);
            drop(self.purging.lock());
        }
    }

    /// The same as [`take_back`](Self::take_back) where the layout is that of a run: whether the
    /// region is the front of a lent map, and was taken back.
    #[cold]
    #[inline(never)]
    pub(super) fn take_back_lent(&self, start: NonNull<u8>, layout: NonZeroLayout) -> bool {
        let lent = self.pool.lock().maps.lent_at(start).is_some();
        if lent {
            self.take_back(start, layout);
        }
        lent
    }

    /// Makes the front of a lent map longer or shorter, or moves a map that is too short. `None`
    /// where the region is not of a lent map.
    ///
    /// # Safety
    /// As [`remap`](crate::MemorySource::remap).
    pub(super) unsafe fn remap_lent(
        &self,
        start: NonNull<u8>,
        new: NonZeroLayout,
    ) -> Option<Result<Remapped, SourceError>> {
        let (mut pool, lent) = self.lock_lent(start);
        let (slot, map) = lent?;
        let new = match Self::passed_on(new) {
            Ok(new) if new.size() / SLICE >= LEAST => new,
            Ok(_) => return Some(Err(SourceError::Unsupported)),
            Err(error) => return Some(Err(error)),
        };
        let slices = new.size() / SLICE;
        let kept = map.held.min(slices) * SLICE;
        let clean = S::ZEROED && !map.dirty;
        if slices <= map.whole() && start.addr().get().is_multiple_of(new.align()) {
            let tick = pool.purger.tick;
            pool.set_map(slot, Some(map.holding(slices, tick)));
            let excess = self.excess(&pool);
            drop(pool);
            self.settle(excess);
            return Some(Ok(Remapped { region: ptr::bytes(start, new.size()), kept, zeroed: clean }));
        }
        pool.set_map(slot, Some(Map { busy: true, ..map }));
        drop(pool);
        // SAFETY: The source below gave the map for this layout. Its front is the caller's, as the
        // caller promises, and nobody else gets its rest, since it is busy.
        let moved = unsafe { remap(&self.source, start, map.layout, new) };
        let mut pool = self.pool.lock();
        pool.set_map(slot, moved.is_err().then_some(map));
        // What was idle came along.
        Some(moved.map(|moved| Remapped { kept, zeroed: moved.zeroed && clean, ..moved }))
    }

    /// As the source below resizes a region that is a map of its own.
    ///
    /// # Safety
    /// As [`remap`](crate::MemorySource::remap); the region is of no lent map.
    pub(super) unsafe fn remap_passed_on(
        &self,
        start: NonNull<u8>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<Remapped, SourceError> {
        let (old, new) = (Self::passed_on(old)?, Self::passed_on(new)?);
        // SAFETY: The source below gave the region for the old layout; the caller's promises.
        unsafe { remap(&self.source, start, old, new) }
    }

    /// Moves a run that grows into a kept map, by copying: from then on it grows where it is.
    /// `None`, and nothing changed, where none will do.
    ///
    /// # Safety
    /// As [`remap`](crate::MemorySource::remap); the region is a run of so many slices of a chunk.
    pub(super) unsafe fn move_to_map(
        &self,
        start: NonNull<u8>,
        old: usize,
        new: NonZeroLayout,
    ) -> Option<Remapped> {
        let new = Self::passed_on(new).ok()?;
        let mut pool = self.pool.lock();
        if pool.maps.idle == 0 || new.size() / SLICE < LEAST {
            return None;
        }
        let (to, clean) = pool.lend(new)?;
        drop(pool);
        // SAFETY: Both have that many bytes: the run, and the map, which was just lent for more.
        // They overlap not, since one lies in a chunk and the other in none, and both are ours.
        unsafe { to.copy_from_nonoverlapping(start, old * SLICE) };
        self.put_run(start, old);
        let region = ptr::bytes(to, new.size());
        Some(Remapped { region, kept: old * SLICE, zeroed: clean && S::ZEROED })
    }

    /// Moves a run to a map of its own, without copying.
    ///
    /// # Safety
    /// As [`move_to_map`](Self::move_to_map).
    pub(super) unsafe fn take_out_run(
        &self,
        start: NonNull<u8>,
        old: usize,
        new: NonZeroLayout,
    ) -> Result<Remapped, SourceError> {
        let new = Self::passed_on(new)?;
        // SAFETY: The slices lie in a chunk, which is held of the source below, and are the
        // caller's.
        let region = unsafe { self.source.take_out(ptr::bytes(start, old * SLICE), new) }?;
        self.put_clean_run(start, old);
        let region = ptr::bytes(region.cast(), new.size());
        Ok(Remapped { region, kept: old * SLICE, zeroed: S::ZEROED })
    }

    /// Gives all kept maps back, and returns how many bytes that was.
    pub(super) fn give_maps_back(&self, leaving: &mut dyn FnMut(NonNull<[u8]>)) -> usize {
        let mut bytes = 0;
        loop {
            let mut pool = self.pool.lock();
            let Some((slot, map)) = pool.maps.any_kept() else { return bytes };
            pool.set_map(slot, None);
            drop(pool);
            let region = ptr::bytes(map.start, map.layout.size());
            // Without the lock: it may use this pool.
            leaving(region);
            bytes += region.len();
            // SAFETY: The source below gave the map for this layout; nobody holds any of it, and it
            // was just taken out.
            unsafe { self.source.release(region, map.layout) };
        }
    }

    /// Gives up what is idle of maps, until no more than `target` slices wait (where not all are to
    /// go); returns how many bytes. What waited long enough goes back as a whole if nobody holds
    /// any of it.
    pub(super) fn give_maps_up(&self, which: Which, target: usize) -> usize {
        let (mut given, mut tried) = (0, None);
        loop {
            let one_at_a_time = self.purging.lock();
            let mut pool = self.pool.lock();
            if which != Which::Dirty && pool.waiting <= target {
                return given;
            }
            let found = pool.maps.candidate(tried, pool.purger.tick, which);
            let Some((slot, map)) = found else { return given };
            tried = Some(slot);
            let (idle, layout) = (map.idle(), map.layout);
            if map.held == 0 && which != Which::Dirty {
                pool.set_map(slot, None);
                drop(pool);
                drop(one_at_a_time);
                // SAFETY: The source below gave the map for this layout; nobody holds any of it,
                // and it was just taken out.
                unsafe { self.source.release(ptr::bytes(map.start, layout.size()), layout) };
                given += idle * SLICE;
                continue;
            }
            pool.set_map(slot, Some(Map { busy: true, ..map }));
            drop(pool);
            // SAFETY: What is held is part of the map.
            let rest = unsafe { map.start.add(map.held * SLICE) };
            // SAFETY: The range lies in a map that this pool holds, and nobody gets any of it while
            // the map is busy.
            let outcome = unsafe { self.source.decommit(ptr::bytes(rest, idle * SLICE)) };
            let mut pool = self.pool.lock();
            let dirty = outcome.is_err();
            pool.set_map(slot, Some(Map { dirty, waits: false, ..map }));
            drop(pool);
            drop(one_at_a_time);
            if !dirty {
                given += idle * SLICE;
            }
        }
    }
}
