//! A `#[global_allocator]` is an adaptor around an allocator of this library.

// says: the trait bound `Locked<BumpAllocator<MmapSource>>: GlobalAlloc` is not satisfied
// says: `AllocatorAdaptor<A>`

use context_allocator::{BumpAllocator, Locked, MmapSource};

#[global_allocator]
static GLOBAL: Locked<BumpAllocator<MmapSource>> = Locked::new(BumpAllocator::new(MmapSource::new()));

fn main() {}
