//! An allocator is used by one thread at a time.

// says: within `ContextAllocator<MmapSource>`, the trait `Sync` is not implemented
// says: within `MultipleBinarySearchTreeAllocator<MmapSource>`, the trait `Sync` is not implemented
// says: within `BumpAllocator<MmapSource>`, the trait `Sync` is not implemented
// says: within `SizeClassAllocator<MmapSource>`, the trait `Sync` is not implemented
// says: within `SlabAllocator<MmapSource>`, the trait `Sync` is not implemented
// says: within `BitSetAllocator<MmapSource>`, the trait `Sync` is not implemented

use context_allocator::{BitSetAllocator, BumpAllocator, ContextAllocator, MmapSource, MultipleBinarySearchTreeAllocator, SlabAllocator};
use context_allocator::alloc::SizeClassAllocator;

fn share<T: Sync>() {}

fn main() {
    share::<BitSetAllocator<MmapSource>>();
    share::<BumpAllocator<MmapSource>>();
    share::<ContextAllocator<MmapSource>>();
    share::<MultipleBinarySearchTreeAllocator<MmapSource>>();
    share::<SizeClassAllocator<MmapSource>>();
    share::<SlabAllocator<MmapSource>>();
}
