//! Several allocators, each behind a lock of its own, for many threads.
//!
//! ```text
//!   thread --its number--> shard 0 [lock | freed elsewhere | allocator] --- regions: whole slices
//!                 taken?   shard 1 [lock | freed elsewhere | allocator] --- regions
//!                          ..
//!   block  --page map----> the shard whose region it lies in
//! ```
//!
//! - `shard`: an allocator, its lock, and what was freed meanwhile
//! - `budget`: how much the shards hold, and when that is too much
//! - `source`: the source under a shard's allocator, which records its regions
//! - the page map: from an address to its shard
//! - `count`: how many shards there are
//!
//! Always:
//! - Whether a block is a shard's or the large allocator's follows from each layout that fits it:
//!   shards serve sizes and alignments up to [`LARGEST`](Sharded::LARGEST) and say of no block that
//!   it is longer.
//! - A block of a shard goes back to that shard, whichever thread frees it.
//! - No thread waits for a lock while another shard could serve it, or to free a block.

mod allocator;
mod budget;
mod count;
mod shard;
mod source;

pub use allocator::Sharded;
pub use count::ShardCount;
