//! In place of `tiers`, the same tiers without counting by tier, as a program that wants speed
//! would install them.

use crate::app::{Figures, Tier};

context_allocator::global_thread_and_coroutine_switchable_allocator!(static ALLOC);

/// The tiers that this build can run in.
pub const AVAILABLE: &[Tier] = &[Tier::Global, Tier::Thread, Tier::Coroutine];

/// Runs one request in `tier`; in the coroutine tier, in a heap of its own whose handle is dropped
/// right after.
pub fn run_in<R>(tier: Tier, request: impl FnOnce() -> R) -> R {
    match tier {
        Tier::Global => ALLOC.with_global(request),
        Tier::Thread => ALLOC.with_thread(request),
        Tier::Coroutine => ALLOC.heap().expect("memory for a heap's control block").enter(request),
    }
}

/// Runs what is no request, outside the tiers that have heaps.
pub fn aside<R>(f: impl FnOnce() -> R) -> R {
    ALLOC.with_global(f)
}

/// A measurement that has begun.
pub struct Mark;

/// Begins a measurement.
pub fn begin(_tier: Tier) -> Mark {
    ALLOC.trim();
    Mark
}

/// Ends it: nothing was counted.
pub fn end(_mark: Mark) -> Figures {
    Figures::default()
}
