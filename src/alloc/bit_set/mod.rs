//! Blocks of one size and runs of them, one bit a block.
//!
//! ```text
//!   hand: the free blocks of one word, taken out of its region's map
//!   +---+---+---+---+- -        regions with free blocks            regions without
//!   | 0 | 1 | 1 | 0 |     bin 3 --> +------+     +------+           +------+
//!   +---+---+---+---+- -            | maps | <-> | maps |           | maps |
//!     |                             | ...  |     | ...  |           | ...  |
//!     +-- word of one of these ---> +------+     +------+           +------+
//!                         bin 9 --> ...
//! ```
//!
//! What was freed last, single blocks and short runs, waits on a list for each length, and is
//! handed out first. Otherwise a single block comes from the *hand*, the free blocks of a word that
//! were taken all at once, so that to allocate is to find and clear the lowest bit of a word; when
//! the hand is empty it takes the next word, going round in the region. A run comes from the hand
//! where it fits there, and else from a region whose longest run is about as long, from the word
//! whose longest run is the shortest that is long enough. What finds its list full goes back to its
//! region's map.
//!
//! Always: a block is allocated, or in the hand, or waits on a list, or is free in its region's
//! map; a region is in a bin if its map has a free block, and only then; every region starts at a
//! multiple of `WINDOW` plus the phase, and is not longer.
//!
//! | file      | what                                                          |
//! |-----------|---------------------------------------------------------------|
//! | `word`    | sixty-four blocks                                             |
//! | `bits`    | words of them in a row                                        |
//! | `map`     | a region's blocks: bits, runs, summaries                      |
//! | `region`  | the index in the region's memory; lists of regions            |
//! | `bins`    | regions by the longest run that they may have                 |
//! | `regions` | obtaining and releasing                                       |
//! | `blocks`  | taking and giving blocks                                      |
//! | `resize`  | growing and shrinking blocks where they are                   |
//! | `quick`   | short runs that were freed just now                           |
//! | `large`   | blocks with a region of their own                             |
//! | `fixed`   | the allocator whose bits stand in its own value               |

mod allocator;
mod bins;
mod bits;
mod blocks;
mod fixed;
mod large;
mod map;
mod quick_fit;
mod region;
mod regions;
mod resize;
mod word;

pub use allocator::BitSetAllocator;
pub use fixed::{BlockCount, FixedBitSetAllocator};
