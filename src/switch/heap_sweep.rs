//! The sweep of a declaration's heaps, as its source's thread knows it, and how often it ran.

use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

use crate::source::Sweep;

/// See the head of this file.
#[derive(Debug)]
pub(super) struct HeapSweep {
    sweep: Sweep,
    ticks: AtomicU32,
}

impl HeapSweep {
    /// The sweep that runs that function.
    pub(super) const fn new(run: fn() -> bool) -> Self {
        Self { sweep: Sweep::new(run), ticks: AtomicU32::new(0) }
    }

    #[inline(always)]
    pub(super) const fn sweep(&self) -> &Sweep {
        &self.sweep
    }

    /// Begins another tick; its number.
    pub(super) fn next_tick(&self) -> u32 {
        self.ticks.fetch_add(1, Relaxed).wrapping_add(1)
    }
}
