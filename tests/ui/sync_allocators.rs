//! An allocator is used by one thread at a time.

// says: within `BumpAllocator<MmapSource>`, the trait `Sync` is not implemented
// says: within `MultipleBinarySearchTreeAllocator<MmapSource>`, the trait `Sync` is not implemented
// says: within `SizeClassAllocator<MmapSource>`, the trait `Sync` is not implemented
// says: within `BitSetAllocator<MmapSource>`, the trait `Sync` is not implemented

use context_allocator::MultipleBinarySearchTreeAllocator;
use context_allocator::{BitSetAllocator, BumpAllocator, MmapSource, SizeClassAllocator};

fn share<T: Sync>() {}

fn main() {
    share::<BitSetAllocator<MmapSource>>();
    share::<BumpAllocator<MmapSource>>();
    share::<SizeClassAllocator<MmapSource>>();
    share::<MultipleBinarySearchTreeAllocator<MmapSource>>();
}
