//! Frees that no program may do, one for each name: the process must end, with a sentence.

use std::hint::black_box;
use std::ptr::NonNull;

use context_allocator::{Allocator, NonZeroLayout};

context_allocator::switchable_allocator!(static ALLOC);

fn layout(size: usize) -> NonZeroLayout {
    NonZeroLayout::from_size_align(size, 8).expect("a layout")
}

fn allocate(size: usize) -> NonNull<u8> {
    black_box(ALLOC.allocate(layout(size)).expect("memory")).cast()
}

/// Frees a block, whether or not that is right.
fn free(block: NonNull<u8>, size: usize) {
    // SAFETY: Not safe where the program is wrong: that is what it tests.
    unsafe { ALLOC.deallocate(block, layout(size)) };
}

fn main() {
    let heap = ALLOC.heap().expect("memory for a heap");
    match std::env::args().nth(1).as_deref() {
        // The user of a bump heap frees a block twice.
        Some("locally") => {
            heap.enter(|| {
                let (first, _second) = (allocate(100), allocate(100));
                (0..3).for_each(|_| free(first, 100));
            });
            drop(heap);
        }
        // Others free more blocks than the heap gave out.
        Some("remotely") => {
            let block = heap.enter(|| allocate(100));
            free(block, 100);
            free(block, 100);
            drop(heap);
        }
        // The heap is over already.
        Some("late") => {
            let block = heap.enter(|| allocate(100));
            drop(heap);
            free(block, 100);
            free(block, 100);
        }
        // A large object, by an address inside it.
        Some("inside") => {
            let block = heap.enter(|| allocate(1 << 20));
            let inside = NonNull::new(block.as_ptr().wrapping_add(64)).expect("an address");
            free(inside, 1 << 20);
        }
        // A large object, with a layout that is larger than it.
        Some("larger") => {
            let block = heap.enter(|| allocate(1 << 20));
            free(block, 4 << 20);
        }
        other => panic!("no {other:?}"),
    }
    println!("nobody noticed");
}
