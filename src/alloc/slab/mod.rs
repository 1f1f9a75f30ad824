//! Segregated fit in slabs: blocks of one class lie together, and a slab whose blocks are all free
//! serves another class or goes back.
//!
//! Rust tells the layout at a free, so the class is computed, and a block has no header. A free
//! block returns to the list of its own slab (free lists by page, as in mimalloc; D. Leijen, B.
//! Zorn, L. de Moura, 2019), so that each slab knows when it is empty, and a class takes a slab's
//! free blocks all at once.
//!
//! | file           | what                                                         |
//! |----------------|--------------------------------------------------------------|
//! | `allocator`    | the allocator and its traits                                 |
//! | `thread_cache` | what a thread keeps in static storage for it                 |
//! | `heap`         | slabs by class, empty ones, and those of the source          |
//! | `regions`      | what the source gave, cut into slabs                         |
//! | `lists`        | free blocks at hand by class, slabs that a thread knows      |
//! | `header`       | a slab: its layout, its blocks, its countdown                |
//! | `holes`        | its blocks in pages that were given up                       |
//! | `nobodys`      | what it says of itself while no heap has it                  |
//! | `let_go`       | how a heap lets go of slabs                                  |
//! | `returned`     | slabs that a heap let go of                                  |
//! | `lengths`      | how long slabs are                                           |
//! | `waiting`      | slabs with blocks to give, and empty ones                    |
//! | `sweep`        | gives up the memory of free blocks while their slabs wait    |
//! | `grid`, `seen` | where blocks lie among pages; what a sweep notes             |

mod allocator;
mod grid;
mod header;
mod heap;
mod lengths;
#[cfg(feature = "std")]
mod let_go;
mod lists;
#[cfg(feature = "std")]
pub(crate) mod returned;
#[cfg(feature = "std")]
mod seen;
#[cfg(feature = "std")]
pub(crate) mod sweep;
mod thread_cache;
mod waiting;

pub use allocator::SlabAllocator;
#[cfg(feature = "std")]
pub use seen::Round;
#[cfg(feature = "std")]
pub use sweep::Swept;
