//! What shards hold after nearly all of their slabs went back one by one, but not those that are
//! current.

use std::ptr::NonNull;
use std::sync::Barrier;

use context_allocator::alloc::Sharded;
use context_allocator::source::CountingSource;
use context_allocator::{Allocator, MmapSource, NonZeroLayout, SlabAllocator};
use typenum::U8;

static SHARDED: Sharded<SlabAllocator<CountingSource<MmapSource>>, U8> =
    Sharded::new_in(SlabAllocator::new_in(CountingSource::new(MmapSource::new())));

/// Blocks, on their way from one thread to another.
struct Blocks(Vec<(NonNull<u8>, NonZeroLayout)>);

// SAFETY: Nobody else uses the blocks, which may be freed on any thread.
unsafe impl Send for Blocks {}

fn allocate(size: usize) -> (NonNull<u8>, NonZeroLayout) {
    let layout = NonZeroLayout::from_size_align(size, 8).expect("a layout");
    (SHARDED.allocate(layout).expect("memory").cast(), layout)
}

fn free((block, layout): (NonNull<u8>, NonZeroLayout)) {
    // SAFETY: It was allocated with this layout, and is freed once.
    unsafe { SHARDED.deallocate(block, layout) };
}

fn held() -> usize {
    SHARDED.source().counts().bytes
}

#[test]
fn current_slabs_do_not_keep_their_memory_for_ever() {
    for mib in [17, 40, 60, 100] {
        let mut blocks: Vec<_> = (0..mib * 1024).map(|_| allocate(1024)).collect();
        let barrier = Barrier::new(8);
        std::thread::scope(|scope| {
            let every_class = || {
                barrier.wait();
                let mut blocks = Vec::new();
                let mut size: usize = 16;
                while size <= 32768 {
                    blocks.push(allocate(size));
                    size += if size < 1024 { 16 } else { (1 << size.ilog2()) / 4 };
                }
                barrier.wait();
                Blocks(blocks)
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(every_class)).collect();
            threads.into_iter().for_each(|thread| blocks.extend(thread.join().expect("it ends well").0));
        });
        assert!(held() >= mib << 20);
        blocks.into_iter().for_each(free);
        (0..1000).for_each(|_| free(allocate(100)));
        assert!(held() <= 8 << 20, "{} KiB are held after {mib} MiB, and nothing is live", held() >> 10);
    }
}
