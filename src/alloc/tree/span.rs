//! A span: one region, or several that lie one behind the other, with the bitmap of its free edges.
//!
//! ```text
//!   span (`len` bytes)
//!   +--------+--------+--------+---------------------------------------------------------+
//!   | header | pieces | bitmap |  blocks, live and free                                  |
//!   +--------+--------+--------+---------------------------------------------------------+
//!   0        HEADER            base                                        base + usable   len
//!
//!   granules   ... live | free . . . . . . free | live | live | free | live ...
//!   bitmap          0   |   1  0 0 0 0 0 0   1  |  0   |  0   |   1  |  0
//! ```
//!
//! The bitmap has one bit for each granule of 16 bytes from the header on, and at least one more, a
//! word for each KiB of addresses, so that word and bit follow from the address alone: the bit is
//! set if the granule is the first or the last of a free block. So the block behind `end` is free
//! if and only if the bit of the granule at `end` is set, and the block before `start` if and only
//! if the bit before is; no test for the ends of the span is needed, since the bits of header and
//! bitmap and those beyond the end are never set. That is 1/128 of the memory, and live blocks need
//! no header.
//!
//! Pieces and bitmap (together the *index*) lie behind the header or, once a region was joined
//! above the others, at the very end. Always: what is neither header nor index is one range, of
//! `usable` bytes from `base` on, that blocks fill without a gap; no two free blocks are
//! neighbours; `used` is the bytes of its live blocks, without those that wait.

use core::ptr::NonNull;

use super::block::{Block, GRANULE};
use crate::layout::round_up;
use crate::misuse::check;
use crate::ptr;

/// What a span begins with.
#[repr(C, align(16))]
struct Header {
    /// Four words as a node of the tree of spans, by address.
    node: [*mut u8; 4],
    len: usize,
    usable: usize,
    /// Bytes from the header to `base`.
    base: usize,
    /// Bytes from the header to the index.
    index: usize,
    pieces: usize,
    bitmap: Edges,
    /// Bytes of live blocks.
    used: usize,
    keep: Keep,
}

/// The bitmap of the free edges of a span, as a pointer to where the word for address 0 would be.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct Edges(*mut u64);

impl Edges {
    /// The bitmap that begins at `first`, of a span at `address`.
    fn new(first: *mut u64, address: usize) -> Self {
        Self(ptr::down(first, address / WORD_RANGE * 8))
    }

    /// The word with the bit for a granule, and the bit.
    #[inline(always)]
    fn place(self, address: usize) -> (*mut u64, u64) {
        (ptr::up(self.0, address / WORD_RANGE * 8), 1 << (address / GRANULE % WORD_BITS))
    }

    /// Whether the granule at `address`, in the span or right behind it, is the first or last of a
    /// free block.
    #[inline(always)]
    pub(super) fn has(self, address: usize) -> bool {
        let (word, bit) = self.place(address);
        // SAFETY: The bitmap has a bit for each granule of the span and one more.
        unsafe { word.read() & bit != 0 }
    }

    #[inline(always)]
    pub(super) fn set(self, address: usize) {
        let (word, bit) = self.place(address);
        // SAFETY: As in `has`; the bitmap is the allocator's alone.
        let old = unsafe { word.read() };
        // SAFETY: Likewise.
        unsafe { word.write(old | bit) };
    }

    #[inline(always)]
    pub(super) fn clear(self, address: usize) {
        let (word, bit) = self.place(address);
        // SAFETY: As in `has`; the bitmap is the allocator's alone.
        let old = unsafe { word.read() };
        // SAFETY: Likewise.
        unsafe { word.write(old & !bit) };
    }
}

/// What becomes of a span of which no block is live, by how it was obtained.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// Released: it was obtained for one request, which nearly filled it.
    Never,
    /// Kept, if it is the only one and not large by comparison.
    IfModerate,
    /// Kept, if it is the only one: the source gave far more than it was asked for, so it would
    /// give the same again.
    Alone,
}

/// A region as the source returned it.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
pub(super) struct Piece {
    pub(super) start: NonNull<u8>,
    pub(super) len: usize,
}

const HEADER: usize = size_of::<Header>();
const PIECE: usize = size_of::<Piece>();
const WORD_BITS: usize = u64::BITS as usize;
/// Bytes of memory that a word of the bitmap stands for.
const WORD_RANGE: usize = WORD_BITS * GRANULE;
const _: () = assert!(HEADER.is_multiple_of(GRANULE) && PIECE.is_multiple_of(GRANULE));
const _: () = assert!(memoffset::offset_of!(Header, node) == 0);

/// What regions are asked to be aligned to.
pub(super) const REGION_ALIGN: usize = GRANULE;

/// Bytes of the index of a span of `len` bytes in `pieces` pieces, a multiple of [`GRANULE`].
const fn index_bytes(len: usize, pieces: usize) -> usize {
    pieces * PIECE + (words(len) * 8).next_multiple_of(GRANULE)
}

/// Words of the bitmap of a span of `len` bytes, wherever it begins.
const fn words(len: usize) -> usize {
    len / WORD_RANGE + 2
}

/// Bytes of a region of `len` bytes at `start` in whole granules; `start` is a multiple of them.
///
/// A region may end with the address space. The last granule is left out then, since the bit behind
/// a span is looked at, and what is behind that region has no address.
pub(super) const fn whole_granules(start: usize, len: usize) -> usize {
    let whole = len & !(GRANULE - 1);
    if start.wrapping_add(whole) == 0 { whole - GRANULE } else { whole }
}

/// Bytes that a region needs for one block of `size` bytes; `None` where there are not so many.
pub(super) fn needed(size: usize) -> Option<usize> {
    // The bitmap of `n` bytes takes at most n / 128 + 32 bytes, so n = (size + fixed) * 128 / 127
    // is enough.
    let fixed = size.checked_add(HEADER + PIECE + 3 * GRANULE)?;
    round_up(fixed.checked_add(fixed / 127 + 1)?, GRANULE)
}

/// A span that is held.
///
/// Who makes one vouches that its header is there until it is last used; the methods rely on that
/// and are therefore safe.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Span(NonNull<Header>);

macro_rules! field {
    ($get:ident, $type:ty) => {
        #[inline(always)]
        pub(super) fn $get(self) -> $type {
            // SAFETY: The header is there and nobody else writes it, as the maker vouches.
            unsafe { (*self.0.as_ptr()).$get }
        }
    };
}

impl Span {
    field!(len, usize);
    field!(usable, usize);
    field!(base, usize);
    field!(index, usize);
    field!(pieces, usize);
    field!(bitmap, Edges);
    field!(used, usize);
    field!(keep, Keep);

    /// The span whose header is at `node`.
    ///
    /// # Safety
    /// It is the node of a span that is held, until the result was last used.
    #[inline(always)]
    pub(super) unsafe fn of_node(node: Block) -> Self {
        // SAFETY: A block's address is not null.
        Self(unsafe { NonNull::new_unchecked(node.start().cast()) })
    }

    /// The span whose header is at `header`.
    ///
    /// # Safety
    /// As [`of_node`](Self::of_node).
    #[inline(always)]
    pub(super) unsafe fn of_header(header: NonNull<u8>) -> Self {
        Self(header.cast())
    }

    /// The node in the tree of spans.
    #[inline(always)]
    pub(super) fn node(self) -> Block {
        // SAFETY: The first words of the header, which is aligned to a granule and stays as long as
        // the span is used.
        unsafe { Block::at(self.0.as_ptr().cast()) }
    }

    /// Makes a span of one region, all of which is free but in no list yet; `None` where the region
    /// has no room for a block.
    ///
    /// # Safety
    /// The region is the caller's, starts at a multiple of [`REGION_ALIGN`], and, with `zeroed`, is
    /// zero.
    pub(super) unsafe fn new(region: NonNull<[u8]>, keep: Keep, zeroed: bool) -> Option<Self> {
        let start = region.cast::<u8>();
        let len = whole_granules(start.addr().get(), region.len());
        let index = index_bytes(len, 1);
        let usable = len.checked_sub(HEADER + index).filter(|&usable| usable > 0)?;
        let base = HEADER + index;
        let bitmap = Edges::new(ptr::up(start.as_ptr(), HEADER + PIECE).cast(), start.addr().get());
        let node = [core::ptr::null_mut(); 4];
        let header = Header { node, len, usable, base, index: HEADER, pieces: 1, bitmap, used: 0, keep };
        // SAFETY: The region has room for the header and is aligned for it, and is the caller's.
        unsafe { start.cast::<Header>().write(header) };
        let span = Self(start.cast());
        span.node().set_key(0);
        let record = span.pointer(span.address() + HEADER).cast::<Piece>();
        // SAFETY: The first record lies behind the header, in the region.
        unsafe { record.write(Piece { start, len: region.len() }) };
        if !zeroed {
            span.clear_bits();
        }
        Some(span)
    }

    #[inline(always)]
    pub(super) fn address(self) -> usize {
        self.0.addr().get()
    }

    /// A pointer to an address in the span, which may access all of it.
    #[inline(always)]
    pub(super) fn pointer(self, address: usize) -> *mut u8 {
        debug_assert!(address - self.address() <= self.len());
        ptr::at(self.0.as_ptr().cast(), address)
    }

    /// The block at an address in the span.
    #[inline(always)]
    pub(super) fn block(self, address: usize) -> NonNull<u8> {
        // SAFETY: An address inside a region is not null.
        unsafe { NonNull::new_unchecked(self.pointer(address)) }
    }

    /// Whether the address lies in the span.
    #[inline(always)]
    pub(super) fn contains(self, address: usize) -> bool {
        address.wrapping_sub(self.address()) < self.len()
    }

    /// The address of the first block.
    pub(super) fn first_block(self) -> usize {
        self.address() + self.base()
    }

    /// The regions of the span. The last of them is the one that the index lie in; the header is
    /// not read again.
    pub(super) fn regions(self) -> impl Iterator<Item = Piece> {
        let (index, pieces) = (self.address() + self.index(), self.pieces());
        // SAFETY: The index begin with a record for each piece.
        let home = unsafe { self.pointer(index).cast::<Piece>().read() };
        let records = ptr::at(home.start.as_ptr(), index).cast::<Piece>();
        // SAFETY: As above; the home, whose record comes first, is last, so that the records are
        // there until then.
        let record = move |number| unsafe { ptr::up(records, number * PIECE).read() };
        (1..pieces).map(record).chain(core::iter::once(home))
    }

    /// Makes every block live.
    pub(super) fn clear_bits(self) {
        let (first, _) = self.bitmap().place(self.address());
        // SAFETY: The bitmap has so many words.
        unsafe { first.write_bytes(0, words(self.len())) };
    }

    #[inline(always)]
    fn set_used(self, bytes: usize) {
        debug_assert!(bytes <= self.usable());
        // SAFETY: The header is there and nobody else accesses it, as the maker vouches.
        unsafe { (*self.0.as_ptr()).used = bytes }
    }

    /// Counts a block as live.
    #[inline(always)]
    pub(super) fn add_used(self, size: usize) {
        self.set_used(self.used() + size);
    }

    /// Counts a block as live no more; says whether that was the last.
    #[inline(always)]
    pub(super) fn sub_used(self, size: usize) -> bool {
        let left = self.used().wrapping_sub(size);
        if cfg!(debug_assertions) {
            check(left <= self.usable(), "a block was freed twice", self.address());
        }
        self.set_used(left);
        self.is_unused()
    }

    /// Counts no block as live.
    pub(super) fn clear_used(self) {
        self.set_used(0);
    }

    /// Whether no block is live.
    #[inline(always)]
    pub(super) fn is_unused(self) -> bool {
        self.used() == 0
    }
}

/// Joining; see [`join`](super::join) for the drawing.
impl Span {
    /// Bytes of a new region that header and index of the joined span would take.
    pub(super) fn bytes_to_join(self, len: usize) -> usize {
        HEADER + index_bytes(self.len() + len, self.pieces() + 1)
    }

    /// The ranges that the index, and for a span that is joined from below the header, leave
    /// behind.
    pub(super) fn left_behind(self, with_header: bool) -> [(usize, usize); 2] {
        let header = (self.address(), self.address() + HEADER);
        let index = self.address() + self.index();
        let index = (index, index + index_bytes(self.len(), self.pieces()));
        if with_header { [header, index] } else { [index, (0, 0)] }
    }

    /// Writes index for this span and `home`, a region of which `len` bytes are used and in which
    /// the new index lie, `index` bytes from its start; `address` is where the new span begins.
    /// Returns the new bitmap.
    ///
    /// # Safety
    /// The index lie in `home`, which nobody uses and which, with `zeroed`, is zero.
    unsafe fn write_index(
        self,
        home: Piece,
        index: usize,
        len: usize,
        address: usize,
        zeroed: bool,
    ) -> Edges {
        let records = ptr::up(home.start.as_ptr(), index).cast::<Piece>();
        // SAFETY: The place is the caller's, and large enough.
        unsafe { records.write(home) };
        for (number, piece) in (1..).zip(self.regions()) {
            // SAFETY: Likewise: the index have a record more than this span has pieces.
            unsafe { ptr::up(records, number * PIECE).write(piece) };
        }
        let first = ptr::up(records, (self.pieces() + 1) * PIECE).cast::<u64>();
        if !zeroed {
            // SAFETY: Likewise.
            unsafe { first.write_bytes(0, words(self.len() + len)) };
        }
        let (old, new) = (self.bitmap(), Edges::new(first, address));
        // A word is for the same addresses in both.
        let (from, _) = old.place(self.address());
        let (to, _) = new.place(self.address());
        let count = (self.address() + self.len()) / WORD_RANGE - self.address() / WORD_RANGE + 1;
        // SAFETY: Both bitmaps have the words for this span's addresses, and lie in different
        // regions.
        unsafe { to.copy_from_nonoverlapping(from, count) };
        new
    }

    /// Joins a region that begins where this span ends; returns the range of it that blocks may
    /// use.
    ///
    /// # Safety
    /// Nobody uses the region, of which the first `len` bytes, whole granules and enough for the
    /// index, are joined; with `zeroed` it is zero; a pointer into either may access the other.
    pub(super) unsafe fn join_above(self, region: Piece, len: usize, zeroed: bool) -> (usize, usize) {
        let (total, pieces) = (self.len() + len, self.pieces() + 1);
        let bytes = index_bytes(total, pieces);
        // SAFETY: The caller's promises; the index take the end of the region.
        let bitmap = unsafe { self.write_index(region, len - bytes, len, self.address(), zeroed) };
        let start = self.address() + self.len();
        let node = self.node_words();
        let usable = total - HEADER - bytes;
        let header = Header {
            node,
            len: total,
            usable,
            base: HEADER,
            index: total - bytes,
            pieces,
            bitmap,
            used: self.used(),
            keep: Keep::IfModerate,
        };
        // SAFETY: The header is there, and nobody else uses it.
        unsafe { self.0.write(header) };
        (start, start + len - bytes)
    }

    /// Joins a region that ends where this span begins; returns the new span, and the range of the
    /// region that blocks may use.
    ///
    /// # Safety
    /// As [`join_above`](Self::join_above); this span is not used as one any more.
    pub(super) unsafe fn join_below(self, region: Piece, len: usize, zeroed: bool) -> (Self, (usize, usize)) {
        let (total, pieces) = (self.len() + len, self.pieces() + 1);
        let bytes = index_bytes(total, pieces);
        // SAFETY: The caller's promises; the index lie behind the header.
        let bitmap = unsafe { self.write_index(region, HEADER, len, region.start.addr().get(), zeroed) };
        let (usable, base) = (total - HEADER - bytes, HEADER + bytes);
        let node = self.node_words();
        let header = Header {
            node,
            len: total,
            usable,
            base,
            index: HEADER,
            pieces,
            bitmap,
            used: self.used(),
            keep: Keep::IfModerate,
        };
        let joined = Self(region.start.cast());
        // SAFETY: The region has room for the header and is aligned for it, and nobody uses it.
        unsafe { joined.0.write(header) };
        (joined, (joined.first_block(), self.address()))
    }

    fn node_words(self) -> [*mut u8; 4] {
        // SAFETY: The header is there and nobody else writes it.
        unsafe { (*self.0.as_ptr()).node }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_that_ends_with_the_address_space_has_a_bit_behind_it() {
        let top = usize::MAX - 65_535;
        for len in [4096, 65_520, 65_535, 65_536] {
            let whole = whole_granules(top, len);
            // Both the end and the granule behind it have addresses, and the bitmap a word for
            // them.
            let behind =
                top.checked_add(whole).and_then(|end| end.checked_add(GRANULE - 1)).expect("an address");
            assert!(behind / WORD_RANGE - top / WORD_RANGE < words(whole));
            assert!(whole + 2 * GRANULE > len && whole.is_multiple_of(GRANULE));
        }
        assert_eq!((whole_granules(top, 65_536), whole_granules(top, 65_535)), (65_520, 65_520));
        assert_eq!((whole_granules(top, 65_519), whole_granules(4096, 4096)), (65_504, 4096));
    }
}
