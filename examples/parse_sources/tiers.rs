//! The allocator under measurement: the only file of this program that knows the switch.
//!
//! STAND-IN until the switch is merged: the system's allocator with counters. All three tiers run the closure as it is;
//! what only the switch can know (escaped blocks, remote frees) is `None` rather than a made-up figure.

use crate::app::{Figures, Tier};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

#[global_allocator]
static ALLOC: Counting = Counting;

static ALLOCATED: AtomicU64 = AtomicU64::new(0);
static FREED: AtomicU64 = AtomicU64::new(0);
static LIVE_BYTES: AtomicU64 = AtomicU64::new(0);
static PEAK_LIVE_BYTES: AtomicU64 = AtomicU64::new(0);
static HEAPS: AtomicU64 = AtomicU64::new(0);

/// The tiers that this build can run in.
pub const AVAILABLE: &[Tier] = &[Tier::Global, Tier::Thread, Tier::Coroutine];

/// Runs one request in `tier`; in the coroutine tier, in a heap of its own whose handle is dropped right after.
pub fn run_in<R>(tier: Tier, request: impl FnOnce() -> R) -> R {
    if tier == Tier::Coroutine {
        HEAPS.fetch_add(1, Relaxed);
    }
    request()
}

/// Where the counters stood when a run began.
pub struct Mark {
    allocated: u64,
    freed: u64,
    heaps: u64,
}

/// Begins a measurement, that of the peak too.
pub fn begin(_tier: Tier) -> Mark {
    PEAK_LIVE_BYTES.store(LIVE_BYTES.load(Relaxed), Relaxed);
    Mark { allocated: ALLOCATED.load(Relaxed), freed: FREED.load(Relaxed), heaps: HEAPS.load(Relaxed) }
}

/// What the tier did since `mark`.
pub fn end(mark: Mark) -> Figures {
    let blocks = ALLOCATED.load(Relaxed) - mark.allocated;
    let freed = FREED.load(Relaxed) - mark.freed;
    Figures {
        blocks: Some(blocks),
        peak_live_bytes: Some(PEAK_LIVE_BYTES.load(Relaxed)),
        heaps: Some(HEAPS.load(Relaxed) - mark.heaps),
        escaped_blocks: None,
        escaped_bytes: None,
        remote_frees: None,
        live_blocks_at_end: Some(blocks.cast_signed() - freed.cast_signed()),
    }
}

/// The system's allocator, counting.
struct Counting;

impl Counting {
    fn allocated(bytes: usize) {
        ALLOCATED.fetch_add(1, Relaxed);
        let live = LIVE_BYTES.fetch_add(bytes as u64, Relaxed) + bytes as u64;
        PEAK_LIVE_BYTES.fetch_max(live, Relaxed);
    }

    fn freed(bytes: usize) {
        FREED.fetch_add(1, Relaxed);
        LIVE_BYTES.fetch_sub(bytes as u64, Relaxed);
    }
}

// SAFETY: every call goes to `System` with the arguments as they came; the counters neither allocate nor unwind.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`, which is that of `System`.
        let block = unsafe { System.alloc(layout) };
        if !block.is_null() {
            Self::allocated(layout.size());
        }
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        Self::freed(layout.size());
        // SAFETY: the caller got the block from this allocator, so from `System`, with this layout.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller got the block from this allocator, so from `System`, with this layout.
        let moved = unsafe { System.realloc(block, layout, size) };
        if !moved.is_null() {
            Self::freed(layout.size());
            Self::allocated(size);
        }
        moved
    }
}
