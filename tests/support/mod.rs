//! What the tests share beyond the library's own `testing`.
//!
//! ```text
//!   misuse        a process that misuses an allocator, and must end at once
//!   forking       a process that forks while its threads allocate
//!   stress        threads that work in all tiers of the switchable allocator
//!      |
//!   ledger        the library's ledger, from which tests take blocks out
//!   mapped        regions of memory maps with options
//!   maps          what the kernel says of memory maps
//!   pending       a future that is pending once
//!   pools         pools of slices, over memory maps that check and refuse
//! ```
//!
//! Each file uses those below it only. A test program says `mod support;`.

#![allow(dead_code, unused_imports, reason = "each test program uses its own part of this")]

pub mod forking;
pub mod ledger;
pub mod mapped;
pub mod maps;
pub mod misuse;
pub mod pending;
pub mod pools;
pub mod stress;

pub use context_allocator::testing::{CheckingSource, conformance, fault, held, layout, model, pattern};

/// The path of a test within its program, by which the program runs it alone: `module` is the
/// test's `module_path!()`.
pub fn test_path(module: &str, test: &str) -> String {
    module.split_once("::").map_or_else(|| test.into(), |(_, module)| format!("{module}::{test}"))
}
