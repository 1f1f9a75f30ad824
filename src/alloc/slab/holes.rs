//! A slab's blocks in holes: how a sweep takes them off the list, and how the heap has them again.
//!
//! ```text
//!   free ---> | next | ---> | next | ---> | null |        the last one reaches into a hole
//!             pushed since the sweep      the first that the sweep saw
//!   behind -> | next | ---> | next | ---> null            in pages that stay
//! ```

use super::super::grid::{Grid, Units, unit_of};
use super::*;

impl Slab {
    /// Where the blocks lie that were carved.
    fn grid(&self) -> Grid {
        Grid {
            first: self.first.get() as usize,
            bytes: bytes_of(self.class()),
            blocks: self.carved.get() as usize,
            unit: unit_of(self.len()),
        }
    }

    /// How many blocks reach into holes.
    #[inline(always)]
    pub(super) fn in_holes(&self) -> u32 {
        if self.holes.get() == 0 { 0 } else { self.count_in_holes() }
    }

    #[cold]
    #[inline(never)]
    fn count_in_holes(&self) -> u32 {
        self.grid().in_holes(self.holes.get())
    }

    /// The block that begins `offset` bytes behind the slab's start.
    fn block_at(&self, offset: usize) -> *mut FreeBlock {
        ptr::up(self.start, offset).cast()
    }

    /// Whether a block reaches into one of `units`.
    fn reaches(&self, grid: Grid, block: NonNull<FreeBlock>, units: Units) -> bool {
        grid.units(grid.index(block.addr().get() - self.start.addr())) & units != 0
    }

    /// Takes all free blocks that reach into no hole as a list or, if there are none, those of the
    /// lowest hole.
    #[cold]
    #[inline(never)]
    pub(super) fn take_beside_holes(&self) -> *mut FreeBlock {
        self.join_lists();
        let list = self.free.take();
        if list.is_null() { self.fill_hole() } else { list }
    }

    /// Takes the blocks of the lowest hole as a list: those that reach into no other.
    fn fill_hole(&self) -> *mut FreeBlock {
        let (grid, mut holes) = (self.grid(), self.holes.get());
        let mut list: *mut FreeBlock = null_mut();
        while holes != 0 && list.is_null() {
            let unit = holes.trailing_zeros() as usize;
            holes &= holes - 1;
            for index in grid.blocks_in(unit).rev().filter(|&index| grid.units(index) & holes == 0) {
                let block = self.block_at(grid.first + index * grid.bytes);
                // SAFETY: The block was carved, and reached into a hole, so that it is free and on
                // no list.
                unsafe { block.write(FreeBlock { next: list }) };
                list = block;
            }
        }
        self.holes.set(holes);
        list
    }

    /// Takes the block that reaches into a hole off the end of the list, and has those follow that
    /// a sweep left apart.
    ///
    /// The caller has the slab or holds it, and the list has not only that block if a sweep does.
    #[inline]
    pub(super) fn join_lists(&self) {
        if self.holes.get() != 0 {
            self.join_lists_of_holes();
        }
    }

    #[cold]
    fn join_lists_of_holes(&self) {
        let behind = match self.behind.replace(0) {
            0 => null_mut(),
            offset => self.block_at(offset as usize),
        };
        let grid = self.grid();
        let mut last: Option<NonNull<FreeBlock>> = None;
        // SAFETY: The caller has the slab or holds it, so that nobody takes the list.
        for block in unsafe { self.free.blocks() } {
            if self.reaches(grid, block, self.holes.get()) {
                break;
            }
            last = Some(block);
        }
        match last {
            // SAFETY: The block is on the list; what is pushed meanwhile comes before it, and
            // leaves its link alone.
            Some(last) => unsafe { self.free.end_with(last, behind) },
            // A sweep that holds the slab saw a first block before, which reaches into no hole.
            None => self.free.set(behind),
        }
    }

    /// Forgets the blocks of an empty slab, and gives the units in which they lay, but for the one
    /// with the header.
    ///
    /// The calling thread holds the slab.
    #[cfg(feature = "std")]
    pub(in super::super) fn forget_blocks(&self) -> Units {
        let grid = self.grid();
        let used = (grid.first + grid.blocks * grid.bytes).div_ceil(grid.unit);
        self.free.set(null_mut());
        self.behind.set(0);
        self.holes.set(0);
        self.carved.set(0);
        // At most 32.
        ((1_u64 << used) - 1) as Units & !1
    }

    /// Takes the free blocks that reach into pages without any other off the slab's list, and notes
    /// these pages as holes; which are new.
    ///
    /// # Safety
    /// The calling thread holds the slab.
    #[cfg(feature = "std")]
    pub(in super::super) unsafe fn make_holes(&self) -> Units {
        let grid = self.grid();
        // SAFETY: The slab is held, so that nobody takes the list.
        let Some(first) = unsafe { self.free.blocks() }.next() else { return 0 };
        if self.reaches(grid, first, self.holes.get()) {
            // Nothing was freed since the last sweep.
            return 0;
        }
        self.join_lists();
        let index = |block: NonNull<FreeBlock>| grid.index(block.addr().get() - self.start.addr());
        let mut steps = 0;
        // SAFETY: As above.
        let free = unsafe { self.free.blocks_from(first) }.map(|block| {
            steps += 1;
            // Of a block that was freed twice, the list leads to itself.
            misuse::check(steps <= grid.blocks && index(block) < grid.blocks, TWICE, block.addr().get());
            index(block)
        });
        let found = grid.find(self.holes.get(), free);
        if found == 0 {
            return 0;
        }
        // SAFETY: The slab is held; the block was the first on the list before.
        unsafe { self.free.remove_behind(first, |block| self.reaches(grid, block, found)) };
        self.holes.set(self.holes.get() | found);
        if self.reaches(grid, first, found) {
            // SAFETY: As above.
            let behind = unsafe { self.free.cut_behind(first) };
            self.behind.set(small(behind.addr().saturating_sub(self.start.addr())));
        }
        found
    }
}
