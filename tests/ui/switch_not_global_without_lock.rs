//! An allocator of one thread can be the global tier only behind a lock.

// says: within `BumpAllocator<MmapSource>`, the trait `Sync` is not implemented

use context_allocator::{Builder, BumpAllocator, MmapSource};

fn main() {
    let _ = Builder::new().global_tier_allocator(BumpAllocator::new(MmapSource::new()));
}
