//! A crate that forbids unsafe code can declare and use a switchable allocator.

#![forbid(unsafe_code)]

context_allocator::global_thread_and_coroutine_switchable_allocator!(static ALLOC);

fn main() {
    let heap = ALLOC.heap().expect("memory for a heap");
    let words = heap.enter(|| vec![String::from("in the heap")]);
    drop(heap);
    assert_eq!(words[0], "in the heap");
}
