//! Regions longer than a chunk that came back, kept for the next request of one.
//!
//! ```text
//!   map:  kept, all of it idle               lent: its front is a region, the rest is idle
//!   +-------------------------------+        +-----------------+-------------+
//!   |             idle              |        |      held       |    idle     |
//!   +-------------------------------+        +-----------------+-------------+
//!   0                             whole      0               held          whole
//! ```
//!
//! A request gets the front of the shortest kept map that will do, and grows into the rest where it
//! is. What is idle is dirty (it may have memory) or clean, as a free slice is, and waits to be
//! purged as that does: a kept map then goes back to the source below, the idle rest of a lent one
//! is decommitted.
//!
//! Always: a map is here once, and no other region begins where it does. A region without a map
//! here is all of its own map. A busy map is used by one thread, without the lock; nobody else
//! changes it, or gives it out.

#![forbid(unsafe_code)]

use core::ptr::NonNull;

use super::states::Which;
use crate::layout::NonZeroLayout;
use crate::size::SLICE;

/// How many are kept or lent. More go back at once.
const MOST: usize = 16;

/// Lent maps hold more slices than any run that is [kept aside](super::recent), so that whoever
/// releases such a run need not look here.
pub(super) const LEAST: usize = 5;

/// Where a map is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot(usize);

/// A map. Lengths are in slices.
#[derive(Clone, Copy, Debug)]
pub(super) struct Map {
    pub(super) start: NonNull<u8>,
    /// All of it, as the source below gave it.
    pub(super) layout: NonZeroLayout,
    /// What somebody holds of its front; 0 if it is kept.
    pub(super) held: usize,
    /// Whether what is idle may have memory.
    pub(super) dirty: bool,
    /// Whether it waits to be purged, too: that did not fail.
    pub(super) waits: bool,
    /// The tick in which the last of that became idle.
    pub(super) tick: u32,
    /// Whether a thread uses it without the lock.
    pub(super) busy: bool,
}

impl Map {
    pub(super) const fn whole(&self) -> usize {
        self.layout.size() / SLICE
    }

    pub(super) const fn idle(&self) -> usize {
        self.whole() - self.held
    }

    const fn dirty_slices(&self) -> usize {
        if self.dirty { self.idle() } else { 0 }
    }

    /// Slices that wait to be purged.
    pub(super) const fn waiting(&self) -> usize {
        if self.waits { self.dirty_slices() } else { 0 }
    }
}

/// The maps.
pub(super) struct Maps {
    maps: [Option<Map>; MOST],
    /// How many of them are lent.
    pub(super) lent: usize,
    /// Idle slices of all.
    pub(super) idle: usize,
}

/// What a change of one map adds to the sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) idle: isize,
    pub(super) dirty: isize,
    pub(super) waiting: isize,
}

impl Maps {
    pub(super) const fn new() -> Self {
        Self { maps: [None; MOST], lent: 0, idle: 0 }
    }

    /// Puts what a map is now in its place.
    pub(super) fn set(&mut self, slot: Slot, map: Option<Map>) -> Change {
        let old = core::mem::replace(&mut self.maps[slot.0], map);
        let sum = |of: fn(&Map) -> usize| (old.as_ref().map_or(0, of), map.as_ref().map_or(0, of));
        let change = |(before, now): (usize, usize)| now.cast_signed() - before.cast_signed();
        let (idle, lent) = (sum(Map::idle), sum(|map| usize::from(map.held > 0)));
        self.idle = self.idle - idle.0 + idle.1;
        self.lent = self.lent - lent.0 + lent.1;
        Change {
            idle: change(idle),
            dirty: change(sum(Map::dirty_slices)),
            waiting: change(sum(Map::waiting)),
        }
    }

    /// The map whose front, from `start` on, is lent.
    #[inline]
    pub(super) fn lent_at(&self, start: NonNull<u8>) -> Option<(Slot, Map)> {
        if self.lent == 0 {
            return None;
        }
        self.find(|map| map.start == start && map.held > 0)
    }

    /// A place without a map.
    pub(super) fn vacant(&self) -> Option<Slot> {
        self.maps.iter().position(Option::is_none).map(Slot)
    }

    /// A new map, which is kept since `tick`.
    pub(super) const fn kept(start: NonNull<u8>, layout: NonZeroLayout, tick: u32) -> Map {
        Map { start, layout, held: 0, dirty: true, waits: true, tick, busy: false }
    }

    /// The shortest kept map that has room for a layout; those that may have memory first.
    pub(super) fn best(&self, layout: NonZeroLayout) -> Option<(Slot, Map)> {
        let fits = |map: &Map| {
            map.held == 0
                && !map.busy
                && map.layout.size() >= layout.size()
                && map.start.addr().get().is_multiple_of(layout.align())
        };
        self.each().filter(|(_, map)| fits(map)).min_by_key(|(_, map)| (!map.dirty, map.whole()))
    }

    /// A kept map that nobody uses.
    pub(super) fn any_kept(&self) -> Option<(Slot, Map)> {
        self.find(|map| map.held == 0 && !map.busy)
    }

    /// A map behind the place `after` whose idle part is to be purged in the tick `tick`.
    pub(super) fn candidate(&self, after: Option<Slot>, tick: u32, which: Which) -> Option<(Slot, Map)> {
        let wanted = |map: &Map| match which {
            Which::Due => map.waits && tick.wrapping_sub(map.tick) >= 2,
            Which::Waiting => map.waits,
            Which::Dirty => true,
        };
        let ready = |map: &Map| map.dirty && !map.busy && map.idle() > 0 && wanted(map);
        self.each().find(|(slot, map)| after.is_none_or(|after| slot.0 > after.0) && ready(map))
    }

    fn each(&self) -> impl Iterator<Item = (Slot, Map)> + '_ {
        self.maps.iter().enumerate().filter_map(|(place, map)| Some((Slot(place), (*map)?)))
    }

    fn find(&self, wanted: impl Fn(&Map) -> bool) -> Option<(Slot, Map)> {
        self.each().find(|(_, map)| wanted(map))
    }
}

impl Map {
    /// The same with so many slices held. What became idle may have memory.
    pub(super) fn holding(self, held: usize, tick: u32) -> Self {
        let more = held < self.held;
        let (dirty, waits) = (self.dirty || more, self.waits || more);
        Self { held, dirty, waits, tick: if more { tick } else { self.tick }, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(start: usize, slices: usize, tick: u32) -> Map {
        let start = core::ptr::without_provenance_mut::<u8>(start * SLICE);
        let layout = NonZeroLayout::from_size_align(slices * SLICE, SLICE).unwrap();
        Maps::kept(NonNull::new(start).unwrap(), layout, tick)
    }

    fn layout(slices: usize, align: usize) -> NonZeroLayout {
        NonZeroLayout::from_size_align(slices * SLICE, align * SLICE).unwrap()
    }

    #[test]
    fn the_shortest_map_that_will_do_is_given_and_its_rest_is_idle() {
        let mut maps = Maps::new();
        for (start, slices) in [(64, 300), (1024, 100), (2050, 90)] {
            let slot = maps.vacant().unwrap();
            assert_eq!(maps.set(slot, Some(map(start, slices, 7))).waiting, slices.cast_signed());
        }
        let (slot, best) = maps.best(layout(80, 64)).unwrap();
        assert_eq!((best.whole(), maps.idle), (100, 490));
        let change = maps.set(slot, Some(best.holding(80, 7)));
        assert_eq!(change, Change { idle: -80, dirty: -80, waiting: -80 });
        assert_eq!((maps.idle, maps.lent), (410, 1));
        assert_eq!(maps.lent_at(best.start).unwrap().1.idle(), 20);
        assert_eq!(maps.best(layout(80, 1)).unwrap().1.whole(), 90);
        assert!(maps.best(layout(301, 1)).is_none());
    }

    #[test]
    fn what_is_idle_is_due_two_ticks_after_the_last_of_it_became_so() {
        let mut maps = Maps::new();
        let slot = maps.vacant().unwrap();
        maps.set(slot, Some(map(64, 100, 7)));
        assert!(maps.candidate(None, 8, Which::Due).is_none());
        assert!(maps.candidate(None, 8, Which::Waiting).is_some());
        assert!(maps.candidate(None, 9, Which::Due).is_some());
        assert!(maps.candidate(Some(slot), 9, Which::Due).is_none());
        let lent = map(64, 100, 7).holding(90, 9);
        assert_eq!(lent.idle(), 10);
        maps.set(slot, Some(lent.holding(60, 9)));
        assert!(maps.candidate(None, 10, Which::Due).is_none());
        assert!(maps.candidate(None, 11, Which::Due).is_some());
        let stuck = Map { waits: false, ..lent.holding(60, 9) };
        assert_eq!(maps.set(slot, Some(stuck)), Change { idle: 0, dirty: 0, waiting: -40 });
        assert!(maps.candidate(None, 11, Which::Waiting).is_none());
        assert!(maps.candidate(None, 11, Which::Dirty).is_some());
        maps.set(slot, Some(Map { busy: true, ..stuck }));
        assert!(maps.candidate(None, 11, Which::Dirty).is_none());
    }
}
