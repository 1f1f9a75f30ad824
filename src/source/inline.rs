//! A range of bytes whose length is a type, inline in a static.

use core::cell::UnsafeCell;
use core::fmt;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

use generic_array::{ArrayLength, GenericArray};

use super::region::whole;
use super::{MemorySource, Obtained, OwnsRegions};
use crate::error::SourceError;
use crate::layout::NonZeroLayout;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::const_fn;

/// `N` bytes at a multiple of 64, which a reference to them gives whole to the first who asks.
///
/// For firmware: as a `static` it is memory that the linker sets aside, and needs no operating
/// system and no `unsafe` code. A second request is refused until the first region was released.
/// The source is `&InlineRegion`, since the bytes may not move while they are used.
///
/// # Examples
/// ```
/// use context_allocator::{Allocator, BumpAllocator, NonZeroLayout};
/// use context_allocator::size::U4096;
/// use context_allocator::source::InlineRegion;
///
/// static MEMORY: InlineRegion<U4096> = InlineRegion::new();
///
/// let allocator = BumpAllocator::new(&MEMORY);
/// assert!(allocator.allocate(NonZeroLayout::of::<[u64; 100]>().unwrap()).is_ok());
/// assert!(allocator.allocate(NonZeroLayout::of::<[u64; 1000]>().unwrap()).is_err());
/// ```
#[repr(C, align(64))]
pub struct InlineRegion<N: ArrayLength> {
    bytes: UnsafeCell<MaybeUninit<GenericArray<u8, N>>>,
    taken: AtomicBool,
}

// SAFETY: The bytes are given to the one caller whose exchange found `taken` false, and to nobody
// else before the release.
unsafe impl<N: ArrayLength> Sync for InlineRegion<N> {}

impl<N: ArrayLength> InlineRegion<N> {
    const_fn! {
        /// The bytes, with nothing in them.
        pub fn new() -> Self {
            Self { bytes: UnsafeCell::new(MaybeUninit::uninit()), taken: AtomicBool::new(false) }
        }
    }

    fn start(&self) -> NonNull<u8> {
        NonNull::from(&self.bytes).cast()
    }
}

impl<N: ArrayLength> Default for InlineRegion<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<N: ArrayLength> fmt::Debug for InlineRegion<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InlineRegion").field("bytes", &N::USIZE).field("taken", &self.taken).finish()
    }
}

// SAFETY: The region lies in the bytes, which stay where they are while they are borrowed, are
// reached through nothing but the cell that holds them, and are given to one holder at a time.
unsafe impl<N: ArrayLength> MemorySource for &InlineRegion<N> {
    const MIN_ALIGN: usize = 1;
    const MAX_REGION: usize = N::USIZE;
    const SHARES_SLICES: bool = true;

    fn obtain(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, SourceError> {
        // SAFETY: The bytes are one object, and `taken` is theirs.
        unsafe { whole(self.start(), N::USIZE, &self.taken, layout) }
    }

    fn obtain_between(&self, least: NonZeroLayout, _preferred: usize) -> Result<Obtained, SourceError> {
        Ok(Obtained { region: self.obtain(least)?, zeroed: false })
    }

    unsafe fn release(&self, _region: NonNull<[u8]>, _layout: NonZeroLayout) {
        self.taken.store(false, Ordering::Release);
    }
}

// SAFETY: The only region there is lies in the bytes.
unsafe impl<N: ArrayLength> OwnsRegions for &InlineRegion<N> {
    fn owns(&self, address: NonNull<u8>) -> bool {
        address.addr().get().wrapping_sub(self.start().addr().get()) < N::USIZE
    }
}
