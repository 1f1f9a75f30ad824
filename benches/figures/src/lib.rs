//! Measures context-allocator side by side with its peers.
//!
//! ```text
//!   bin/switch, bin/system, bin/mimalloc    one global allocator each, and the cases that it can run
//!   bin/direct                              allocators that are used directly
//!     subject                               their command line: list the cases, run one, time one
//!     cases/                                what is measured
//!   bin/report                              runs those, counts, compares, prints tables
//!     report/
//! ```
//!
//! `scripts/figures.sh` and its neighbours build and call them.

mod block;
pub mod cases;
pub mod report;
pub mod stopwatch;
pub mod subject;
