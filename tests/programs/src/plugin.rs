//! A library with a switchable allocator of its own, to be loaded and unloaded.

use std::hint::black_box;

context_allocator::global_thread_and_coroutine_switchable_allocator!(static ALLOC);

/// Allocates and frees in all tiers, and leaves a megabyte free for the pool's thread; the number
/// of bytes in its words.
#[unsafe(no_mangle)]
pub extern "C" fn work(words: usize) -> usize {
    let heap = ALLOC.heap().expect("memory for a heap");
    let inside: Vec<String> = heap.enter(|| (0..words).map(|word| word.to_string()).collect());
    drop(heap);
    let blocks: Vec<Vec<u8>> = (0..1000).map(|_| black_box(vec![1; 2000])).collect();
    drop(blocks);
    inside.iter().map(String::len).sum()
}

/// Uses nothing of the allocator, so that the library can be unloaded.
#[unsafe(no_mangle)]
pub extern "C" fn idle() -> usize {
    7
}
