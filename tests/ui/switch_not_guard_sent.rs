//! A guard stays on its thread.

use context_allocator::HeapGuard;

context_allocator::switchable_allocator!(static ALLOC);

fn send<T: Send>() {}

fn main() {
    send::<HeapGuard<'_, ALLOC>>();
}
