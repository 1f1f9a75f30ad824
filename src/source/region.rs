//! One range of bytes that is there already.

use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

use super::{MemorySource, Obtained, OwnsRegions};
use crate::error::SourceError;
use crate::layout::NonZeroLayout;
use crate::ptr;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::const_fn;

/// A source over one range of bytes, borrowed or static, which it gives whole to the first who
/// asks.
///
/// A second request is refused until the first region was released.
///
/// # Examples
/// ```
/// use core::mem::MaybeUninit;
/// use context_allocator::{Allocator, BumpAllocator, NonZeroLayout};
/// use context_allocator::source::RegionSource;
///
/// let mut bytes = [MaybeUninit::uninit(); 1024];
/// let allocator = BumpAllocator::new(RegionSource::new(&mut bytes));
/// let block = allocator.allocate(NonZeroLayout::of::<u64>().unwrap());
/// assert!(block.is_ok());
/// assert!(allocator.allocate(NonZeroLayout::of::<[u64; 1000]>().unwrap()).is_err());
/// ```
#[derive(Debug)]
pub struct RegionSource<'a> {
    start: NonNull<u8>,
    len: usize,
    taken: AtomicBool,
    borrowed: PhantomData<&'a mut [MaybeUninit<u8>]>,
}

// SAFETY: The source has the only reference to its bytes, which may be used from any thread.
unsafe impl Send for RegionSource<'_> {}
// SAFETY: Shared, it only gives the bytes to the one caller whose exchange found `taken` false.
unsafe impl Sync for RegionSource<'_> {}

impl<'a> RegionSource<'a> {
    const_fn! {
        /// A source over `bytes`, which stay borrowed for as long as the source may be used.
        pub fn new(bytes: &'a mut [MaybeUninit<u8>]) -> Self {
            let len = bytes.len();
            let start = match NonNull::new(bytes.as_mut_ptr().cast::<u8>()) {
                Some(start) => start,
                None => unreachable!(),
            };
            Self { start, len, taken: AtomicBool::new(false), borrowed: PhantomData }
        }
    }

    const_fn! {
        /// A source over `len` bytes at `start`, for memory that no reference stands for: a linker
        /// section, a range that a boot loader left.
        ///
        /// # Safety
        /// For as long as the source is used, the bytes are readable and writable and accessed by
        /// nobody else.
        pub unsafe fn from_raw(start: NonNull<u8>, len: usize) -> Self {
            Self { start, len, taken: AtomicBool::new(false), borrowed: PhantomData }
        }
    }
}

/// What of `len` bytes at `start` is left from the first multiple of the alignment on, given to the
/// one caller that finds `taken` false.
///
/// # Safety
/// The range lies in one object.
pub(super) unsafe fn whole(
    start: NonNull<u8>,
    len: usize,
    taken: &AtomicBool,
    layout: NonZeroLayout,
) -> Result<NonNull<[u8]>, SourceError> {
    let padding = ptr::padding(start.addr().get(), layout.align());
    let len = len.checked_sub(padding).ok_or(SourceError::TooLarge)?;
    if len < layout.size() {
        return Err(SourceError::TooLarge);
    }
    if taken.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
        return Err(SourceError::Exhausted);
    }
    // SAFETY: `padding` is at most the length of the range at `start`.
    let start = unsafe { start.add(padding) };
    Ok(ptr::bytes(start, len))
}

// SAFETY: The region lies in bytes that only this source may give out (`new` borrows them mutably,
// `from_raw`'s caller promises it), and `taken` lets one region be held at a time.
unsafe impl MemorySource for RegionSource<'_> {
    fn obtain(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, SourceError> {
        // SAFETY: The range at `start` has `len` bytes, and `taken` is its own.
        unsafe { whole(self.start, self.len, &self.taken, layout) }
    }

    fn obtain_between(&self, least: NonZeroLayout, _preferred: usize) -> Result<Obtained, SourceError> {
        Ok(Obtained { region: self.obtain(least)?, zeroed: false })
    }

    unsafe fn release(&self, _region: NonNull<[u8]>, _layout: NonZeroLayout) {
        self.taken.store(false, Ordering::Release);
    }
}

// SAFETY: The only region there is lies in these bytes.
unsafe impl OwnsRegions for RegionSource<'_> {
    #[inline]
    fn owns(&self, address: NonNull<u8>) -> bool {
        address.addr().get().wrapping_sub(self.start.addr().get()) < self.len
    }
}
