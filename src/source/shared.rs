//! Sources behind a reference or a counter are sources too.
//!
//! They give up `BLOCK`: behind a reference, somebody else could reclaim the memory without the
//! page map hearing of it.

use core::ptr::NonNull;

use super::through::{pass_on_decommit, pass_on_sweep};
use super::{Decommit, IdleMemory, MemorySource, Obtained, OwnsRegions, Remapped};
use crate::error::SourceError;
use crate::layout::NonZeroLayout;

macro_rules! source_through {
    ($(#[$meta:meta])* [$($generics:tt)*] $type:ty) => {
        $(#[$meta])*
        // SAFETY: Every call goes to the one source behind the pointer, which keeps the contract;
        // the pointer keeps that source alive and in place. `BLOCK` keeps its default, so that the
        // contract asks nothing of `reclaim`, which others may call too.
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

            fn purge(&self) -> usize {
                (**self).purge()
            }

            pass_on_sweep!(self => (**self));

            fn idle(&self, report: &mut dyn FnMut(IdleMemory)) {
                (**self).idle(report);
            }

            fn reclaim(&self, leaving: &mut dyn FnMut(NonNull<[u8]>)) -> usize {
                (**self).reclaim(leaving)
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
            pass_on_decommit!(self => (**self));

            unsafe fn take_out(
                &self,
                range: NonNull<[u8]>,
                new: NonZeroLayout,
            ) -> Result<NonNull<[u8]>, SourceError> {
                // SAFETY: The same source holds the region; the caller promises the rest.
                unsafe { (**self).take_out(range, new) }
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
