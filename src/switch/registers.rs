//! What the heap entered last has at hand, in the static storage of the thread that is in it.
//!
//! As a processor's registers hold what a running thread computes with, these hold the window that
//! the heap's allocator bumps through, and how many blocks in it are allocated (of an allocator
//! that does not bump, how many of the heap's). An allocation is an addition and a comparison, a
//! free one or two comparisons and a subtraction; neither follows a pointer.
//!
//! ```text
//!                    enter, back to an outer heap: load
//!   control block  ------------------------------------->  registers
//!                  <-------------------------------------
//!                    leave, enter another, switch: save
//! ```
//!
//! Always: they belong to the heap that is entered last in the thread's context, whichever tier is
//! current; what they hold is newer than what its control block says. Without such a heap nothing
//! fits in them and nothing lies in them. They are *open* while the coroutine tier is current:
//! closed ones serve no allocation.

use core::cell::Cell;
use core::ptr::{NonNull, null_mut};

use crate::alloc::Window;
use crate::ptr;
use crate::sys::LOWER_HALF;

/// What blocks that are taken from a [`Window`] are multiples of, in bytes.
const UNIT: usize = 8;

/// A size rounded up to whole units; that of a layout does not overflow.
#[inline(always)]
const fn rounded(size: usize) -> usize {
    (size + (UNIT - 1)) & !(UNIT - 1)
}

/// What became of a block in [`Registers::resize`].
pub(super) enum Resized {
    /// It has the new size where it was.
    InPlace,
    /// It is here now.
    Moved(NonNull<u8>),
    /// Nothing changed.
    No,
}

/// See the head of this file.
///
/// Cursor and end are addresses: the pointer to the region's start may access all of it, so that
/// pointers are made from that.
#[derive(Debug)]
pub(super) struct Registers {
    cursor: Cell<usize>,
    /// The end of the window, or 0 while they are closed.
    end: Cell<usize>,
    start: Cell<*mut u8>,
    live: Cell<usize>,
}

impl Registers {
    /// Those of no heap: all bits zero.
    pub(super) const fn new() -> Self {
        Self { cursor: Cell::new(0), end: Cell::new(0), start: Cell::new(null_mut()), live: Cell::new(0) }
    }

    /// Takes a block at a multiple of 8 bytes and counts it; `None` if it does not fit, and for a
    /// size of 0. `size` is that of a layout.
    #[inline(always)]
    pub(super) fn take(&self, size: usize) -> Option<NonNull<u8>> {
        let more = rounded(size);
        if more == 0 {
            return None;
        }
        let cursor = self.cursor.get();
        let end = cursor.wrapping_add(more);
        if end >= self.end.get() || (!LOWER_HALF && end < more) {
            return None;
        }
        self.cursor.set(end);
        self.count_allocated();
        // SAFETY: The end is not null, so there is a region, in which the cursor lies.
        Some(unsafe { NonNull::new_unchecked(ptr::at(self.start.get(), cursor)) })
    }

    /// Gives a block back and counts it, if it is the last in the window, which shows that it is
    /// the heap's: nothing of anybody else ends where the next block of the region begins. Says
    /// whether it is. `size` is that of the block's layout, or zero, which stands for one byte and
    /// is none.
    #[inline(always)]
    pub(super) fn give_back_last(&self, block: NonNull<u8>, size: usize) -> bool {
        let address = block.addr().get();
        if address.wrapping_add(rounded(size)) != self.cursor.get() {
            return false;
        }
        self.cursor.set(address);
        self.count_freed();
        true
    }

    /// Gives any other block back and counts it, if it lies in the window, which shows that it is
    /// the heap's; says whether it does.
    #[inline(always)]
    pub(super) fn give_back_other(&self, block: NonNull<u8>) -> bool {
        if !self.holds(block) {
            return false;
        }
        self.count_freed();
        true
    }

    /// Makes a block in the window larger or smaller: the last one where it is, another one smaller
    /// where it is and larger at the cursor. `None`, and nothing changed, if it lies elsewhere, if
    /// there is no room, and for a new size of 0.
    ///
    /// # Safety
    /// The block is allocated with the size `old` and that alignment, and is the caller's to move;
    /// `new` with the alignment is a layout too.
    #[inline(always)]
    pub(super) unsafe fn resize(&self, block: NonNull<u8>, old: usize, align: usize, new: usize) -> Resized {
        let (address, more) = (block.addr().get(), rounded(new));
        if address.wrapping_add(rounded(old)) == self.cursor.get() {
            let end = address.wrapping_add(more);
            if more == 0 || end >= self.end.get() || (!LOWER_HALF && end < more) {
                return Resized::No;
            }
            self.cursor.set(end);
            return Resized::InPlace;
        }
        if more == 0 || !self.holds(block) {
            return Resized::No;
        }
        if more <= rounded(old) {
            return Resized::InPlace;
        }
        if align > UNIT {
            return Resized::No;
        }
        let Some(to) = self.take(new) else { return Resized::No };
        // SAFETY: Both blocks are allocated, so they do not overlap; the new one is longer.
        unsafe { to.copy_from_nonoverlapping(block, old) };
        self.count_freed();
        Resized::Moved(to)
    }

    /// Whether blocks can be taken.
    #[inline(always)]
    pub(super) fn is_open(&self) -> bool {
        self.end.get() != 0
    }

    /// Whether a heap with a region is entered.
    #[inline(always)]
    pub(super) fn hold_a_window(&self) -> bool {
        !self.start.get().is_null()
    }

    /// Whether the block lies in the window, and so is the heap's.
    #[inline(always)]
    pub(super) fn holds(&self, block: NonNull<u8>) -> bool {
        let start = self.start.get().addr();
        block.addr().get().wrapping_sub(start) < self.cursor.get().wrapping_sub(start)
    }

    #[inline(always)]
    pub(super) fn count_allocated(&self) {
        self.live.set(self.live.get() + 1);
    }

    #[inline(always)]
    pub(super) fn count_freed(&self) {
        // Never below zero: each block freed here was counted when it was handed out. Wrapping only
        // spares the test.
        self.live.set(self.live.get().wrapping_sub(1));
    }

    #[inline(always)]
    pub(super) fn cursor(&self) -> *mut u8 {
        ptr::at(self.start.get(), self.cursor.get())
    }

    #[inline(always)]
    pub(super) fn start(&self) -> *mut u8 {
        self.start.get()
    }

    #[inline(always)]
    pub(super) fn live(&self) -> usize {
        self.live.get()
    }

    #[inline(always)]
    pub(super) fn set_live(&self, live: usize) {
        self.live.set(live);
    }

    /// Holds no window from here on.
    #[inline(always)]
    pub(super) fn clear_window(&self) {
        // Volatile, so that the compiler does not clear the three as one piece of memory, whose
        // address takes two instructions.
        self.cursor.set(0);
        // SAFETY: The cell is the calling thread's.
        unsafe { self.end.as_ptr().write_volatile(0) };
        // SAFETY: As above.
        unsafe { self.start.as_ptr().write_volatile(null_mut()) };
    }

    /// Holds a window from here on, and serves allocations if `open`.
    #[inline(always)]
    pub(super) fn set_window(&self, window: Window, open: bool) {
        self.cursor.set(window.cursor.addr());
        self.end.set(if open { window.end.addr() } else { 0 });
        self.start.set(window.start);
    }
}
