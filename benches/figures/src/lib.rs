//! Measures context-allocator side by side with its peers.
//!
//! ```text
//!   bin/subject          what is measured on a global allocator: this library's, or a peer
//!   bin/parse_sources    the example of that name, on the same
//!   bin/direct           allocators that are used directly
//!     subject            their command line: list the cases, run one, measure one
//!     cases/             what is measured again and again
//!     programs/          what is run once
//!     memory             what stays resident of many blocks
//!     situations/        what stays resident in situations, once each
//!   bin/benchmark        builds those, runs them, counts, compares, prints tables, draws charts
//!     report/
//! ```
//!
//! `scripts/benchmark.sh` and its neighbours build and call them.

mod block;
pub mod cases;
pub mod memory;
pub mod programs;
pub mod report;
mod resident;
pub mod situations;
pub mod stopwatch;
pub mod subject;
