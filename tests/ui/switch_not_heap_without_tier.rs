//! Without the coroutine tier there are no heaps.

// says: this switchable allocator was built without that tier
// says: name an allocator for the tier in the type of the static and in the builder (`.coroutine_tier(source)`, `.thread_tier(source)`), or do without this call

use context_allocator::{Builder, NoTier, Tiers};
use std::alloc::System;

context_allocator::switchable_allocator!(
    static ALLOC: Tiers<NoTier, NoTier, System> =
        Builder::new().without_coroutine_tier().without_thread_tier().global_tier(System).build();
);

fn main() {
    let _ = ALLOC.heap();
}
