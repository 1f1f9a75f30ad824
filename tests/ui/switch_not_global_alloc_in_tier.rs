//! A `GlobalAlloc` belongs in the global tier.

use context_allocator::Builder;

fn main() {
    let _ = Builder::new().coroutine_tier(std::alloc::System);
}
