//! An allocator takes its memory from a source, not from another allocator.

// says: `SlabAllocator<MmapSource>` is not a memory source
// says: to take it from an allocator of this library, write `AllocatorSource::new(allocator)`

use context_allocator::{BumpAllocator, MmapSource, SlabAllocator};

fn main() {
    let _ = BumpAllocator::new(SlabAllocator::new(MmapSource::new()));
}
