//! Sources behind a reference or a counter are sources too.
//!
//! They give up `BLOCK`: behind a reference, somebody else could reclaim the memory without the owner map hearing
//! of it.

use core::ptr::NonNull;

use super::{Decommit, MemorySource, Obtained, OwnsRegions, Remapped};
use crate::{NonZeroLayout, SourceError};

macro_rules! source_through {
    ($(#[$meta:meta])* [$($generics:tt)*] $type:ty) => {
        $(#[$meta])*
        // SAFETY: Every call goes to the one source behind the pointer, which keeps the contract; the pointer
        // keeps that source alive and in place. `BLOCK` and `reclaim` keep their defaults, so that contract asks
        // nothing of them.
        unsafe impl<$($generics)*> MemorySource for $type {
            const ZEROED: bool = S::ZEROED;
            const MIN_ALIGN: usize = S::MIN_ALIGN;
            const MAX_REGION: usize = S::MAX_REGION;
            const SHARES_SLICES: bool = S::SHARES_SLICES || S::BLOCK != 0;

            #[inline]
            fn obtain(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, SourceError> {
                (**self).obtain(layout)
            }

            #[inline]
            fn obtain_between(&self, least: NonZeroLayout, preferred: usize) -> Result<Obtained, SourceError> {
                (**self).obtain_between(least, preferred)
            }

            #[inline]
            unsafe fn release(&self, region: NonNull<[u8]>, layout: NonZeroLayout) {
                // SAFETY: The same source holds the region; the caller promises the rest.
                unsafe { (**self).release(region, layout) }
            }

            #[inline]
            unsafe fn remap(
                &self,
                region: NonNull<[u8]>,
                old: NonZeroLayout,
                new: NonZeroLayout,
            ) -> Result<Remapped, SourceError> {
                // SAFETY: The same source holds the region; the caller promises the rest.
                unsafe { (**self).remap(region, old, new) }
            }

            unsafe fn before_fork(&self) {
                // SAFETY: The caller's promises, for the same source.
                unsafe { (**self).before_fork() };
            }

            unsafe fn after_fork(&self) {
                // SAFETY: The call that the caller promises went to the same source.
                unsafe { (**self).after_fork() }
            }
        }

        $(#[$meta])*
        // SAFETY: The same source answers.
        unsafe impl<$($generics)* + OwnsRegions> OwnsRegions for $type {
            #[inline]
            fn owns(&self, address: NonNull<u8>) -> bool {
                (**self).owns(address)
            }
        }

        $(#[$meta])*
        // SAFETY: The same source holds the regions.
        unsafe impl<$($generics)* + Decommit> Decommit for $type {
            fn decommit_unit(&self) -> usize {
                (**self).decommit_unit()
            }

            unsafe fn decommit(&self, range: NonNull<[u8]>) -> Result<(), SourceError> {
                // SAFETY: The same source holds the region; the caller promises the rest.
                unsafe { (**self).decommit(range) }
            }

            unsafe fn take_out(
                &self,
                range: NonNull<[u8]>,
                new: NonZeroLayout,
            ) -> Result<NonNull<[u8]>, SourceError> {
                // SAFETY: The same source holds the region; the caller promises the rest.
                unsafe { (**self).take_out(range, new) }
            }

            unsafe fn decommit_lazily(&self, range: NonNull<[u8]>) -> Result<(), SourceError> {
                // SAFETY: The same source holds the region; the caller promises the rest.
                unsafe { (**self).decommit_lazily(range) }
            }
        }
    };
}

source_through!(['a, S: ?Sized + MemorySource] &'a S);
source_through!(
    #[cfg(feature = "std")]
    [S: ?Sized + MemorySource] std::rc::Rc<S>
);
source_through!(
    #[cfg(feature = "std")]
    [S: ?Sized + MemorySource] std::sync::Arc<S>
);
