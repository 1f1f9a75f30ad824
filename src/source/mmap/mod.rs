//! Memory straight from the operating system.
//!
//! ```text
//!   mmap_source   the source: plain maps here, all others through `region`
//!   remap         regions made larger or smaller without copying
//!   region        regions with options, made and given back
//!   options       what can be asked of a map
//!   pages         kinds of pages, and what a length is rounded up to
//!   nodes         sets of nodes, policies
//!   place         where threads run and pages lie
//!   report        what was got of what was asked for
//! ```

mod mmap_source;
mod nodes;
mod options;
mod pages;
mod place;
mod region;
mod remap;
mod report;

pub(super) use mmap_source::SMALLEST_PAGE;
pub use mmap_source::{MmapSettings, MmapSource, PlainPages};
pub use nodes::{NodeSet, NumaPolicy};
pub use options::{MmapOptions, OnFork, PageLock};
pub use pages::{PageKind, PageLadder};
pub use report::MapReport;
