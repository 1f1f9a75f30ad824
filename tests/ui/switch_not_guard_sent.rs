//! A guard stays on its thread.

// says: `*mut ()` cannot be sent between threads safely
// says: within `HeapGuard<'_, ALLOC>`, the trait `Send` is not implemented
// says: Heap<ALLOC>`, the trait `Sync` is not implemented

use context_allocator::switch::HeapGuard;

context_allocator::switchable_allocator!(static ALLOC);

fn send<T: Send>() {}

fn main() {
    send::<HeapGuard<'_, ALLOC>>();
}
