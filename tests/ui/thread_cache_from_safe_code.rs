//! Only a caller who knows that the allocator still exists may reach a thread cache.

// says: call to unsafe function `fill` is unsafe
// says: call to unsafe function `context_allocator::alloc::ThreadCacheFor::flush` is unsafe
// says: call to unsafe function `pop` is unsafe

use context_allocator::{MmapSource, NonZeroLayout, SlabAllocator};
use context_allocator::alloc::{LocalAllocator, ThreadCache, ThreadCacheFor};

type Slabs = SlabAllocator<MmapSource>;

fn main() {
    let cache = <<Slabs as LocalAllocator>::Cache as ThreadCache>::EMPTY;
    let allocator = Slabs::new(MmapSource::new());
    let block = cache.fill(&allocator, NonZeroLayout::of::<u64>().unwrap()).unwrap();
    cache.flush(&Slabs::new(MmapSource::new()));
    drop(allocator);
    // Of memory that is unmapped.
    cache.open(true);
    println!("{block:?} {:?}", cache.pop(8, 8));
}
