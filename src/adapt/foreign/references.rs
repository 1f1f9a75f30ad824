//! References to this library's allocators as allocators of the other traits: a collection takes
//! `&allocator`.
//!
//! A blanket implementation for `&A` would not be this crate's to write, so each type is listed.

use crate::alloc::{
    Allocator, BitSetAllocator, BlockCount, BumpAllocator, ContextAllocator, FixedBitSetAllocator, Locked,
    Merging, MultipleBinarySearchTreeAllocator, SizeClassAllocator, SlabAllocator, TreeCount,
};
#[cfg(feature = "std")]
use crate::alloc::{LocalAllocator, MmapAllocator, ShardCount, Sharded};
use crate::size::BlockSize;
use crate::source::MemorySource;
use crate::sync::RawLock;

/// Implements each copy of the trait for references to one type of allocator.
macro_rules! foreign_references {
    ([$($generics:tt)*] $allocator:ty) => {
        $crate::adapt::foreign_references!(@copies [$($generics)*] [$allocator]
            #[cfg(feature = "allocator-api2-02")] allocator_api2_02::alloc;
            #[cfg(feature = "allocator-api2-03")] allocator_api2_03::alloc;
            #[cfg(feature = "allocator-api2-04")] allocator_api2_04::alloc;
            #[cfg(feature = "nightly")] core::alloc;
        );
    };
    (@copies $generics:tt $allocator:tt $(#[$feature:meta] $source:path;)*) => {
        $($crate::adapt::foreign_references!(@one $generics $allocator #[$feature] $source);)*
    };
    (@one [$($generics:tt)*] [$allocator:ty] #[$feature:meta] $source:path) => {
        #[$feature]
        const _: () = {
            use core::alloc::Layout;
            use core::ptr::NonNull;
            use $source as foreign;

            // SAFETY: Our `Allocator` promises the same. Copies of a reference are the one
            // allocator behind it, which stays where it is, and is not reset, while it is borrowed.
            unsafe impl<$($generics)*> foreign::Allocator for &$allocator {
                $crate::adapt::foreign_methods!(foreign::AllocError, |this| *this);
            }
        };
    };
}
pub(crate) use foreign_references;

foreign_references!([S: MemorySource] BumpAllocator<S>);
foreign_references!([S: MemorySource, B: BlockSize] BitSetAllocator<S, B>);
foreign_references!([S: MemorySource, B: BlockSize, N: BlockCount] FixedBitSetAllocator<S, B, N>);
foreign_references!([S: MemorySource, T: TreeCount, M: Merging<S>] MultipleBinarySearchTreeAllocator<S, T, M>);
foreign_references!([S: MemorySource] SizeClassAllocator<S>);
foreign_references!([S: MemorySource, B: BlockSize] SlabAllocator<S, B>);
foreign_references!([S: MemorySource] ContextAllocator<S>);
foreign_references!([A: Allocator, L: RawLock] Locked<A, L>);
#[cfg(feature = "std")]
foreign_references!([S: MemorySource] MmapAllocator<S>);
#[cfg(feature = "std")]
foreign_references!([A: LocalAllocator, N: ShardCount, B: Allocator, L: RawLock] Sharded<A, N, B, L>);
