//! A lock around a borrowed allocator would not keep others from the allocator.

// says: within `BumpAllocator<MmapSource>`, the trait `Sync` is not implemented

use context_allocator::{BumpAllocator, Locked, MmapSource};

fn share<T: Sync>(_: &T) {}

fn main() {
    let bump = BumpAllocator::new(MmapSource::new());
    share(&Locked::new(&bump));
}
