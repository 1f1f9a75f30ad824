//! What a free block says about itself: the only place that reads and writes the words inside free
//! blocks.
//!
//! A live block has no header. A free one uses its own memory, `W` being a word of the machine:
//!
//! ```text
//!   one granule (16 bytes)     in a list                            in a tree
//!   +------+----------+ +------+------+------+-+------+  +------+------+-------+--------+-+------+
//!   | next | prev | 1 | | next | size | prev | | size |  | left | size | right | parent | | size |
//!   +------+----------+ +------+------+------+-+------+  +------+------+-------+--------+-+------+
//!   0      W            0      W      2W       -W        0      W      2W      3W         -W
//! ```
//!
//! Always: the second word and the last word of a free block tell its size, in the same way: an odd
//! one means one granule, an even one is the size in bytes. In a block of one granule they are the
//! same word, which also holds a link; sizes and links are multiples of 16 and so leave the lowest
//! bit free. (Where a granule holds four words, on a 32-bit machine, it is as any other block.) So
//! the size of a free neighbour is one load away, above and below.
//!
//! The colour of a tree's node is the lowest bit of its parent's link. Behind the words of a free
//! block in a tree (not of a span's header) lies one more, which says from which address on the
//! block is *clean*: all zero, up to its last word.

use core::ptr::{NonNull, null_mut, without_provenance_mut};

use memoffset::offset_of;

use crate::ptr;

/// What every block's address and size is a multiple of, in bytes.
pub(super) const GRANULE: usize = 16;

const WORD: usize = size_of::<usize>();

/// The words of a free block, as far as all of them are there.
#[repr(C)]
struct Words {
    /// The next in the list, or the left child.
    first: *mut Words,
    /// The size, or in a block of one granule the one before in the list and a mark.
    second: *mut Words,
    /// The one before in the list, or the right child.
    third: *mut Words,
    /// The parent and the colour.
    parent: *mut Words,
}

const _: () = assert!(offset_of!(Words, second) + WORD <= GRANULE, "a granule holds two words");
const _: () = assert!(align_of::<Words>() <= GRANULE && size_of::<Words>() + WORD <= TREE_MIN);
const _: () =
    assert!(offset_of!(Words, third) == 2 * offset_of!(Words, second), "children are two words apart");

/// The smallest block in bytes that may be in a tree.
pub(super) const TREE_MIN: usize = 4 * GRANULE;

/// Whether a block of `size` bytes has no word for its size alone.
#[inline(always)]
const fn is_marked(size: usize) -> bool {
    size < size_of::<Words>()
}

/// The size that the second or the last word of a free block tells.
#[inline(always)]
fn told(word: *mut Words) -> usize {
    if word.addr() & 1 == 1 { GRANULE } else { word.addr() }
}

/// A free block, or a link to one.
///
/// Who makes one vouches for its memory until it is last used: that it is a free block of one of
/// the three shapes above, or is about to become one, which nobody else accesses. The methods rely
/// on that and are therefore safe.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub(super) struct Block(NonNull<Words>);

pub(super) type Link = Option<Block>;

#[inline(always)]
fn link(words: *mut Words) -> Link {
    NonNull::new(words).map(Block)
}

#[inline(always)]
fn words(link: Link) -> *mut Words {
    match link {
        Some(block) => block.0.as_ptr(),
        None => null_mut(),
    }
}

macro_rules! field {
    ($get:ident, $set:ident, $field:ident) => {
        #[inline(always)]
        fn $get(self) -> *mut Words {
            // SAFETY: The block is free and has this word, as its maker vouches; it is aligned to a
            // granule.
            unsafe { (*self.0.as_ptr()).$field }
        }

        #[inline(always)]
        fn $set(self, value: *mut Words) {
            // SAFETY: As for reading; nobody else accesses the block.
            unsafe { (*self.0.as_ptr()).$field = value }
        }
    };
}

impl Block {
    field!(first, set_first, first);
    field!(second, set_second, second);
    field!(third, set_third, third);
    field!(parent_word, set_parent_word, parent);

    /// The block at `start`.
    ///
    /// # Safety
    /// `start` is not null and a multiple of [`GRANULE`], the memory is a free block or will be one
    /// before anything is read from it, and nobody else accesses it while the result, or a copy of
    /// it, is used. The pointer may access the whole block.
    #[inline(always)]
    pub(super) unsafe fn at(start: *mut u8) -> Self {
        debug_assert!(start.addr().is_multiple_of(GRANULE));
        // SAFETY: The caller promises that it is not null.
        Self(unsafe { NonNull::new_unchecked(start.cast()) })
    }

    #[inline(always)]
    pub(super) fn address(self) -> usize {
        self.0.addr().get()
    }

    /// Where it starts, as a pointer that is not null.
    #[inline(always)]
    pub(super) fn header(self) -> NonNull<u8> {
        self.0.cast()
    }

    #[inline(always)]
    pub(super) fn start(self) -> *mut u8 {
        self.0.as_ptr().cast()
    }

    /// The size of the block in bytes.
    #[inline(always)]
    pub(super) fn size(self) -> usize {
        told(self.second())
    }

    /// The size of the free block that ends at `end`.
    ///
    /// # Safety
    /// A free block ends at `end`, and the pointer may access it.
    #[inline(always)]
    pub(super) unsafe fn size_below(end: *mut u8) -> usize {
        // SAFETY: The last word of the block, which nobody else accesses.
        told(unsafe { ptr::down(end, WORD).cast::<*mut Words>().read() })
    }

    /// Writes the size at both ends. (The words of a block of one granule are written when it
    /// enters a list.)
    #[inline(always)]
    fn set_size(self, size: usize) {
        debug_assert!(size.is_multiple_of(GRANULE) && size > 0);
        if is_marked(size) {
            return;
        }
        let word = without_provenance_mut(size);
        self.set_second(word);
        // SAFETY: The last word of the block, which is `size` bytes and nobody else's.
        unsafe { ptr::up(self.start(), size - WORD).cast::<*mut Words>().write(word) };
    }
}

/// In a list of blocks of one size.
impl Block {
    /// Makes it the first of a list that began with `next`.
    #[inline(always)]
    pub(super) fn enter_list(self, size: usize, next: Link) {
        self.set_size(size);
        self.set_first(words(next));
        // The first one's link to the one before is only written once there is one.
        if is_marked(size) {
            self.set_second(without_provenance_mut(1));
        }
        if let Some(next) = next {
            next.set_previous(size, self);
        }
    }

    #[inline(always)]
    pub(super) fn next(self) -> Link {
        link(self.first())
    }

    #[inline(always)]
    pub(super) fn set_next(self, next: Link) {
        self.set_first(words(next));
    }

    /// The one before it, which must be there: the first of a list does not know that it is the
    /// first.
    #[inline(always)]
    pub(super) fn previous(self, size: usize) -> Link {
        let word = if is_marked(size) { self.second() } else { self.third() };
        link(ptr::untagged(word, 1))
    }

    #[inline(always)]
    pub(super) fn set_previous(self, size: usize, previous: Block) {
        let word = previous.0.as_ptr();
        if is_marked(size) { self.set_second(ptr::tagged(word, 1)) } else { self.set_third(word) }
    }
}

/// What [`clean_from`](Block::clean_from) is where nothing is known to be zero.
pub(super) const DIRTY: usize = usize::MAX;

/// The bytes at the start of a free block in a tree that its words take.
pub(super) const WORDS: usize = (size_of::<Words>() + WORD).next_multiple_of(GRANULE);
const _: () = assert!(WORDS + WORD <= TREE_MIN);

/// What is known to be zero of a free block in a tree.
impl Block {
    fn clean_place(self) -> *mut usize {
        ptr::up(self.0.as_ptr(), size_of::<Words>()).cast()
    }

    /// From this address on the block is zero, but for its last word.
    pub(super) fn clean_from(self) -> usize {
        // SAFETY: The word behind those of the node, which `set_clean_from` wrote when it entered
        // the tree.
        unsafe { self.clean_place().read() }
    }

    /// Says from which address on the block is zero, behind its words.
    pub(super) fn set_clean_from(self, address: usize) {
        debug_assert!(address >= self.address() + WORDS);
        // SAFETY: The word behind those of the node; nobody else accesses the block.
        unsafe { self.clean_place().write(address) };
    }
}

/// In a tree.
impl Block {
    /// Makes it a red leaf below `parent`.
    #[inline(always)]
    pub(super) fn enter_tree(self, size: usize, parent: Link) {
        self.set_size(size);
        self.become_leaf(parent);
    }

    /// As `enter_tree`, for a node that has its key already.
    #[inline(always)]
    pub(super) fn become_leaf(self, parent: Link) {
        self.set_first(null_mut());
        self.set_third(null_mut());
        self.set_parent_word(ptr::tagged(words(parent), 1));
    }

    /// Writes the key of a node that is no free block: a span's header, which has no last word.
    #[inline(always)]
    pub(super) fn set_key(self, size: usize) {
        self.set_second(without_provenance_mut(size));
    }

    /// The size as a key; a node of a tree is more than one granule.
    #[inline(always)]
    pub(super) fn key(self) -> usize {
        self.second().addr()
    }

    /// Where the child on a side is linked: `false` is left, `true` right.
    #[inline(always)]
    fn child_place(self, right: bool) -> *mut *mut Words {
        ptr::up(self.0.as_ptr(), usize::from(right) * offset_of!(Words, third)).cast()
    }

    #[inline(always)]
    pub(super) fn child(self, right: bool) -> Link {
        // SAFETY: The first or third word of the node, as its maker vouches.
        link(unsafe { self.child_place(right).read() })
    }

    #[inline(always)]
    pub(super) fn set_child(self, right: bool, child: Link) {
        // SAFETY: As for reading; nobody else accesses the node.
        unsafe { self.child_place(right).write(words(child)) }
    }

    #[inline(always)]
    pub(super) fn parent(self) -> Link {
        link(ptr::untagged(self.parent_word(), 1))
    }

    /// Links to another parent; the colour stays.
    #[inline(always)]
    pub(super) fn set_parent(self, parent: Link) {
        let colour = self.parent_word().addr() & 1;
        self.set_parent_word(words(parent).map_addr(|address| address | colour));
    }

    #[inline(always)]
    pub(super) fn is_red(self) -> bool {
        self.parent_word().addr() & 1 == 1
    }

    #[inline(always)]
    pub(super) fn set_red(self, red: bool) {
        self.set_parent_word(self.parent_word().map_addr(|address| address & !1 | usize::from(red)));
    }

    /// Takes parent and colour of `other`.
    #[inline(always)]
    pub(super) fn copy_parent_and_colour(self, other: Block) {
        self.set_parent_word(other.parent_word());
    }
}

/// Makes a block zero from `from` bytes on, up to the address `to`, and its last granule as far as
/// that lies behind `from`.
///
/// # Safety
/// Those bytes of the block are writable, and nobody else accesses them; `to` lies in the block, or
/// behind it, not before `from`.
pub(super) unsafe fn zero_up_to(block: NonNull<[u8]>, from: usize, to: usize) {
    let start = block.cast::<u8>().as_ptr();
    let last = from.max(block.len() - GRANULE);
    // SAFETY: The bytes from `from` up to `to` are the block's, and the caller's.
    unsafe { ptr::up(start, from).write_bytes(0, to - start.addr() - from) };
    // SAFETY: The bytes from `last` to the end are, likewise.
    unsafe { ptr::up(start, last).write_bytes(0, block.len() - last) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use memoffset::span_of;

    #[test]
    fn the_words_lie_where_the_drawing_says() {
        assert_eq!(span_of!(Words, first..=second), 0..2 * WORD);
        assert_eq!(span_of!(Words, third), 2 * WORD..3 * WORD);
        assert_eq!(span_of!(Words, parent), 3 * WORD..4 * WORD);
        assert!(
            span_of!(Words, ..third).end <= 2 * GRANULE - WORD,
            "a list's words reach into the last word"
        );
    }
}
