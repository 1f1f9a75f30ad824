//! Regions that are blocks of an allocator.

use core::ptr::NonNull;

use crate::adapt::GlobalAllocToAllocatorAdaptor;
use crate::alloc::{Allocator, Owns};
use crate::error::{AllocError, SourceError};
use crate::layout::NonZeroLayout;
use crate::source::{MemorySource, OwnsRegions};

/// A source whose regions are blocks of an [`Allocator`], or with [`of_global`](Self::of_global) of
/// a `GlobalAlloc`.
///
/// For an allocator inside another: a bump over a few large blocks of the system's allocator, a
/// bit-set over a block of a bump. It cannot stand in a tier, since its regions share slices with
/// other blocks.
///
/// # Examples
/// ```
/// use context_allocator::{Allocator, BumpAllocator, NonZeroLayout};
/// use context_allocator::adapt::AllocatorSource;
/// use std::alloc::System;
///
/// let allocator = BumpAllocator::new(AllocatorSource::of_global(&System));
/// assert!(allocator.allocate(NonZeroLayout::of::<[u64; 100]>().unwrap()).is_ok());
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct AllocatorSource<A> {
    allocator: A,
}

impl<A> AllocatorSource<A> {
    /// A source of blocks of `allocator`.
    pub const fn new(allocator: A) -> Self {
        Self { allocator }
    }

    /// The allocator behind it.
    pub const fn allocator(&self) -> &A {
        &self.allocator
    }
}

impl<'a, G> AllocatorSource<GlobalAllocToAllocatorAdaptor<'a, G>> {
    /// A source of blocks of a `GlobalAlloc`, such as `&std::alloc::System`.
    ///
    /// Under the program's own global allocator it must be another one that is named here, or that
    /// would call itself.
    pub const fn of_global(global: &'a G) -> Self {
        Self::new(GlobalAllocToAllocatorAdaptor::new(global))
    }
}

// SAFETY: A block that is currently allocated is readable and writable, as large and as aligned as
// asked, overlaps nothing live, and moving the allocator does not move it. It fits where the region
// fits, both being defined alike.
unsafe impl<A: Allocator> MemorySource for AllocatorSource<A> {
    const SHARES_SLICES: bool = true;

    /// # Errors
    /// [`SourceError::TooLarge`] where the allocator says so, the reason where its own source
    /// refused, and otherwise [`SourceError::Exhausted`].
    fn obtain(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, SourceError> {
        self.allocator.allocate(layout).map_err(|error| match error {
            AllocError::Source(error) => error,
            AllocError::TooLarge => SourceError::TooLarge,
            _ => SourceError::Exhausted,
        })
    }

    unsafe fn release(&self, region: NonNull<[u8]>, layout: NonZeroLayout) {
        // SAFETY: The region is a block that `obtain` allocated here and the layout fits it, as the
        // caller promises.
        unsafe { self.allocator.deallocate(region.cast(), layout) };
    }

    unsafe fn before_fork(&self) {
        // SAFETY: This thread calls `after_fork` as often, and nothing is moved before.
        unsafe { self.allocator.before_fork() };
    }

    unsafe fn after_fork(&self) {
        // SAFETY: The call that the caller promises went to the allocator.
        unsafe { self.allocator.after_fork() };
    }
}

// SAFETY: A region is a block that is currently allocated, and the allocator tells its own.
unsafe impl<A: Owns> OwnsRegions for AllocatorSource<A> {
    fn owns(&self, address: NonNull<u8>) -> bool {
        self.allocator.owns(address)
    }
}
