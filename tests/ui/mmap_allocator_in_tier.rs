//! An allocator without a list of its regions cannot give them back when a heap ends.

// says: `MmapAllocator` cannot serve a tier of the switchable allocator
// says: a tier is served by a `LocalAllocator` over a source that threads can share, such as `BumpAllocator<ArenaSource<MmapSource>>`, or left out with `NoTier`
// says: an allocator that is `Sync`, or a `GlobalAlloc`, belongs in the global tier: `.global_tier(...)`

use context_allocator::{Builder, MmapAllocator};

fn main() {
    let _ = Builder::new().thread_tier(MmapAllocator::new());
}
