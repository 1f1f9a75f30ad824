//! Zeroed requests touch no page that is known to be zero, without a thread tier, while the context
//! is undecided, and in heaps.

#![cfg(feature = "std")]

use std::hint::black_box;

use context_allocator::switch::NoTier;
use context_allocator::{Builder, BumpAllocator, MmapSource, Tiers};

context_allocator::global_thread_and_coroutine_switchable_allocator!(
    static ALLOC: Tiers<BumpAllocator<MmapSource>, NoTier, std::alloc::System> = Builder::new()
        .coroutine_tier(BumpAllocator::new(MmapSource::new()))
        .without_thread_tier()
        .global_tier(std::alloc::System)
        .build()
);

mod with_threads {
    context_allocator::switchable_allocator!(pub static ALLOC);
}

/// Bytes of the process that are resident.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").expect("the process's size");
    text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("a number of pages") * 4096
}

/// How many bytes `f` makes resident; its result is dropped afterwards.
fn made_resident<R>(f: impl FnOnce() -> R) -> usize {
    let before = resident();
    let result = black_box(f());
    let after = resident();
    drop(result);
    after.saturating_sub(before)
}

const LARGE: usize = 256 << 20;
/// What the process may make resident meanwhile for other reasons.
const SLACK: usize = 4 << 20;

// One test, because the process's resident memory is one figure.
#[test]
fn zeros_that_are_known_are_not_written() {
    let zeros = || vec![0_u8; LARGE];
    assert!(made_resident(|| vec![1_u8; LARGE]) >= LARGE, "the measure is blind");
    assert!(made_resident(zeros) < SLACK, "the default tier, which is the global one");
    assert!(made_resident(|| ALLOC.with_global(zeros)) < SLACK, "the global tier");
    let heap = ALLOC.heap().expect("memory for a heap");
    assert!(made_resident(|| heap.enter(zeros)) < SLACK, "a large object of a heap");
    // Blocks that the heap's own allocator gives.
    let pieces = || (0..1000).map(|_| vec![0_u8; 128 << 10]).collect::<Vec<_>>();
    assert!(made_resident(|| heap.enter(pieces)) < 2 * SLACK, "blocks of a heap");
    drop(heap);
    // A block that was written and freed is zeroed again.
    let heap = ALLOC.heap().expect("memory for a heap");
    heap.enter(|| {
        drop(black_box(vec![7_u8; 100_000]));
        assert!(black_box(vec![0_u8; 100_000]).iter().all(|&byte| byte == 0));
    });
    drop(heap);
    let heap = ALLOC.heap().expect("memory for a heap");
    assert!(heap.enter(|| black_box(vec![0_u8; 100_000]).iter().all(|&byte| byte == 0)));

    // A thread whose context is undecided: nothing was allocated on it from this allocator.
    use context_allocator::{Allocator, NonZeroLayout};
    let layout = NonZeroLayout::from_size_align(LARGE, 8).expect("a layout");
    let touched = std::thread::spawn(move || {
        let before = resident();
        let block = with_threads::ALLOC.allocate_zeroed(layout).expect("memory");
        let touched = resident().saturating_sub(before);
        // SAFETY: Just allocated with this layout, and used by nobody.
        unsafe { with_threads::ALLOC.deallocate(block.cast(), layout) };
        touched
    });
    assert!(touched.join().expect("the thread ends well") < SLACK, "an undecided context");
}
