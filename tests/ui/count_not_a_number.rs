// says: `Hundred` is not a number of blocks
// says: a number of blocks is a `typenum` number from 1 to 4,096, such as `typenum::U100` or `context_allocator::size::U1024`

use context_allocator::size::U64;
use context_allocator::MmapSource;
use context_allocator::alloc::FixedBitSetAllocator;

struct Hundred;

fn main() {
    let _ = FixedBitSetAllocator::<MmapSource, U64, Hundred>::new(MmapSource::new());
}
