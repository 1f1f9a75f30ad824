//! Best fit: red-black trees of free blocks, by size.
//!
//! ```text
//!   MultipleBinarySearchTreeAllocator
//!   +---------------------+   bins: blocks of one size       trees: blocks of a range of sizes
//!   | quick: QuickFit     | --> 16 . 32 . 48 . ... . 4096     blocks that wait, not free yet
//!   | free: FreeSet       | --> 16 . 32 . 48 . ... . 4096     4112.. | 5120.. | 6144.. | ...
//!   | spans: Spans        | --> header, bitmap of free edges, blocks    (one for each region)
//!   | source              |
//!   +---------------------+
//! ```
//!
//! | file        | what                                                                            |
//! |-------------|---------------------------------------------------------------------------------|
//! | `block`     | the words inside a free block                                                   |
//! | `red_black` | trees of blocks                                                                 |
//! | `count`     | which sizes belong in which bin or tree                                         |
//! | `free_set`  | bins and trees together: the best block for a size                              |
//! | `quick_fit` | lists of small blocks that wait: freed just now, or cut ahead                   |
//! | `span`      | a region and its bitmap, by which a freed block finds its free neighbours       |
//! | `spans`     | from an address to its span                                                     |
//! | `waiting`   | cutting ahead, merging what waits                                               |
//! | `heap`      | cutting blocks, merging them, obtaining and releasing regions                   |
//! | `merge`, `join` | regions that adjoin each other                                              |
//! | `traits`    | the traits, on top of `heap`                                                    |
//!
//! Always: every granule of a span's range of blocks belongs to one block: live, waiting or free;
//! free blocks have no free neighbour, are in the bin or tree of their size, and their edges and no
//! others are set in the bitmap.

mod allocator;
mod block;
#[cfg(test)]
mod check;
mod count;
mod free_set;
mod heap;
mod join;
mod merge;
mod quick_fit;
mod red_black;
mod span;
mod spans;
#[cfg(test)]
mod tests;
mod traits;
mod waiting;
#[cfg(test)]
mod waiting_tests;

pub use allocator::MultipleBinarySearchTreeAllocator;
pub use count::TreeCount;
pub use merge::{AdjoiningSource, KeepApart, MergeAdjacent, Merging};
