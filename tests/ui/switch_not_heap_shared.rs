//! A heap is used by one thread at a time.

use context_allocator::Heap;

context_allocator::switchable_allocator!(static ALLOC);

fn share<T: Sync>() {}

fn main() {
    share::<Heap<ALLOC>>();
}
