//! The part of a control block that the heap's user touches: the state of the heap, and its counts.

use super::context::Context;
use crate::sync::atomic::Ordering::Relaxed;
use crate::sync::atomic::{AtomicU32, AtomicUsize};
use crate::sync::cell::Cell;

/// The part of a control block that the heap's user touches.
#[derive(Debug)]
pub(crate) struct Local {
    /// Whether the heap is entered, and whether its handle was dropped: see `control.rs`.
    pub(super) state: AtomicU32,
    /// Of `live`, what was counted in the window of the heap's allocator, and is not in there.
    window_live: AtomicU32,
    /// While the heap is entered: the context that it was entered from. Otherwise the default one.
    pub(super) outer: Cell<Context>,
    /// Blocks handed out minus blocks freed by the heap's user, but for those in the window of its
    /// allocator, if that has one. Written by plain stores; atomic so that statistics may read it.
    /// That of a coroutine heap which some thread is in is as old as the entry: its thread counts
    /// in its registers.
    live: AtomicUsize,
    /// The same in bytes, if they are counted.
    live_bytes: AtomicUsize,
}

impl Local {
    pub(super) fn new() -> Self {
        Self {
            state: AtomicU32::new(0),
            window_live: AtomicU32::new(0),
            outer: Cell::new(Context::DEFAULT),
            live: AtomicUsize::new(0),
            live_bytes: AtomicUsize::new(0),
        }
    }

    /// Blocks handed out minus blocks freed by the heap's user.
    #[inline(always)]
    pub(crate) fn live(&self) -> usize {
        self.live.load(Relaxed).wrapping_add(self.window_live())
    }

    /// Of these, blocks in the window.
    #[inline(always)]
    pub(super) fn window_live(&self) -> usize {
        Self::window_live_of(self.window_live_bits())
    }

    /// The low 32 bits of [`window_live`](Self::window_live), which say it all.
    #[inline(always)]
    pub(super) fn window_live_bits(&self) -> usize {
        self.window_live.load(Relaxed) as usize
    }

    /// The count of which these are the low 32 bits.
    #[inline(always)]
    pub(super) fn window_live_of(bits: usize) -> usize {
        ((bits as u32).cast_signed() as isize).cast_unsigned()
    }

    /// Sets the count of blocks in the window, which is at most 1 GiB long, by its low 32 bits.
    /// Less than zero, after a block was freed twice, stays less than zero.
    #[inline(always)]
    pub(super) fn set_window_live(&self, live: usize) {
        self.window_live.store(live as u32, Relaxed);
    }

    /// Sets the count of blocks outside of a window to what the heap's user counted.
    #[inline(always)]
    pub(super) fn set_live(&self, live: usize) {
        self.live.store(live, Relaxed);
    }

    #[inline(always)]
    pub(crate) fn live_bytes(&self) -> usize {
        self.live_bytes.load(Relaxed)
    }

    #[inline(always)]
    pub(crate) fn count_allocated(&self) {
        self.add_live(1);
    }

    #[inline(always)]
    pub(crate) fn count_freed(&self) {
        // Never below zero: each block freed here was counted when it was handed out. Wrapping only
        // spares the test.
        self.add_live(-1);
    }

    /// Adds blocks that were handed out, or came back, outside of a window.
    #[inline(always)]
    pub(crate) fn add_live(&self, more: isize) {
        self.live.store(self.live.load(Relaxed).wrapping_add_signed(more), Relaxed);
    }

    #[inline(always)]
    pub(crate) fn add_bytes(&self, bytes: isize) {
        self.live_bytes.store(self.live_bytes().wrapping_add_signed(bytes), Relaxed);
    }

    /// Counts from zero again, for the next heap that the control block stands for.
    pub(super) fn clear_counts(&self) {
        self.live.store(0, Relaxed);
        self.window_live.store(0, Relaxed);
        self.live_bytes.store(0, Relaxed);
    }
}
