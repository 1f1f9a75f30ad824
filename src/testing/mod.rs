//! Tests for allocators and memory sources, those of this library and your own.
//!
//! ```text
//!   conformance   the contracts of the traits, as functions that any implementation can call
//!   held          bounds on what an allocator holds for what is live, and workloads that try them
//!   fault         a workload over a source that refuses, at each request in turn
//!   model         generated operations, each block checked against what was written to it
//!      |
//!   ledger        the blocks of one allocator: the only place that calls its unsafe methods
//!   checking      CheckingSource: counts regions, knows each one, reports a wrong release
//!   refusing      RefusingSource: refuses requests by their number
//!   pattern       the bytes that tell one block from another
//! ```
//!
//! Each file uses those below it only. A failed check panics, as `assert!` does. Operations follow
//! from a seed, so a failure repeats.
//!
//! Depend on the feature `testing` for tests only:
//!
//! ```toml
//! [dev-dependencies]
//! context-allocator = { path = "…", features = ["testing"] }
//! ```
//!
//! # Examples
//! An allocator keeps the contract, also over a source that refuses, and with generated operations:
//!
//! ```
//! use std::sync::Arc;
//!
//! use context_allocator::testing::model::{self, Profile};
//! use context_allocator::testing::{conformance, fault};
//! use context_allocator::{BumpAllocator, MmapSource};
//!
//! conformance::allocator(|| BumpAllocator::new(MmapSource::new()));
//! let profile = Profile::SMALL.operations(10_000);
//! let tally = model::run(&BumpAllocator::new(MmapSource::new()), profile);
//! assert!(tally.allocated > 0);
//! fault::every_request(|source| {
//!     fault::work(&BumpAllocator::new(Arc::clone(source)), 4096);
//! });
//! ```
//!
//! A source keeps the contract, for regions up to 1 MiB:
//!
//! ```
//! use context_allocator::MmapSource;
//! use context_allocator::testing::conformance;
//!
//! conformance::source(MmapSource::new, 1 << 20);
//! ```

mod checking;
pub mod conformance;
pub mod fault;
pub mod held;
pub mod ledger;
pub mod model;
pub mod pattern;
mod refusing;

pub use checking::{CheckingSource, Counts};
pub use refusing::RefusingSource;

use crate::layout::NonZeroLayout;

/// Returns the layout of `size` bytes at a multiple of `align` bytes.
///
/// # Panics
/// If there is no such layout.
#[track_caller]
#[must_use]
pub fn layout(size: usize, align: usize) -> NonZeroLayout {
    NonZeroLayout::from_size_align(size, align).expect("a test asks for layouts that exist")
}
