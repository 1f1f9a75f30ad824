// says: `UInt<UInt<UTerm, B1>, B1>` is not a number of shards
// says: a number of shards is a power of two from 1 to 64, as a `typenum` number: `typenum::U4`, or `context_allocator::size::U16`

use context_allocator::MmapSource;
use context_allocator::alloc::{Sharded, SizeClassAllocator};

fn main() {
    let _ = Sharded::<_, typenum::U3>::new_in(SizeClassAllocator::new(MmapSource::new()));
}
