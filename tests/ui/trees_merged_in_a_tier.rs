//! In a tier each block lies in one region.

// says: cannot serve a tier of the switchable allocator
// says: not a `LocalAllocator`

use context_allocator::size::U8;
use context_allocator::{MmapSource, MultipleBinarySearchTreeAllocator};
use context_allocator::alloc::{LocalAllocator, MergeAdjacent};

fn serve<A: LocalAllocator>() {}

fn main() {
    serve::<MultipleBinarySearchTreeAllocator<MmapSource, U8, MergeAdjacent>>();
}
