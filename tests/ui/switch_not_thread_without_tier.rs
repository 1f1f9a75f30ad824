//! Without the thread tier it cannot be made current.

// says: `NoTier` cannot serve a tier of the switchable allocator
// says: `NoTier` stands for a tier that was left out: name an allocator for it in the type of the static and in the builder (`.coroutine_tier(allocator)`, `.thread_tier(allocator)`), or do without this call

use context_allocator::{Builder, Tiers};
use context_allocator::switch::NoTier;
use std::alloc::System;

context_allocator::switchable_allocator!(
    static ALLOC: Tiers<NoTier, NoTier, System> =
        Builder::new().without_coroutine_tier().without_thread_tier().global_tier(System).build();
);

fn main() {
    ALLOC.with_thread(|| ());
}
