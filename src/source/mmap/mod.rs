//! Memory straight from the operating system.
//!
//! ```text
//!   mod       the source: plain maps here, all others through `region`
//!   options   what can be asked of a map
//!   pages     kinds of pages, and what a length is rounded up to
//!   nodes     sets of nodes, policies
//!   place     where threads run and pages lie
//!   region    regions with options, made and given back
//!   remap     regions made larger or smaller without copying
//! ```

mod mmap_source;
mod nodes;
mod options;
mod pages;
mod place;
mod region;
mod remap;

pub(super) use mmap_source::SMALLEST_PAGE;
pub use mmap_source::{MapReport, MmapSettings, MmapSource, PlainPages};
pub use nodes::{NodeSet, NumaPolicy};
pub use options::{MmapOptions, OnFork, PageLock};
pub use pages::{PageKind, PageLadder};
