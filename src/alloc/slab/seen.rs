//! What a sweep notes in a slab that waits, so that it gives the slab's pages up once, and not
//! while the slab is in use.

#![forbid(unsafe_code)]

/// A note: a slab's first free block at the time, the sweep's tick, and what the sweep did. It is
/// reached under the lock of the slab's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen(u32);

const SWEPT: u32 = 1;
const HELD: u32 = 2;
const TICK_AT: u32 = 2;
const TICK: u32 = 0x3f << TICK_AT;
const PLACE_AT: u32 = 8;

/// What a sweep is to do with a slab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// There is nothing to do.
    Done,
    /// The slab was in use since the last tick: later.
    Wait,
    Sweep,
}

/// One round of a sweep.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// The tick's number.
    pub tick: u32,
    /// Whether slabs are swept that were in use just now.
    pub all: bool,
}

impl Seen {
    /// No sweep has seen the slab since it began to wait.
    pub(super) const NOT_YET: Self = Self(0);

    /// Looks at a slab with its first free block so many units of 16 bytes behind its start, 0 if
    /// it has none; the note, and what to do.
    pub(super) fn look(self, place: usize, round: Round) -> (Self, Look) {
        // What is cut off makes two places look the same now and then: the sweep is then a tick
        // early or late.
        let place = (place as u32) << PLACE_AT;
        let tick = round.tick << TICK_AT & TICK;
        let same = self.0 >> PLACE_AT << PLACE_AT == place;
        // A thread that goes on freeing does not keep a sweep of all going on.
        let just_swept = round.all && self.0 & TICK == tick;
        if place == 0 || (self.0 & SWEPT != 0 && (same || just_swept)) {
            (self, Look::Done)
        } else if round.all || (same && self.0 & TICK != tick) {
            (Self(place | tick | SWEPT), Look::Sweep)
        } else if same {
            (self, Look::Wait)
        } else {
            (Self(place | tick), Look::Wait)
        }
    }

    /// Whether a sweep holds the slab.
    pub(super) const fn is_held(self) -> bool {
        self.0 & HELD != 0
    }

    /// The same note, of a slab that a sweep holds or does not hold.
    #[must_use]
    pub(super) const fn held(self, held: bool) -> Self {
        if held { Self(self.0 | HELD) } else { Self(self.0 & !HELD) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slab_is_swept_once_when_a_tick_has_passed_without_a_free() {
        let round = |tick| Round { tick, all: false };
        let (seen, look) = Seen::NOT_YET.look(100, round(0));
        assert_eq!(look, Look::Wait);
        assert_eq!(seen.look(100, round(0)), (seen, Look::Wait));
        // A block was freed in the meantime.
        let (seen, look) = seen.look(101, round(1));
        assert_eq!(look, Look::Wait);
        let (swept, look) = seen.look(101, round(2));
        assert_eq!(look, Look::Sweep);
        assert_eq!(swept.look(101, round(3)).1, Look::Done);
        assert_eq!(swept.look(7, round(3)).1, Look::Wait);
        assert_eq!(swept.look(7, Round { tick: 2, all: true }).1, Look::Done);
        assert_eq!(swept.look(7, Round { tick: 3, all: true }).1, Look::Sweep);
        // All at once, but for those that were swept, and for those without a free block.
        assert_eq!(seen.look(101, Round { tick: 1, all: true }).1, Look::Sweep);
        assert_eq!(swept.look(101, Round { tick: 3, all: true }).1, Look::Done);
        assert_eq!(Seen::NOT_YET.look(0, Round { tick: 3, all: true }).1, Look::Done);
        assert!(swept.held(true).is_held() && swept.held(true).held(false) == swept);
    }
}
