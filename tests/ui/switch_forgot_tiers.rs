//! The static is declared with its tiers, not with one allocator.

// says: `BumpAllocator<ArenaSource<MmapSource>>` is not the tiers of a switchable allocator
// says: declare `static ALLOC: Tiers<C, T, G> = Builder::new().coroutine_tier(c).thread_tier(t).global_tier(g).build()`, or `static ALLOC` alone for the recommended tiers

use context_allocator::{ArenaSource, BumpAllocator, MmapSource};

context_allocator::switchable_allocator!(
    static ALLOC: BumpAllocator<ArenaSource<MmapSource>> =
        BumpAllocator::new(ArenaSource::new(MmapSource::new()));
);

fn main() {
    let _ = ALLOC.heap();
}
