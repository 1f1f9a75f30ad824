//! A `#[global_allocator]` is shared by all threads, so it is behind a lock.

// says: cannot be shared between threads safely

use context_allocator::{BumpAllocator, MmapSource};
use context_allocator::adapt::AllocatorAdaptor;

#[global_allocator]
static GLOBAL: AllocatorAdaptor<BumpAllocator<MmapSource>> =
    AllocatorAdaptor::new(BumpAllocator::new(MmapSource::new()));

fn main() {}
