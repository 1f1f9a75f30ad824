//! An allocator is used by one thread at a time.

// says: within `BumpAllocator<MmapSource>`, the trait `Sync` is not implemented
// says: within `SizeClassAllocator<MmapSource>`, the trait `Sync` is not implemented

use context_allocator::{BumpAllocator, MmapSource, SizeClassAllocator};

fn share<T: Sync>() {}

fn main() {
    share::<BumpAllocator<MmapSource>>();
    share::<SizeClassAllocator<MmapSource>>();
}
