//! What an allocator tells about a run.

use serde::Serialize;

/// Figures of one run, all of the run's own tier; `None` is what the allocator does not measure.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Figures {
    /// Blocks allocated.
    pub blocks: Option<u64>,
    /// The most bytes in live blocks at any one time.
    pub peak_live_bytes: Option<u64>,
    /// Heaps made for requests.
    pub heaps: Option<u64>,
    /// Blocks alive when the handle of their heap was dropped.
    pub escaped_blocks: Option<u64>,
    /// Bytes in those blocks.
    pub escaped_bytes: Option<u64>,
    /// Blocks freed by another thread than the one that used their heap, or after their heap's
    /// handle was dropped.
    pub remote_frees: Option<u64>,
    /// Blocks allocated less blocks freed, with all threads of the run gone: 0 unless something
    /// leaked.
    pub live_blocks_at_end: Option<i64>,
}
