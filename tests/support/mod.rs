//! What the tests of allocators and sources share.
//!
//! ```text
//!   conformance   the contracts of the traits, as functions that any implementation can call
//!   model         generated operations, each block checked against what was written to it
//!   held          what an allocator may hold for what is live, and workloads that try it
//!   misuse        a process that misuses an allocator, and must end at once
//!   fault         a workload over a source that refuses, at each request in turn
//!   forking       a process that forks while its threads allocate
//!   stress        threads that work in all tiers of the switchable allocator
//!      |
//!   ledger        the blocks of one allocator: the only place that calls its unsafe methods
//!   mapped        regions of memory maps with options
//!   maps          what the kernel says of memory maps
//!   pools         pools of slices, over memory maps that check and refuse
//!   sources       sources that count, check and refuse
//!   pattern       the bytes that tell one block from another
//! ```
//!
//! Each file uses those below it only. A test binary says `mod support;`.

#![allow(dead_code, unused_imports, reason = "each test binary uses its own part of this")]

pub mod conformance;
pub mod fault;
pub mod forking;
pub mod held;
pub mod ledger;
pub mod mapped;
pub mod maps;
pub mod misuse;
pub mod model;
pub mod pattern;
pub mod pools;
pub mod sources;
pub mod stress;

use context_allocator::NonZeroLayout;

/// The layout of `size` bytes at a multiple of `align` bytes, both known to be right.
pub fn layout(size: usize, align: usize) -> NonZeroLayout {
    NonZeroLayout::from_size_align(size, align).expect("a test asks for layouts that exist")
}

/// The path of a test within its program, by which the program runs it alone: `module` is the
/// test's `module_path!()`.
pub fn test_path(module: &str, test: &str) -> String {
    module.split_once("::").map_or_else(|| test.into(), |(_, module)| format!("{module}::{test}"))
}
