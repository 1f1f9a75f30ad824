//! The number of blocks of an allocator with its bits inline.

// says: FixedBitSetAllocator<S, B, N>: N, the number of blocks, is from 1 to 4,096: for more choose `BitSetAllocator`

use context_allocator::size::U64;
use context_allocator::MmapSource;
use context_allocator::alloc::FixedBitSetAllocator;

fn main() {
    let _ = FixedBitSetAllocator::<_, U64, typenum::Sum<typenum::U4096, typenum::U1>>::new(MmapSource::new());
}
