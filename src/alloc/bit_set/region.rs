//! A region of the bit-set allocator: its index, then its blocks.
//!
//! ```text
//!   a window: WINDOW bytes from a multiple of WINDOW (plus the allocator's phase)
//!   +--------+------+------+---------+---------+---------+---------+---------+- - -+---------+
//!   | Region | bits | rows | touched | longest | padding | block h | block h+1     | block n |
//!   +--------+------+------+---------+---------+---------+---------+---------+- - -+---------+
//!   ^ block 0 would be here: numbers count from the region's start, h blocks are the index'
//! ```
//!
//! Always: a region starts where its window starts and ends in it. So the index of a block are
//! found with a mask; and a block's number is its offset divided by `B`. Bits of blocks that the
//! index take, and of numbers behind the region's end, are never set.

use core::cell::Cell;
use core::ptr::{NonNull, null_mut};
use core::slice;

use super::bins::Known;
use super::bits::Bits;
use super::map::{Map, row_groups, row_words};
use super::word::BITS;
use crate::misuse;
use crate::ptr;

/// What the mark of a region at address 0 would be: a number that no program has by chance.
const MARK: usize = 0x6269_7473_6574_a5c3_u64 as usize;

/// What a region begins with.
#[repr(C)]
pub(super) struct Region {
    /// Blocks that are allocated, or in the allocator's hand.
    pub(super) used: Cell<usize>,
    /// [`MARK`], the region's address and the allocator's identity: what begins otherwise is no
    /// region of the allocator.
    mark: usize,
    /// See [`Map`].
    present: Cell<u64>,
    longest: *mut Cell<u8>,
    words: usize,
    groups: usize,
    row_words: usize,
    /// The word behind the one that was taken to hand last.
    pub(super) cursor: Cell<usize>,
    /// The first block behind the index, and the first number behind the last block.
    first: usize,
    end: usize,
    /// What the source gave; no bytes for a region that is the continuation of another.
    pub(super) obtained: NonNull<[u8]>,
    pub(super) all: Links,
    /// Those in its bin.
    pub(super) open: Links,
    pub(super) known: Known,
    /// Whether the source said that the region was zero.
    was_zero: bool,
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

/// How many words have a bit for each word of blocks.
const fn touched_words(words: usize) -> usize {
    words.div_ceil(BITS)
}

/// Where the index of a region of `words` words have the lengths of runs, in bytes from the
/// region's start.
const fn longest_at(words: usize) -> usize {
    size_of::<Region>() + (words + row_words(words) + touched_words(words)) * size_of::<u64>()
}

/// Bytes of the index of a region of `blocks` numbers, in whole blocks of `block` bytes.
pub(super) const fn index_bytes(blocks: usize, block: usize) -> usize {
    let words = blocks.div_ceil(BITS);
    (longest_at(words) + words).next_multiple_of(block)
}

/// Bytes of a region that holds its index and `bytes` more, both multiples of `block`.
pub(super) const fn region_bytes(bytes: usize, block: usize) -> usize {
    // A region of the length that is found first needs index for itself too, which are at most a
    // word longer.
    let first = bytes + index_bytes(bytes / block, block);
    bytes + index_bytes(first / block + BITS, block)
}

impl Region {
    /// Writes the index of a region of `len` bytes at `start`, all of whose blocks are free. If
    /// `is_zero`, those are zero.
    ///
    /// # Safety
    /// The bytes are the allocator's alone; `start` is at a multiple of `block` and of 8; the index
    /// leave room for a block at least.
    pub(super) unsafe fn make<'a>(
        start: NonNull<u8>,
        len: usize,
        block: usize,
        obtained: NonNull<[u8]>,
        is_split: bool,
        is_zero: bool,
        identity: usize,
    ) -> &'a Self {
        let end = len / block;
        let words = end.div_ceil(BITS);
        let first = index_bytes(end, block) / block;
        debug_assert!(first < end);
        let place = start.cast::<Self>();
        let longest = ptr::up(start.as_ptr(), longest_at(words)).cast::<Cell<u8>>();
        let cells = words + row_words(words) + touched_words(words);
        let after = ptr::up(start.as_ptr(), size_of::<Self>()).cast::<u64>();
        // SAFETY: `cells` words and `words` bytes follow the header, and `index_bytes` counts all
        // of them, which the caller promises to be there; zeroed, they are the words and lengths of
        // a map without a free block.
        unsafe { after.write_bytes(0, cells) };
        // SAFETY: As above.
        unsafe { longest.write_bytes(0, words) };
        let region = Self {
            used: Cell::new(0),
            mark: MARK ^ start.addr().get() ^ identity,
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
            known: Known::new(),
            was_zero: is_zero,
            is_split,
        };
        // SAFETY: The header's bytes are ours and aligned, as the caller promises.
        unsafe { place.write(region) };
        // SAFETY: Just written; everything in it that changes is a cell.
        let region = unsafe { place.as_ref() };
        let _none_was_free = region.map().give(first, end - first);
        region
    }

    /// The pointer to the region, with the right to all of it.
    pub(super) fn pointer(&self) -> *mut Self {
        // The pointer to the lengths was made from the region's start, and may access what that
        // could.
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
        self.used.set(self.used.get().wrapping_add(len));
    }

    /// Notes that `len` blocks were freed. Where one was freed twice, the number is wrong, and slow
    /// paths find out.
    #[inline(always)]
    pub(super) fn sub_used(&self, len: usize) {
        self.used.set(self.used.get().wrapping_sub(len));
    }

    /// The words of blocks of which one was in use at some time: a bit for each. Blocks of the
    /// others are as the source gave them.
    fn touched(&self) -> Bits<'_> {
        let after = ptr::up(self.start(), size_of::<Self>()).cast::<Cell<u64>>();
        let touched = after.wrapping_add(self.words + self.row_words);
        // SAFETY: `make` wrote so many words there, which live as long as the region.
        Bits(unsafe { slice::from_raw_parts(touched, touched_words(self.words)) })
    }

    /// Notes that `len` blocks from `at` on, at least one, are in use from now on. Returns how many
    /// of them, from the first on, may not be zero; perhaps more than there are.
    #[inline]
    pub(super) fn touch(&self, at: usize, len: usize) -> usize {
        if !self.was_zero {
            return len;
        }
        let (first, last) = (at / BITS, (at + len - 1) / BITS);
        if first != last {
            return self.touch_words(at, first, last);
        }
        let cell = &self.touched().0[first / BITS];
        let (bits, bit) = (cell.get(), 1 << (first % BITS));
        cell.set(bits | bit);
        if bits & bit == 0 { 0 } else { len }
    }

    #[inline(never)]
    fn touch_words(&self, at: usize, first: usize, last: usize) -> usize {
        let touched = self.touched();
        let dirty = (first..=last).rev().find(|word| (touched.get(word / BITS) >> (word % BITS)) & 1 != 0);
        touched.set(first, last - first + 1);
        dirty.map_or(0, |word| (word + 1) * BITS - at)
    }

    /// Whether this is a region of the allocator with that identity.
    #[inline]
    pub(super) fn is_of(&self, identity: usize) -> bool {
        self.mark == MARK ^ core::ptr::from_ref(self).addr() ^ identity
    }

    /// Makes the run of `len` blocks of `block` bytes at `offset` free in the map. Ends the process
    /// unless this is a region of the allocator with that identity, which has that run, and no
    /// block of it is free in the map.
    #[inline]
    pub(super) fn give(&self, offset: usize, len: usize, block: usize, identity: usize) {
        let address = core::ptr::from_ref(self).addr();
        let at = offset / block;
        let is_here =
            self.is_of(identity) && at >= self.first && at + len <= self.end && offset.is_multiple_of(block);
        misuse::check(is_here, FOREIGN, address.wrapping_add(offset));
        misuse::check(self.map().give(at, len), TWICE, address.wrapping_add(offset));
    }

    /// Takes every free block of `word` out of the map: its bits.
    #[inline(always)]
    pub(super) fn take_word(&self, word: usize) -> u64 {
        let bits = self.map().take_word(word);
        if bits & 1 != 0 {
            self.settle_before(word);
        }
        bits
    }

    /// A function of the region, since one of the map would have its parts written to the stack
    /// whether it is called or not.
    #[inline(never)]
    fn settle_before(&self, word: usize) {
        self.map().settle_before(word);
    }

    /// Makes a block free in the map, and leaves the runs around it unsettled. Ends the process as
    /// [`give`](Self::give) does.
    #[inline]
    pub(super) fn give_single(&self, at: usize, identity: usize) {
        let address = core::ptr::from_ref(self).addr();
        misuse::check(self.is_of(identity) && at >= self.first && at < self.end, FOREIGN, address);
        let bit = 1 << (at % BITS);
        misuse::check(self.map().bits.get(at / BITS) & bit == 0, TWICE, address);
        self.map().give_word(at / BITS, bit);
    }

    /// Ends the process unless all blocks are free in the map.
    pub(super) fn check_empty(&self) {
        let free: usize = self.map().bits.0.iter().map(|bits| bits.get().count_ones() as usize).sum();
        misuse::check(free == self.blocks(), TWICE, core::ptr::from_ref(self).addr());
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

    /// The index.
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
        // SAFETY: `make` wrote `words` words behind the header, and the caller promises that this
        // is one of them.
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

/// What is said of a block that was freed more often than allocated.
pub(super) const TWICE: &str = "a block of a bit-set allocator was freed twice";
/// What is said of a block that this allocator did not allocate, or not with that layout.
pub(super) const FOREIGN: &str = "a block was freed that is none of this bit-set allocator's";

/// A list of regions, linked both ways through one of their links.
pub(super) struct List {
    head: Cell<*mut Region>,
}

impl List {
    pub(super) const fn new() -> Self {
        Self { head: Cell::new(null_mut()) }
    }

    pub(super) fn clear(&self) {
        self.head.set(null_mut());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.head.get().is_null()
    }

    /// The region that was put here last.
    #[inline]
    pub(super) fn first(&self) -> Option<&Region> {
        // SAFETY: What is on the list is held, as the callers of `push` see to.
        NonNull::new(self.head.get()).map(|region| unsafe { region.as_ref() })
    }

    /// # Safety
    /// `region` is held and on no list of these links, and what is on this list is held.
    pub(super) unsafe fn push(&self, region: &Region, links: impl Fn(&Region) -> &Links) {
        let head = self.head.replace(region.pointer());
        links(region).before.set(null_mut());
        links(region).behind.set(head);
        if let Some(head) = NonNull::new(head) {
            // SAFETY: The head is on the list, so it is held.
            links(unsafe { head.as_ref() }).before.set(region.pointer());
        }
    }

    /// # Safety
    /// `region` is on this list, by these links, and what is on this list is held.
    pub(super) unsafe fn remove(&self, region: &Region, links: impl Fn(&Region) -> &Links) {
        let (before, behind) = (links(region).before.get(), links(region).behind.get());
        match NonNull::new(before) {
            // SAFETY: A neighbour on the list is held.
            Some(before) => links(unsafe { before.as_ref() }).behind.set(behind),
            None => {
                let is_first = self.head.get() == region.pointer();
                misuse::check(is_first, FOREIGN, core::ptr::from_ref(region).addr());
                self.head.set(behind);
            }
        }
        if let Some(behind) = NonNull::new(behind) {
            // SAFETY: A neighbour on the list is held.
            links(unsafe { behind.as_ref() }).before.set(before);
        }
    }

    /// The regions from the newest on, while the caller keeps them held. One that was passed may
    /// leave the list.
    pub(super) fn iter<'a>(
        &'a self,
        links: impl Fn(&Region) -> &Links + 'a,
    ) -> impl Iterator<Item = &'a Region> + 'a {
        let mut next = self.head.get();
        core::iter::from_fn(move || {
            // SAFETY: What is on the list is held, as `push`'s callers see to, and nobody releases
            // it meanwhile.
            let region = unsafe { NonNull::new(next)?.as_ref() };
            next = links(region).behind.get();
            Some(region)
        })
    }
}

#[cfg(all(test, feature = "std", not(loom)))]
mod tests {
    use super::BITS;
    use crate::alloc::{Allocator, BitSetAllocator};
    use crate::layout::NonZeroLayout;
    use crate::source::MmapSource;

    /// A run that ends in the next word is as long as that word lets it be.
    #[test]
    fn a_word_that_is_taken_shortens_the_run_before_it() {
        let allocator = BitSetAllocator::<_>::new(MmapSource::new());
        let _first = allocator.allocate(NonZeroLayout::from_size_align(64, 8).unwrap());
        let region = allocator.regions().next().unwrap();
        let word = region.map().bits.0.len() - 2;
        region.map().take(word * BITS, BITS - 4);
        assert_eq!(usize::from(region.map().longest[word].get()), BITS);
        assert_eq!(region.take_word(word + 1), u64::MAX);
        assert_eq!(region.map().longest[word].get(), 4);
        // As they were, for the allocator to be dropped.
        region.map().give_word(word + 1, u64::MAX);
        assert!(region.map().give(word * BITS, BITS - 4));
    }
}
