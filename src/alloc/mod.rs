//! Allocators: what cuts regions into blocks.
//!
//! Terms that every contract here uses:
//!
//! - A block is **currently allocated** by an allocator from the call (of `allocate`, `grow`,
//!   `shrink` or one of their kin) that returned it to the call that gives it back: a `deallocate`,
//!   or a `grow` or `shrink` that succeeded.
//! - A layout **fits** a block where its alignment is the one that was asked for, and its size lies
//!   between the size that was asked for and the length that was returned, in the last call that
//!   returned the block.

mod adaptor;
mod bit_set;
mod bump;
mod classes;
mod context;
mod local;
mod locked;
#[cfg(feature = "std")]
mod mmap;
mod resize;
#[cfg(feature = "std")]
mod sharded;
mod size_class;
mod slab;
mod thread_cache;
mod tree;

pub use adaptor::AllocatorAdaptor;
pub use bit_set::{BitSetAllocator, BlockCount, FixedBitSetAllocator};
pub use bump::{BumpAllocator, Checkpoint, Scope};
pub use context::{AllocatorFor, ContextAllocator, Lifetime, LivedAs, LongLived, MediumLived, ShortLived};
pub use local::{LocalAllocator, Window};
pub use locked::Locked;
#[cfg(feature = "std")]
pub use mmap::MmapAllocator;
pub(crate) use resize::{
    grow_or_move, in_place_or_elsewhere, relocate, relocate_apart, relocate_zeroed, shrink_or_move,
};
#[cfg(feature = "std")]
pub use sharded::{ShardCount, Sharded};
pub use size_class::SizeClassAllocator;
pub use slab::SlabAllocator;
#[cfg(feature = "std")]
#[doc(hidden)]
pub use slab::{Round, Swept};
#[cfg(feature = "std")]
pub(crate) use slab::{returned as slab_lists, sweep as slab_sweep};
pub use thread_cache::NoThreadCache;
#[doc(hidden)]
pub use thread_cache::{Pushed, ThreadCache, ThreadCacheFor};
pub use tree::{
    AdjoiningSource, KeepApart, MergeAdjacent, Merging, MultipleBinarySearchTreeAllocator, TreeCount,
};

use core::ptr::NonNull;

use crate::error::AllocError;
use crate::layout::NonZeroLayout;

/// An allocator of blocks; the base trait of every allocator here.
///
/// It never sees a request for no bytes: zero sizes are settled in the adaptors.
///
/// # Safety
/// For the implementor:
/// - A block that is returned is readable and writable, at least as large and as aligned as asked,
///   overlaps no other block that is currently allocated and nothing else that is live, and stays
///   so until it is given back or the allocator (with all its clones and borrows) is gone,
///   [reset](Reset) or taken back to a checkpoint. Moving the allocator does not move its blocks.
/// - A clone, where the type has them, is the same allocator: what one allocated, the other may
///   free. Safe code cannot reset it, or take it back, while another clone is there: collections
///   hold clones, and rely on theirs to keep their blocks.
/// - Each method that returns an error has changed nothing.
/// - No method unwinds, or allocates through Rust's global allocator (the adaptor for one
///   excepted).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an `Allocator` of context-allocator",
    label = "not an allocator of this library",
    note = "for a `GlobalAlloc` write `GlobalAllocToAllocatorAdaptor::new(&allocator)`, for an allocator of \
            allocator-api2 `AllocToAllocatorAdaptor::new(allocator)`"
)]
pub unsafe trait Allocator {
    /// Allocates a block of at least `layout.size()` bytes at a multiple of `layout.align()`; its
    /// real length is returned, its bytes are uninitialised.
    ///
    /// # Errors
    /// The reason why there is none.
    fn allocate(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, AllocError>;

    /// Gives a block back.
    ///
    /// # Safety
    /// `block` is currently allocated by this allocator and `layout` fits it (see the
    /// [module](self)).
    unsafe fn deallocate(&self, block: NonNull<u8>, layout: NonZeroLayout);

    /// As [`allocate`](Self::allocate), with every byte of the block zero.
    ///
    /// # Errors
    /// As `allocate`.
    fn allocate_zeroed(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, AllocError> {
        let block = self.allocate(layout)?;
        // SAFETY: The whole block was just allocated, so it is writable.
        unsafe { block.cast::<u8>().write_bytes(0, block.len()) };
        Ok(block)
    }

    /// Makes a block larger, in place or elsewhere; the bytes of `old.size()` keep their values,
    /// the rest is uninitialised.
    ///
    /// # Errors
    /// As [`allocate`](Self::allocate); `block` is then unchanged and still allocated.
    ///
    /// # Safety
    /// `block` is currently allocated by this allocator, `old` fits it, and `new.size()` is at
    /// least `old.size()`. The alignment may change.
    unsafe fn grow(
        &self,
        block: NonNull<u8>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        // SAFETY: The caller's promises are those that `relocate` asks for.
        unsafe { resize::relocate(self, block, old, new) }
    }

    /// As [`grow`](Self::grow), with every byte from `old.size()` on zero.
    ///
    /// # Errors
    /// As `grow`.
    ///
    /// # Safety
    /// As `grow`.
    unsafe fn grow_zeroed(
        &self,
        block: NonNull<u8>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        // SAFETY: The caller's promises are those that `grow` asks for.
        let grown = unsafe { self.grow(block, old, new) }?;
        let tail = grown.len() - old.size();
        // SAFETY: `grow` returned at least `new.size()` bytes, which is at least `old.size()`.
        let start = unsafe { grown.cast::<u8>().add(old.size()) };
        // SAFETY: The tail lies in the block that `grow` returned.
        unsafe { start.write_bytes(0, tail) };
        Ok(grown)
    }

    /// Makes a block smaller, in place or elsewhere; the bytes of `new.size()` keep their values.
    ///
    /// # Errors
    /// As [`allocate`](Self::allocate); `block` is then unchanged and still allocated.
    ///
    /// # Safety
    /// `block` is currently allocated by this allocator, `old` fits it, and `new.size()` is at most
    /// `old.size()`. The alignment may change.
    unsafe fn shrink(
        &self,
        block: NonNull<u8>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        // SAFETY: The caller's promises are those that `relocate` asks for.
        unsafe { resize::relocate(self, block, old, new) }
    }

    /// The allocator as a `GlobalAlloc`, and as the `Allocator` of allocator-api2 and of nightly.
    #[inline(always)]
    fn adapt(self) -> AllocatorAdaptor<Self>
    where
        Self: Sized,
    {
        AllocatorAdaptor::new(self)
    }

    /// Gives memory that no block lies in back to the source, as far as the allocator can tell
    /// which that is, and returns how many bytes went back. What later allocations need is obtained
    /// anew.
    ///
    /// The default keeps everything. [`SlabAllocator`] gives back each slab without a block,
    /// `Sharded` what its shards do.
    fn trim(&self) -> usize {
        0
    }

    /// Takes the locks of the allocator and its source, so that a fork finds nothing half done; as
    /// [`MemorySource::before_fork`](crate::MemorySource::before_fork), perhaps more than once, and
    /// the calling thread may go on using the allocator.
    ///
    /// # Safety
    /// This thread calls [`after_fork`](Self::after_fork) as often, and the allocator is not moved
    /// before.
    ///
    /// For the implementor: while this call waits for one lock, those that it took before are given
    /// back for a moment, to be taken again before it returns. So it reads nothing that other
    /// methods change but through locks, and borrows nothing meanwhile.
    unsafe fn before_fork(&self) {}

    /// Gives back what [`before_fork`](Self::before_fork) took, in the parent and in the child.
    ///
    /// # Safety
    /// This thread, or in a child the thread that forked it, called `before_fork`, and in this
    /// process this call is not called more often than that was.
    unsafe fn after_fork(&self) {}
}

/// An allocator that knows its own addresses.
///
/// # Safety
/// `owns` is `true` for every address in a block that is currently allocated by this allocator, and
/// `false` for every address in a live object that is not; routing trusts it.
pub unsafe trait Owns: Allocator {
    /// Whether `address` lies in memory of this allocator.
    fn owns(&self, address: NonNull<u8>) -> bool;
}

/// An allocator that can free everything at once.
pub trait Reset: Allocator {
    /// Gives every block back; the allocator may keep memory for what comes next.
    ///
    /// Blocks are raw pointers, so this is safe; but a collection that was told to use `&self`
    /// borrows it, and so keeps it from being reset.
    fn reset(&mut self);
}

/// An allocator that can resize some blocks where they are.
///
/// # Safety
/// A call that succeeds returns the block at the same address, with the real length that it now
/// has; one that fails has changed nothing.
pub unsafe trait ResizeInPlace: Allocator {
    /// Makes a block larger where it is.
    ///
    /// # Errors
    /// [`AllocError::NotInPlace`] where it cannot be; the block is unchanged.
    ///
    /// # Safety
    /// As [`Allocator::grow`].
    unsafe fn grow_in_place(
        &self,
        block: NonNull<u8>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<NonNull<[u8]>, AllocError>;

    /// Makes a block smaller where it is.
    ///
    /// # Errors
    /// [`AllocError::NotInPlace`] where it cannot be, as with an alignment that the block does not
    /// have; the block is unchanged.
    ///
    /// # Safety
    /// As [`Allocator::shrink`].
    unsafe fn shrink_in_place(
        &self,
        block: NonNull<u8>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<NonNull<[u8]>, AllocError>;
}

/// One line a method onto another allocator.
macro_rules! forward_allocator {
    (|$this:ident| $allocator:expr) => {
        #[inline(always)]
        fn allocate(&$this, layout: NonZeroLayout) -> Result<NonNull<[u8]>, AllocError> {
            $allocator.allocate(layout)
        }

        #[inline(always)]
        fn allocate_zeroed(&$this, layout: NonZeroLayout) -> Result<NonNull<[u8]>, AllocError> {
            $allocator.allocate_zeroed(layout)
        }

        #[inline(always)]
        unsafe fn deallocate(&$this, block: NonNull<u8>, layout: NonZeroLayout) {
            // SAFETY: The caller's promises hold for the same allocator.
            unsafe { $allocator.deallocate(block, layout) }
        }

        #[inline(always)]
        unsafe fn grow(
            &$this,
            block: NonNull<u8>,
            old: NonZeroLayout,
            new: NonZeroLayout,
        ) -> Result<NonNull<[u8]>, AllocError> {
            // SAFETY: The caller's promises hold for the same allocator.
            unsafe { $allocator.grow(block, old, new) }
        }

        #[inline(always)]
        unsafe fn grow_zeroed(
            &$this,
            block: NonNull<u8>,
            old: NonZeroLayout,
            new: NonZeroLayout,
        ) -> Result<NonNull<[u8]>, AllocError> {
            // SAFETY: The caller's promises hold for the same allocator.
            unsafe { $allocator.grow_zeroed(block, old, new) }
        }

        #[inline(always)]
        unsafe fn shrink(
            &$this,
            block: NonNull<u8>,
            old: NonZeroLayout,
            new: NonZeroLayout,
        ) -> Result<NonNull<[u8]>, AllocError> {
            // SAFETY: The caller's promises hold for the same allocator.
            unsafe { $allocator.shrink(block, old, new) }
        }

        fn trim(&$this) -> usize {
            $allocator.trim()
        }

        unsafe fn before_fork(&$this) {
            // SAFETY: The caller's promises, for the same allocator.
            unsafe { $allocator.before_fork() };
        }

        unsafe fn after_fork(&$this) {
            // SAFETY: The call that the caller promises went to the same allocator.
            unsafe { $allocator.after_fork() }
        }
    };
}

// SAFETY: Every call goes to the one allocator behind the reference, which keeps the contract.
unsafe impl<A: Allocator + ?Sized> Allocator for &A {
    forward_allocator!(|self| (**self));
}

// SAFETY: As for a reference; the counter keeps the allocator alive and in place.
#[cfg(feature = "std")]
unsafe impl<A: Allocator + ?Sized> Allocator for std::rc::Rc<A> {
    forward_allocator!(|self| (**self));
}

// SAFETY: As for a reference; the counter keeps the allocator alive and in place.
#[cfg(feature = "std")]
unsafe impl<A: Allocator + ?Sized> Allocator for std::sync::Arc<A> {
    forward_allocator!(|self| (**self));
}

// SAFETY: Every call goes to the allocator inside, which keeps the contract; moving the adaptor
// moves it.
unsafe impl<A: Allocator> Allocator for AllocatorAdaptor<A> {
    forward_allocator!(|self| self.allocator);
}
