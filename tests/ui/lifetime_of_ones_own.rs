//! The lifetimes are three types.

// says: `u8` is not a lifetime of blocks
// says: write `ShortLived`, `MediumLived` or `LongLived`

use context_allocator::MmapSource;
use context_allocator::alloc::{AllocatorFor, LocalAllocator};

fn main() {
    let _ = AllocatorFor::<u8, MmapSource>::new_in(MmapSource::new());
}
