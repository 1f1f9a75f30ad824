//! This library's allocators over a region.

use std::alloc::Layout;
use std::ptr::NonNull;

use context_allocator::alloc::SizeClassAllocator;
use context_allocator::source::RegionSource;
use context_allocator::{Allocator, BitSetAllocator, MultipleBinarySearchTreeAllocator, NonZeroLayout};

use super::efficiency::{self, Share};
use super::{Case, Direct, Role, of_any_size, of_blocks, of_little};

/// Implements [`Direct`] for an allocator over a [`RegionSource`].
macro_rules! direct {
    ($name:literal, $role:expr, $allocator:ty) => {
        impl Direct for $allocator {
            const NAME: &'static str = $name;
            const ROLE: Role = $role;

            unsafe fn over(region: NonNull<[u8]>) -> Self {
                // SAFETY: The region is the allocator's alone, as the caller promises.
                Self::new(unsafe { RegionSource::from_raw(region.cast(), region.len()) })
            }

            #[inline(always)]
            fn allocate(&mut self, layout: Layout) -> Option<NonNull<u8>> {
                // SAFETY: No layout here is of 0 bytes.
                let layout = unsafe { NonZeroLayout::new(layout).unwrap_unchecked() };
                Allocator::allocate(self, layout).ok().map(NonNull::cast)
            }

            #[inline(always)]
            unsafe fn free(&mut self, block: NonNull<u8>, layout: Layout) {
                // SAFETY: No layout here is of 0 bytes.
                let layout = unsafe { NonZeroLayout::new(layout).unwrap_unchecked() };
                // SAFETY: The caller's promises.
                unsafe { self.deallocate(block, layout) };
            }
        }
    };
}

type Tree = MultipleBinarySearchTreeAllocator<RegionSource<'static>>;

direct!("MultipleBinarySearchTreeAllocator", Role::Ours, Tree);
direct!("SizeClassAllocator", Role::Ours, SizeClassAllocator<RegionSource<'static>>);
direct!("BitSetAllocator", Role::Ours, BitSetAllocator<RegionSource<'static>>);

/// The cases.
pub fn cases(cases: &mut Vec<Case>) {
    of_blocks::<BitSetAllocator<RegionSource<'static>>>(cases);
    of_blocks::<Tree>(cases);
    of_any_size::<Tree>(cases);
    of_blocks::<SizeClassAllocator<RegionSource<'static>>>(cases);
    of_any_size::<SizeClassAllocator<RegionSource<'static>>>(cases);
    of_little::<BitSetAllocator<RegionSource<'static>>>(cases);
    of_little::<Tree>(cases);
    of_little::<SizeClassAllocator<RegionSource<'static>>>(cases);
}

/// The share of a region that each fills.
pub fn efficiency(print: &mut impl FnMut(Share)) {
    print(efficiency::of::<BitSetAllocator<RegionSource<'static>>>());
    print(efficiency::of::<Tree>());
    print(efficiency::of::<SizeClassAllocator<RegionSource<'static>>>());
}
