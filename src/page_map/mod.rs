//! From an address to whose it is: one map for the tiers of a switchable allocator, one for the
//! shards of a [`Sharded`](crate::alloc::Sharded).
//!
//! Both are tables of two levels over slices of 64 KiB:
//!
//! ```text
//!   address   47            29 28          16 15             0
//!            +----------------+--------------+----------------+
//!            |  root index    |  leaf index  | within a slice |
//!            +----------------+--------------+----------------+
//! ```
//!
//! | file    | what                                                        |
//! |---------|-------------------------------------------------------------|
//! | `map`   | the table: get, insert, remove; generic over its root       |
//! | `roots` | a root that is a static, and one that is mapped when needed |
//! | `entry` | what the map of the tiers says of a slice                   |

mod entry;
mod map;
mod roots;

pub(crate) use entry::{Entry, tag};
pub(crate) use map::SpareLeaf;
pub use roots::PageMap;
pub(crate) use roots::ShardMap;
