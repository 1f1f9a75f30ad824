//! The free blocks of a slab, which a sweep may look at while the slab's thread pushes more.
//!
//! ```text
//!   head --> | next | --> | next | --> | next | --> null
//!            pushed       the first    |
//!            meanwhile    of the sweep '-- the sweep may take these out
//! ```
//!
//! One thread pushes, by plain stores in all but name: the head is stored with Release, so that a
//! sweep which loads it with Acquire can follow the links. A push writes the link of the block that
//! it pushes, and reads no other. So the links behind the first block that the sweep saw are the
//! sweep's to change, until the slab's thread takes the list; a lock orders that behind the sweep.
//!
//! Always: a block is on the list once, from its push until the list is taken or the sweep takes it
//! out.

use core::ptr::{NonNull, null_mut};

use super::atomic::AtomicPtr;
use super::atomic::Ordering::{Acquire, Relaxed, Release};
use super::const_fn;

/// What a free block begins with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FreeBlock {
    pub(crate) next: *mut FreeBlock,
}

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct FreeList {
    head: AtomicPtr<FreeBlock>,
}

impl FreeList {
    const_fn! {
        /// An empty list.
        pub(crate) fn new() -> Self {
            Self { head: AtomicPtr::new(null_mut()) }
        }
    }

    /// The first block: exactly for the slab's thread, when it looked for a sweep.
    #[inline(always)]
    pub(crate) fn first(&self) -> *mut FreeBlock {
        self.head.load(Relaxed)
    }

    /// Makes `first` the first block: the slab's thread, while no sweep holds the slab.
    #[inline(always)]
    pub(crate) fn set(&self, first: *mut FreeBlock) {
        self.head.store(first, Relaxed);
    }

    /// Takes all blocks: the slab's thread, while no sweep holds the slab.
    #[inline(always)]
    pub(crate) fn take(&self) -> *mut FreeBlock {
        let first = self.first();
        self.set(null_mut());
        first
    }

    /// Pushes a block: the slab's thread, at any time.
    ///
    /// # Safety
    /// The block is the caller's, which gives it up, and has room for a [`FreeBlock`].
    #[inline(always)]
    pub(crate) unsafe fn push(&self, block: NonNull<FreeBlock>) {
        // SAFETY: The caller promises the same of a list of one block.
        unsafe { self.push_all(block, block) };
    }

    /// Pushes linked blocks, from the first to the last: the slab's thread, at any time.
    ///
    /// # Safety
    /// As [`push`](Self::push), for each.
    #[inline(always)]
    pub(crate) unsafe fn push_all(&self, first: NonNull<FreeBlock>, last: NonNull<FreeBlock>) {
        // SAFETY: The block is the caller's, and has room for the link.
        unsafe { last.write(FreeBlock { next: self.first() }) };
        self.head.store(first.as_ptr(), Release);
    }

    /// The blocks on the list, from the first on: a sweep that holds the slab, or a thread that has
    /// the slab to itself.
    ///
    /// # Safety
    /// Nobody takes the list while this is in use.
    pub(crate) unsafe fn blocks(&self) -> impl Iterator<Item = NonNull<FreeBlock>> {
        linked(self.head.load(Acquire))
    }

    /// The blocks from one on that [`blocks`](Self::blocks) gave.
    ///
    /// # Safety
    /// As `blocks`.
    #[cfg(feature = "std")]
    pub(crate) unsafe fn blocks_from(
        &self,
        first: NonNull<FreeBlock>,
    ) -> impl Iterator<Item = NonNull<FreeBlock>> {
        linked(first.as_ptr())
    }

    /// Has other linked blocks follow one that [`blocks`](Self::blocks) gave, instead of those
    /// behind it.
    ///
    /// # Safety
    /// As `blocks`, and the caller is the only one to change links; the blocks are free.
    pub(crate) unsafe fn end_with(&self, last: NonNull<FreeBlock>, behind: *mut FreeBlock) {
        // SAFETY: The block is free, and the caller alone changes its link: a push reads and writes
        // that of the block which it pushes.
        unsafe { last.write(FreeBlock { next: behind }) };
    }

    /// Takes the blocks behind one off the list; the first of them.
    ///
    /// # Safety
    /// As [`end_with`](Self::end_with), for a block that `blocks` gave.
    #[cfg(feature = "std")]
    pub(crate) unsafe fn cut_behind(&self, last: NonNull<FreeBlock>) -> *mut FreeBlock {
        // SAFETY: The block is free, and the caller alone changes its link.
        let behind = unsafe { last.read() }.next;
        // SAFETY: The caller promises the same.
        unsafe { self.end_with(last, null_mut()) };
        behind
    }

    /// Takes those of the blocks behind one off the list for which `leaves` says so.
    ///
    /// # Safety
    /// As [`end_with`](Self::end_with), for a block that `blocks` gave.
    #[cfg(feature = "std")]
    pub(crate) unsafe fn remove_behind(
        &self,
        first: NonNull<FreeBlock>,
        leaves: impl Fn(NonNull<FreeBlock>) -> bool,
    ) {
        let mut kept = first;
        // SAFETY: The block is free, and the caller alone changes its link.
        let mut behind = linked(unsafe { first.read() }.next).filter(|&block| !leaves(block));
        loop {
            let next = behind.next();
            let pointer = next.map_or(null_mut(), NonNull::as_ptr);
            // SAFETY: The block is free, and the links up to the next one that stays were read.
            unsafe { self.end_with(kept, pointer) };
            match next {
                Some(block) => kept = block,
                None => return,
            }
        }
    }
}

/// Linked blocks; the link of one is read before the block is given.
///
/// They are on a list, and stay on it.
fn linked(first: *mut FreeBlock) -> impl Iterator<Item = NonNull<FreeBlock>> {
    let mut next = first;
    core::iter::from_fn(move || {
        let block = NonNull::new(next)?;
        // SAFETY: What is on a list are free blocks with links, which the push that published them
        // wrote before; nobody takes them off meanwhile.
        next = unsafe { block.read() }.next;
        Some(block)
    })
}
