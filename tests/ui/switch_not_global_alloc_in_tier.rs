//! A `GlobalAlloc` belongs in the global tier.

// says: `std::alloc::System` cannot serve a tier of the switchable allocator
// says: not an allocator for a tier
// says: a tier is served by a `LocalAllocator` over a source that threads can share, such as `BumpAllocator<ArenaSource<MmapSource>>`, or left out with `NoTier`
// says: an allocator that is `Sync`, or a `GlobalAlloc`, belongs in the global tier: `.global_tier(...)`

use context_allocator::Builder;

fn main() {
    let _ = Builder::new().coroutine_tier(std::alloc::System);
}
