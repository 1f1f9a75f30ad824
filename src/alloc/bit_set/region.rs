//! A region of the bit-set allocator: its books, then its blocks.
//!
//! ```text
//!   a window: WINDOW bytes from a multiple of WINDOW (plus the allocator's phase)
//!   +--------+------+------+-----------+---------+---+---------+---------+- - - -+---------+
//!   | Region | bits | rows | longest   | padding to B | block h | block h+1       | block n |
//!   +--------+------+------+-----------+---------+---+---------+---------+- - - -+---------+
//!   ^ block 0 would be here: numbers count from the region's start, h blocks are the books'
//! ```
//!
//! Always: a region starts where its window starts and ends in it. So the books of a block are found with a mask; and a block's
//! number is its offset divided by `B`. Bits of blocks that the books take, and of numbers behind the region's end, are never set.

use core::cell::Cell;
use core::ptr::{NonNull, null_mut};
use core::slice;

use super::bits::Bits;
use super::map::{Map, row_groups, row_words};
use super::word::BITS;
use crate::ptr;

/// What a region begins with.
#[repr(C)]
pub(super) struct Region {
    /// Blocks that are allocated, or in the allocator's hand.
    pub(super) used: Cell<usize>,
    /// See [`Map`].
    present: Cell<u64>,
    longest: *mut Cell<u8>,
    words: usize,
    groups: usize,
    row_words: usize,
    /// The word behind the one that was taken to hand last.
    pub(super) cursor: Cell<usize>,
    /// The first block behind the books, and the first number behind the last block.
    first: usize,
    end: usize,
    /// What the source gave; no bytes for a region that is the continuation of another.
    pub(super) obtained: NonNull<[u8]>,
    pub(super) all: Links,
    pub(super) open: Links,
    /// Whether it is on the list of regions with free blocks.
    pub(super) is_open: Cell<bool>,
    /// Whether the source gave more than one region's worth; such regions stay until all go.
    pub(super) is_split: bool,
}

/// A region's neighbours on a list.
pub(super) struct Links {
    pub(super) before: Cell<*mut Region>,
    pub(super) behind: Cell<*mut Region>,
}

impl Links {
    const fn new() -> Self {
        Self { before: Cell::new(null_mut()), behind: Cell::new(null_mut()) }
    }
}

/// Where the books of a region of `words` words have its parts, and how long they are, in bytes.
const fn longest_at(words: usize) -> usize {
    size_of::<Region>() + (words + row_words(words)) * size_of::<u64>()
}

/// Bytes of the books of a region of `blocks` numbers, in whole blocks of `block` bytes.
pub(super) const fn books_bytes(blocks: usize, block: usize) -> usize {
    let words = blocks.div_ceil(BITS);
    (longest_at(words) + words).next_multiple_of(block)
}

/// Bytes of a region that holds its books and `bytes` more, both multiples of `block`.
pub(super) const fn region_bytes(bytes: usize, block: usize) -> usize {
    // A region of the length that is found first needs books for itself too, which are at most a word longer.
    let first = bytes + books_bytes(bytes / block, block);
    bytes + books_bytes(first / block + BITS, block)
}

impl Region {
    /// Writes the books of a region of `len` bytes at `start`, all of whose blocks are free.
    ///
    /// # Safety
    /// The bytes are the allocator's alone; `start` is at a multiple of `block` and of 8; the books leave room for a block at least.
    pub(super) unsafe fn make<'a>(
        start: NonNull<u8>,
        len: usize,
        block: usize,
        obtained: NonNull<[u8]>,
        is_split: bool,
    ) -> &'a Self {
        let end = len / block;
        let words = end.div_ceil(BITS);
        let first = books_bytes(end, block) / block;
        debug_assert!(first < end);
        let place = start.cast::<Self>();
        let longest = ptr::up(start.as_ptr(), longest_at(words)).cast::<Cell<u8>>();
        let cells = words + row_words(words);
        let after = ptr::up(start.as_ptr(), size_of::<Self>()).cast::<u64>();
        // SAFETY: `cells` words and `words` bytes follow the header, and `books_bytes` counts all of them, which the caller
        // promises to be there; zeroed, they are the words and lengths of a map without a free block.
        unsafe { after.write_bytes(0, cells) };
        // SAFETY: As above.
        unsafe { longest.write_bytes(0, words) };
        let region = Self {
            used: Cell::new(0),
            present: Cell::new(0),
            longest,
            words,
            groups: row_groups(words),
            row_words: row_words(words),
            cursor: Cell::new(0),
            first,
            end,
            obtained,
            all: Links::new(),
            open: Links::new(),
            is_open: Cell::new(false),
            is_split,
        };
        // SAFETY: The header's bytes are ours and aligned, as the caller promises.
        unsafe { place.write(region) };
        // SAFETY: Just written; everything in it that changes is a cell.
        let region = unsafe { place.as_ref() };
        region.map().give(first, end - first);
        region
    }

    /// The pointer to the region, with the right to all of it.
    pub(super) fn pointer(&self) -> *mut Self {
        // The pointer to the lengths was made from the region's start, and may access what that could.
        ptr::at(self.longest.cast::<Self>(), core::ptr::from_ref(self).addr())
    }

    /// Where block 0 would be, with the right to all of the region.
    #[inline]
    pub(super) fn start(&self) -> *mut u8 {
        self.pointer().cast()
    }

    /// Whether no block is allocated or in the hand.
    #[inline(always)]
    pub(super) fn is_empty(&self) -> bool {
        self.used.get() == 0
    }

    /// Notes that `len` blocks were allocated, or taken to the hand.
    #[inline(always)]
    pub(super) fn add_used(&self, len: usize) {
        self.used.set(self.used.get() + len);
    }

    /// Notes that `len` blocks were freed.
    #[inline(always)]
    pub(super) fn sub_used(&self, len: usize) {
        self.used.set(self.used.get() - len);
    }

    /// Blocks for use.
    pub(super) fn blocks(&self) -> usize {
        self.end - self.first
    }

    /// The number behind the last block's.
    #[inline]
    pub(super) fn end(&self) -> usize {
        self.end
    }

    /// Bytes from the header to the last block's end.
    pub(super) fn bytes(&self, block: usize) -> usize {
        self.end * block
    }

    /// The books.
    #[inline]
    pub(super) fn map(&self) -> Map<'_> {
        let after = ptr::up(self.start(), size_of::<Self>()).cast::<Cell<u64>>();
        // SAFETY: `make` wrote `words` words behind the header, which live as long as the region.
        let bits = unsafe { slice::from_raw_parts(after, self.words) };
        let rows = after.wrapping_add(self.words);
        // SAFETY: Behind those it wrote the words of the rows.
        let rows = unsafe { slice::from_raw_parts(rows, self.row_words) };
        // SAFETY: And behind those a length for each word, at `longest`.
        let longest = unsafe { slice::from_raw_parts(self.longest, self.words) };
        Map { bits: Bits(bits), longest, rows, present: &self.present, groups: self.groups }
    }

    /// The bits of `word`, and its longest run.
    ///
    /// # Safety
    /// The region has this word: it is that of a block of the region.
    #[inline(always)]
    pub(super) unsafe fn word(&self, word: usize) -> (&Cell<u64>, &Cell<u8>) {
        debug_assert!(word < self.words);
        let bits = ptr::up(self.start(), size_of::<Self>()).cast::<Cell<u64>>().wrapping_add(word);
        // SAFETY: `make` wrote `words` words behind the header, and the caller promises that this is one of them.
        let bits = unsafe { &*bits };
        // SAFETY: It wrote as many lengths at `longest`.
        let longest = unsafe { &*self.longest.wrapping_add(word) };
        (bits, longest)
    }

    /// Makes every block free, whatever was allocated; none waits.
    pub(super) fn start_over(&self) {
        if self.used.get() > 0 {
            self.map().start_over(self.first, self.end);
            self.used.set(0);
        }
        self.cursor.set(0);
    }
}

/// A list of regions, linked both ways through one of their links.
pub(super) struct List {
    pub(super) head: Cell<*mut Region>,
    tail: Cell<*mut Region>,
}

impl List {
    pub(super) const fn new() -> Self {
        Self { head: Cell::new(null_mut()), tail: Cell::new(null_mut()) }
    }

    pub(super) fn clear(&self) {
        self.head.set(null_mut());
        self.tail.set(null_mut());
    }

    /// # Safety
    /// `region` is held and on no list of these links, and what is on this list is held.
    pub(super) unsafe fn push_back(&self, region: &Region, links: impl Fn(&Region) -> &Links) {
        let tail = self.tail.get();
        links(region).before.set(tail);
        links(region).behind.set(null_mut());
        match NonNull::new(tail) {
            // SAFETY: The tail is on the list, so it is held.
            Some(tail) => links(unsafe { tail.as_ref() }).behind.set(region.pointer()),
            None => self.head.set(region.pointer()),
        }
        self.tail.set(region.pointer());
    }

    /// # Safety
    /// `region` is on this list, by these links, and what is on this list is held.
    pub(super) unsafe fn remove(&self, region: &Region, links: impl Fn(&Region) -> &Links) {
        let (before, behind) = (links(region).before.get(), links(region).behind.get());
        match NonNull::new(before) {
            // SAFETY: A neighbour on the list is held.
            Some(before) => links(unsafe { before.as_ref() }).behind.set(behind),
            None => self.head.set(behind),
        }
        match NonNull::new(behind) {
            // SAFETY: A neighbour on the list is held.
            Some(behind) => links(unsafe { behind.as_ref() }).before.set(before),
            None => self.tail.set(before),
        }
    }

    /// The regions from the first on, while the caller keeps them on the list and held.
    pub(super) fn iter<'a>(
        &'a self,
        links: impl Fn(&Region) -> &Links + 'a,
    ) -> impl Iterator<Item = &'a Region> + 'a {
        let mut next = self.head.get();
        core::iter::from_fn(move || {
            // SAFETY: What is on the list is held, as `push_back`'s callers see to, and nobody releases it meanwhile.
            let region = unsafe { NonNull::new(next)?.as_ref() };
            next = links(region).behind.get();
            Some(region)
        })
    }
}
