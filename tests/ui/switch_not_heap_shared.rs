//! A heap is used by one thread at a time.

// says: Heap<ALLOC>`, the trait `Sync` is not implemented

use context_allocator::Heap;

context_allocator::switchable_allocator!(static ALLOC);

fn share<T: Sync>() {}

fn main() {
    share::<Heap<ALLOC>>();
}
