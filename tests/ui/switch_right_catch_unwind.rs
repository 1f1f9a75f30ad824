//! A heap may be borrowed across a panic that is caught.

context_allocator::switchable_allocator!(static ALLOC);

fn main() {
    let heap = ALLOC.heap().unwrap();
    assert!(std::panic::catch_unwind(|| heap.enter(|| panic!("in the heap"))).is_err());
}
