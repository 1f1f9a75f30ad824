//! There is always a global tier.

// says: the global tier of the switchable allocator was not chosen, or cannot be shared
// says: the global tier is `Unchosen`
// says: before `.build()`, call `.global_tier(allocator)` with a `GlobalAlloc` such as `std::alloc::System`, or `.global_tier_allocator(allocator)` with one of this library's allocators behind a lock: `Locked::new(BumpAllocator::new(...))`

use context_allocator::Builder;

fn main() {
    let _ = Builder::new().without_coroutine_tier().without_thread_tier().build();
}
