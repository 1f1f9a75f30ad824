//! Runs of whole slices for many threads, whose memory goes back to the operating system when
//! nobody wants it.
//!
//! ```text
//!   mod       the source
//!   policy    when memory goes back
//!   purging   how it does: by who releases, by a thread
//!   pool      what the lock guards
//!   index     which chunks there are, and which of them have room
//!   recent     runs that were given back last
//!   states    what each slice of a chunk is: held, free, being purged
//!   words     runs of bits
//!   passed_on regions longer than a chunk
//!   maps      those of them that came back
//! ```
//!
//! Chunks of `C` bytes at multiples of `C` come from the source below:
//!
//! ```text
//!   chunk (C bytes, multiple of C, 64 slices with the default of 4 MiB)
//!   +------+------+------+------+------+------+- - - - - - -+------+
//!   | held |   held (a run)     | free | free |             | free |
//!   +------+------+------+------+------+------+- - - - - - -+------+
//!    64 KiB                       dirty  clean
//! ```
//!
//! Always: each slice of each chunk is held, free or being purged, and free slices are dirty (they
//! may have memory) or clean. The sums that the pool keeps are those of the chunks. Everything is
//! reached under one lock, held for some dozen instructions, and for a call to the source below
//! where a chunk is obtained or given back. Giving memory up, which takes the kernel much longer,
//! is done without it: slices that are being purged are not free, so nobody gets them, and they
//! come back clean.
//!
//! Who asks gets a run of slices that may have memory in the chunk with the lowest address that has
//! one, in the shortest free run of that chunk that will do; or else the same of all free slices.
//! So what is used gathers at low addresses, and what is high becomes free, and old.

mod index;
mod maps;
mod passed_on;
mod policy;
mod pool;
mod purging;
mod recent;
mod run_source;
mod states;
mod words;

pub use policy::Purge;
pub use run_source::{RunSource, RunUsage};
