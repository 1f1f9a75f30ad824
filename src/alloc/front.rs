//! The part of an allocator that a thread keeps in its own static storage.
//!
//! What is there costs neither a pointer to find it nor a test whether it was made: an allocation
//! pops a list whose address is known when the program is linked, and a list that is empty, not yet
//! filled, or closed looks the same.

use core::ptr::NonNull;

/// What a [`LocalAllocator`](super::LocalAllocator) keeps near the thread that uses it, if it
/// serves the thread tier.
///
/// An allocator *uses* a front from the first time that one of its methods is given it, until
/// [`leave`](super::LocalAllocator::leave). Meanwhile no other allocator uses that front, the
/// allocator uses no other, and it is neither dropped nor reset, recycled, trimmed or asked for its
/// live blocks; nor does it allocate or free but through the front.
///
/// # Safety
/// For the implementor:
/// - A block that [`pop`](Self::pop) gives was put there by the allocator that uses the front, and
///   is given once.
/// - [`push`](Self::push) takes a block only if it belongs to that allocator.
/// - While the front is closed, `pop` gives nothing.
/// - None of the methods unwinds.
pub unsafe trait Front: 'static {
    /// Whether there is anything in it.
    const PRESENT: bool;

    /// A front that nobody uses, closed.
    const EMPTY: Self;

    /// Opens or closes it for [`pop`](Self::pop).
    fn open(&self, open: bool);

    /// Takes a block of at least `size` bytes at a multiple of `align`, a power of two, if one is
    /// at hand for a size and an alignment that are common; null otherwise, and for no bytes.
    ///
    /// # Safety
    /// The front was used as is said [above](Self).
    unsafe fn pop(&self, size: usize, align: usize) -> *mut u8;

    /// Whether [`push`](Self::push) would take the block.
    fn knows(&self, block: NonNull<u8>) -> bool;

    /// Gives a block back, if it can be told in a few instructions that it belongs to the allocator
    /// that uses the front.
    ///
    /// # Safety
    /// The front was used as is said [above](Self). The block is allocated, by whichever allocator.
    /// Where the answer is not [`Pushed::Elsewhere`], the caller gave it up.
    unsafe fn push(&self, block: NonNull<u8>) -> Pushed;
}

/// What became of a block in [`Front::push`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It was taken.
    Taken,
    /// It was taken, and the allocator is to be told:
    /// [`LocalAllocator::tell`](super::LocalAllocator::tell) with what is inside.
    Tell(NonNull<()>),
    /// It was not.
    Elsewhere,
}

/// In place of a front: the allocator keeps nothing near its thread.
#[derive(Clone, Copy, Debug)]
pub struct NoFront;

// SAFETY: It gives and takes nothing.
unsafe impl Front for NoFront {
    const PRESENT: bool = false;
    const EMPTY: Self = Self;

    #[inline(always)]
    fn open(&self, _open: bool) {}

    #[inline(always)]
    unsafe fn pop(&self, _size: usize, _align: usize) -> *mut u8 {
        core::ptr::null_mut()
    }

    #[inline(always)]
    fn knows(&self, _block: NonNull<u8>) -> bool {
        false
    }

    #[inline(always)]
    unsafe fn push(&self, _block: NonNull<u8>) -> Pushed {
        Pushed::Elsewhere
    }
}
