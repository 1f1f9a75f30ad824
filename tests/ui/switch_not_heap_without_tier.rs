//! Without the coroutine tier there are no heaps.

use context_allocator::{Builder, NoTier, Tiers};
use std::alloc::System;

context_allocator::switchable_allocator!(
    static ALLOC: Tiers<NoTier, NoTier, System> =
        Builder::new().without_coroutine_tier().without_thread_tier().global_tier(System).build();
);

fn main() {
    let _ = ALLOC.heap();
}
