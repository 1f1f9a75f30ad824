//! Every number of trees from one to as many as the bitmap holds, and the bare name.

use context_allocator::size::U8;
use context_allocator::{MmapSource, MultipleBinarySearchTreeAllocator};
use context_allocator::alloc::MergeAdjacent;

static OF_DEFAULT: std::sync::Mutex<MultipleBinarySearchTreeAllocator<MmapSource>> =
    std::sync::Mutex::new(MultipleBinarySearchTreeAllocator::new(MmapSource::new()));

fn main() {
    drop(OF_DEFAULT.lock());
    let _ = MultipleBinarySearchTreeAllocator::<MmapSource, typenum::U1>::new_in(MmapSource::new());
    let _ = MultipleBinarySearchTreeAllocator::<MmapSource, typenum::U64>::new_in(MmapSource::new());
    let _ = MultipleBinarySearchTreeAllocator::<MmapSource, U8, MergeAdjacent>::new_in(MmapSource::new());
}
