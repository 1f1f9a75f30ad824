//! In place of `tiers` for an allocator that has no tiers: every request runs in the global one.
//!
//! Nothing is counted, since counting would slow these allocators down; the time and the resident
//! memory, which the program itself measures, are what can be compared.

use crate::app::{Figures, Tier};

/// The tiers that this build can run in.
pub const AVAILABLE: &[Tier] = &[Tier::Global];

/// Runs one request.
pub fn run_in<R>(_tier: Tier, request: impl FnOnce() -> R) -> R {
    request()
}

/// A measurement that has begun.
/// Runs what is no request.
pub fn aside<R>(f: impl FnOnce() -> R) -> R {
    f()
}

pub struct Mark;

/// Begins a measurement.
pub fn begin(_tier: Tier) -> Mark {
    Mark
}

/// Ends it: this allocator says nothing of itself.
pub fn end(_mark: Mark) -> Figures {
    Figures::default()
}
