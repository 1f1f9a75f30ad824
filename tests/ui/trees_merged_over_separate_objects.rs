//! Regions that are separate objects are not merged.

// says: regions of `RegionSource<'static>` cannot be merged
// says: take `KeepApart` in place of `MergeAdjacent`; or implement `AdjoiningSource` if all regions of the source are parts of one object

use context_allocator::size::U8;
use context_allocator::MultipleBinarySearchTreeAllocator;
use context_allocator::alloc::MergeAdjacent;
use context_allocator::source::RegionSource;

fn main() {
    let source = RegionSource::new(Vec::leak(vec![std::mem::MaybeUninit::uninit(); 4096]));
    let _ = MultipleBinarySearchTreeAllocator::<RegionSource<'static>, U8, MergeAdjacent>::new_in(source);
}
