//! Regions shorter than a slice, for heaps over a source of whole slices.
//!
//! A slice is cut into blocks of one length, a power of two from 1 to 32 KiB, which several heaps
//! hold. The page map says of the slice how long they are, and each begins with a header that leads
//! to its heap and to the record of its slice:
//!
//! ```text
//!   slice (64 KiB)                                        record
//!   +------+------+------+------+- - - -+------+          free: a bit for each block
//!   | held | free | held | free |       | held |          start of the slice, length of a block
//!   +------+------+------+------+- - - -+------+          links: the slices with room of a length
//!    ^ control, record
//! ```
//!
//! Segregated storage by powers of two (P. R. Wilson et al., Dynamic Storage Allocation: A Survey
//! and Critical Review, 1995, section 3.6), so that a heap's first regions cost what they hold.
//! Free blocks are not touched.
//!
//! Always: each block of each slice that is here is held or has its bit; a slice is on the list of
//! its length exactly if a bit is set. Of each length one slice that is wholly free stays; others
//! leave at once. Everything is reached under one lock, held for a few instructions; sources are
//! called without it. SliceRecords lie in maps of their own that are never unmapped.

use core::cell::Cell;
use core::ptr::{NonNull, null_mut};

use crate::error::SourceError;
use crate::list::{Linked, Links, List};
use crate::source::SLICE;
use crate::sync::{Guarded, const_fn};
use crate::sys;

/// The shortest block is 2 to the power of this many bytes long, the longest that of [`LONGEST`].
pub(crate) const SHORTEST: u32 = 10;
/// See [`SHORTEST`].
pub(crate) const LONGEST: u32 = 15;

const LENGTHS: usize = (LONGEST - SHORTEST + 1) as usize;
const _: () = assert!(SLICE >> SHORTEST <= u64::BITS as usize && SLICE >> LONGEST >= 2);
// No block of a heap is shorter than 8 bytes, so that their number in a region fits 16 bits.
const _: () = assert!(1 << LONGEST <= 8 * u16::MAX as usize);

/// The slices from which short regions are cut.
#[doc(hidden)]
#[derive(Debug)]
pub struct SmallRegions {
    slices: Guarded<Slices>,
}

/// The record of a slice.
#[derive(Debug)]
pub(crate) struct SliceRecord {
    /// Of the list of its length, or of those that stand for no slice.
    links: Links<SliceRecord>,
    start: Cell<*mut u8>,
    /// A bit for each block that is free.
    free: Cell<u64>,
    /// The length of a block as a power of two.
    order: Cell<u32>,
    /// Of each block that is held, how many of its heap's blocks are allocated in it, once the heap
    /// takes blocks elsewhere. It belongs to the heap's user.
    live: [Cell<u16>; SLICE >> SHORTEST],
}

// SAFETY: The field is for those lists only.
unsafe impl Linked<()> for SliceRecord {
    #[inline]
    fn links(&self) -> &Links<Self> {
        &self.links
    }
}

/// What the lock guards.
#[derive(Debug)]
struct Slices {
    /// By length: the slices of which a block is free.
    with_room: [List<SliceRecord>; LENGTHS],
    /// By length: how many of them are wholly free.
    empty: [usize; LENGTHS],
    /// SliceRecords that stand for no slice.
    unused: List<SliceRecord>,
    free_bytes: usize,
}

// SAFETY: The records belong to the declaration, not to a thread.
unsafe impl Send for Slices {}

/// A block that was taken.
#[derive(Clone, Copy)]
pub(crate) struct Block {
    pub(crate) start: NonNull<u8>,
    pub(crate) record: NonNull<SliceRecord>,
}

impl Block {
    /// How many blocks of the heap are allocated in this one.
    ///
    /// # Safety
    /// The block was taken with that record, its heap holds it, and the caller is the heap's user.
    pub(crate) unsafe fn live<'a>(self) -> &'a Cell<u16> {
        // SAFETY: Records are never unmapped, and reached by shared references only.
        let record = unsafe { self.record.as_ref() };
        // Always smaller; the remainder spares a test.
        &record.live[record.index(self.start) % (SLICE >> SHORTEST)]
    }
}

impl SliceRecord {
    /// The number of a block in its slice. Start and length do not change while one is held.
    fn index(&self, block: NonNull<u8>) -> usize {
        (block.addr().get() - self.start.get().addr()) >> self.order.get()
    }
}

/// The bits of a slice that is wholly free.
const fn every_block(order: u32) -> u64 {
    u64::MAX >> (u64::BITS as usize - (SLICE >> order))
}

const fn place(order: u32) -> usize {
    (order - SHORTEST) as usize
}

impl SmallRegions {
    const_fn! {
        pub(crate) fn new() -> Self {
            let slices = Slices {
                with_room: [const { List::new() }; LENGTHS],
                empty: [0; LENGTHS],
                unused: List::new(),
                free_bytes: 0,
            };
            Self { slices: Guarded::new(slices) }
        }
    }

    /// Takes a block of 2 to the power of `order` bytes, if a slice has one.
    pub(crate) fn take(&self, order: u32) -> Option<Block> {
        self.slices.lock().take(order)
    }

    /// Cuts a slice, and takes its first block.
    ///
    /// # Errors
    /// The operating system's, if it has no memory for a record; the slice is still the caller's.
    ///
    /// # Safety
    /// The slice is the caller's, which gives it up: it is read and written by those who take its
    /// blocks, until [`give`](Self::give) or [`take_empty`](Self::take_empty) names it.
    pub(crate) unsafe fn add(&self, slice: NonNull<u8>, order: u32) -> Result<Block, SourceError> {
        let mut slices = self.slices.lock();
        let record = slices.unused_record()?;
        // SAFETY: Records are never unmapped, and reached by shared references only.
        let this = unsafe { record.as_ref() };
        this.start.set(slice.as_ptr());
        this.order.set(order);
        this.free.set(every_block(order));
        // SAFETY: The record stood for no slice, so it is on no list.
        unsafe { slices.with_room[place(order)].push(record) };
        slices.empty[place(order)] += 1;
        slices.free_bytes += SLICE;
        slices.take(order).ok_or(SourceError::Exhausted)
    }

    /// Gives a block back; the start of its slice, if that is wholly free and leaves with this
    /// call.
    ///
    /// # Safety
    /// The block was taken with that record, and is given up.
    pub(crate) unsafe fn give(&self, block: Block) -> Option<NonNull<u8>> {
        let mut slices = self.slices.lock();
        // SAFETY: Records are never unmapped, and reached by shared references only.
        let record = unsafe { block.record.as_ref() };
        let (order, free) = (record.order.get(), record.free.get());
        let now = free | 1 << record.index(block.start);
        record.free.set(now);
        slices.free_bytes += 1 << order;
        if free == 0 {
            // SAFETY: The slice had no room, so its record is on no list.
            unsafe { slices.with_room[place(order)].push(block.record) };
        }
        if now != every_block(order) {
            return None;
        }
        slices.empty[place(order)] += 1;
        if slices.empty[place(order)] == 1 { None } else { slices.remove(block.record) }
    }

    /// Takes a slice out that is wholly free; its start.
    pub(crate) fn take_empty(&self) -> Option<NonNull<u8>> {
        let mut slices = self.slices.lock();
        let place = slices.empty.iter().position(|&empty| empty > 0)?;
        let is_empty = |record: &&SliceRecord| record.free.get() == every_block(record.order.get());
        let record = slices.with_room[place].iter().find(is_empty).map(NonNull::from)?;
        slices.remove(record)
    }

    /// Bytes of blocks that nobody holds.
    pub(crate) fn free_bytes(&self) -> usize {
        self.slices.lock().free_bytes
    }

    pub(crate) fn before_fork(&self) {
        self.slices.hold_for_fork();
    }

    /// # Safety
    /// As [`Guarded::release_after_fork`].
    pub(crate) unsafe fn after_fork(&self) {
        // SAFETY: The caller called `before_fork` on this thread, or on the one that forked it.
        unsafe { self.slices.release_after_fork() };
    }
}

impl Slices {
    fn take(&mut self, order: u32) -> Option<Block> {
        let with_room = &self.with_room[place(order)];
        let record = with_room.first_pointer()?;
        // SAFETY: Records are never unmapped, and reached by shared references only.
        let this = unsafe { record.as_ref() };
        let free = this.free.get();
        let left = free & (free - 1);
        this.free.set(left);
        if left == 0 {
            // SAFETY: The list's first record is on it.
            unsafe { with_room.remove(this) };
        }
        if free == every_block(order) {
            self.empty[place(order)] -= 1;
        }
        self.free_bytes -= 1 << order;
        let start = this.start.get().wrapping_add((free.trailing_zeros() as usize) << order);
        Some(Block { start: NonNull::new(start)?, record })
    }

    /// Takes a slice out that is wholly free and counted as such.
    fn remove(&mut self, record: NonNull<SliceRecord>) -> Option<NonNull<u8>> {
        // SAFETY: Records are never unmapped, and reached by shared references only.
        let this = unsafe { record.as_ref() };
        let place = place(this.order.get());
        // SAFETY: A slice with room is on the list of its length.
        unsafe { self.with_room[place].remove(this) };
        self.empty[place] -= 1;
        self.free_bytes -= SLICE;
        // SAFETY: The record is on no list now.
        unsafe { self.unused.push(record) };
        NonNull::new(this.start.replace(null_mut()))
    }

    /// Takes a record that stands for no slice.
    fn unused_record(&mut self) -> Result<NonNull<SliceRecord>, SourceError> {
        if self.unused.is_empty() {
            let page = sys::page_size();
            let records = sys::map(page).map_err(SourceError::System)?.cast::<SliceRecord>();
            for index in 0..page / size_of::<SliceRecord>() {
                // SAFETY: The place lies in the page that was just mapped, aligned for a record.
                let record = unsafe { records.add(index) };
                let new = SliceRecord {
                    links: Links::new(),
                    start: Cell::new(null_mut()),
                    free: Cell::new(0),
                    order: Cell::new(0),
                    live: [const { Cell::new(0) }; SLICE >> SHORTEST],
                };
                // SAFETY: As above; nobody else knows of it.
                unsafe { record.write(new) };
                // SAFETY: The record is on no list yet, and is never unmapped.
                unsafe { self.unused.push(record) };
            }
        }
        self.unused.pop().map(NonNull::from).ok_or(SourceError::Exhausted)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::ptr;
    use std::collections::BTreeMap;
    use std::vec::Vec;

    /// Blocks of all lengths are taken and given back at random: none is taken twice, each lies in
    /// a slice of its length, slices leave when they are free, and all that stay are counted.
    #[test]
    fn blocks_are_where_the_drawing_says() {
        let regions = SmallRegions::new();
        let mut random = fastrand::Rng::with_seed(1);
        let (mut held, mut slices, mut made) = (Vec::new(), BTreeMap::new(), 0);
        for round in 0..20_000 {
            let filling = round / 2000 % 2 == 0;
            if held.is_empty() || random.u32(..10) < if filling { 7 } else { 3 } {
                let order = random.u32(SHORTEST..=LONGEST);
                let block = regions.take(order).unwrap_or_else(|| {
                    made += 1;
                    // Only its address matters.
                    let slice = ptr::dangling(SLICE).wrapping_add(made * SLICE);
                    slices.insert(slice.addr(), order);
                    // SAFETY: The slice is nobody's, and nobody reads or writes it.
                    unsafe { regions.add(NonNull::new(slice).unwrap(), order) }.unwrap()
                });
                let address = block.start.addr().get();
                assert_eq!(slices.get(&(address & !(SLICE - 1))), Some(&order));
                assert!(address.is_multiple_of(1 << order));
                assert!(held.iter().all(|&(other, _): &(Block, u32)| other.start != block.start));
                held.push((block, order));
            } else {
                let (block, _) = held.swap_remove(random.usize(..held.len()));
                // SAFETY: The block was taken, and is given back once.
                if let Some(slice) = unsafe { regions.give(block) } {
                    let start = slice.addr().get();
                    assert!(slices.remove(&start).is_some());
                    assert!(held.iter().all(|(other, _)| other.start.addr().get() & !(SLICE - 1) != start));
                }
            }
            let bytes = held.iter().map(|&(_, order)| 1_usize << order).sum::<usize>();
            assert_eq!(regions.free_bytes(), slices.len() * SLICE - bytes);
        }
        for (block, _) in held {
            // SAFETY: As above.
            if let Some(slice) = unsafe { regions.give(block) } {
                slices.remove(&slice.addr().get());
            }
        }
        assert!(slices.len() <= LENGTHS, "of each length one stays");
        while let Some(slice) = regions.take_empty() {
            assert!(slices.remove(&slice.addr().get()).is_some());
        }
        assert_eq!((slices.len(), regions.free_bytes()), (0, 0));
    }
}
