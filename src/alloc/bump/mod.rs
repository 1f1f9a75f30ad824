//! Bump allocation: a pointer that moves up through a region.
//!
//! ```text
//!   newest region                                                      older regions
//!   +--------+-------+---+----------+----------------+--------+        +--------+--------
//!   | header | block |pad|  block   |      free      |  zero  |   +--> | header | ...
//!   +--------+-------+---+----------+----------------+--------+   |    +--------+--------
//!       | previous                  ^ cursor         ^ limit      |
//!       +---------------------------------------------------------+
//! ```
//!
//! Always: `cursor` is at most `limit`, both are multiples of `MIN_ALIGN` in the newest region or,
//! before there is one, the same dangling address, so that no request fits and there is no separate
//! test for "no region yet". Every block ends at or below `cursor` or lies in an older region. No
//! byte of the newest region behind `limit` was ever part of a block, and all of those are zero: in
//! a region that is not known to be zero, `limit` is the end. So `limit` moves up 64 KiB at a
//! time, and what is asked for zeroed beyond it need not be written.
//!
//! `arithmetic` has the numbers, `regions` the list, `values` references in place of blocks,
//! `scope` what is freed together.

mod allocator;
mod arithmetic;
mod regions;
mod scope;
mod values;

pub use allocator::{BumpAllocator, Checkpoint};
pub use scope::Scope;
