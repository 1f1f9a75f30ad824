//! Whole programs, each run once as a process. The third is the example `parse_sources`, which is a
//! program of its own.

pub mod document;
mod index;
mod round_trip;

use crate::cases::{Case, Kind, Tier};

/// The programs on a global allocator.
pub fn cases<T: Tier>() -> Vec<Case> {
    let case = |name, run| Case::new(name, T::NAME, T::ROLE, run).measured_as(Kind::Program);
    vec![case("JSON round trip", round_trip::run::<T>), case("text index", index::run::<T>)]
}
