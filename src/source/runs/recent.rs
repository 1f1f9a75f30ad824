//! Runs of one length that were given back last, for who asks next.
//!
//! One slice, and four at a multiple of four, are what slabs are made of and what is asked for
//! most. A few of each are kept aside: to the index of their chunks they are held, to the pool's
//! sums they are free, dirty and waiting. They go back to the index when a tick begins, when memory
//! is purged or chunks are given back, and when somebody finds nothing else.

#![forbid(unsafe_code)]

use core::ptr::{NonNull, null_mut};

/// Enough for a heap that gives back and takes in turn; so few that they don't keep long runs
/// apart.
const PLACES: usize = 8;

/// Starts of runs, the one given back last on top.
#[derive(Debug)]
pub(super) struct Recent {
    starts: [*mut u8; PLACES],
    len: usize,
}

impl Recent {
    pub(super) const fn new() -> Self {
        Self { starts: [null_mut(); PLACES], len: 0 }
    }

    /// Takes the last one.
    #[inline(always)]
    pub(super) fn pop(&mut self) -> Option<NonNull<u8>> {
        let last = self.len.checked_sub(1)?;
        let start = NonNull::new(*self.starts.get(last)?)?;
        self.len = last;
        Some(start)
    }

    /// Keeps one; whether there was room.
    #[inline(always)]
    pub(super) fn push(&mut self, start: NonNull<u8>) -> bool {
        match self.starts.get_mut(self.len) {
            Some(place) => {
                *place = start.as_ptr();
                self.len += 1;
                true
            }
            None => false,
        }
    }
}
