//! The model's generated operations through the switch, with the recommended thread tier: blocks of
//! all sizes, from slabs to maps of their own.

use crate::support::layout;
use crate::support::model::{self, Profile};
use context_allocator::Allocator;

// Not the global one, so that only the model allocates from it.
context_allocator::switchable_allocator!(static ALLOC);

#[test]
fn the_thread_tier_against_the_model() {
    std::thread::scope(|scope| {
        for seed in 0..2 {
            scope.spawn(move || {
                ALLOC.with_thread(|| {
                    model::run(&ALLOC, Profile::SMALL.operations(300_000).seed(seed));
                    model::run(&ALLOC, Profile::MIXED.operations(200_000).seed(seed));
                    model::run(&ALLOC, Profile::LARGE.seed(seed));
                });
            });
        }
    });
    ALLOC.trim();
    let statistics = ALLOC.statistics();
    assert_eq!(statistics.parked_blocks, 0, "{statistics:?}");
    assert!(statistics.parked_heaps >= 1, "{statistics:?}");
}

/// What a slab's blocks held before does not show through.
#[test]
fn zeroed_blocks_are_zeroed_however_often_they_are_used_again() {
    ALLOC.with_thread(|| {
        for round in 0..50_u8 {
            for size in [1, 16, 100, 1000, 5000, 30_000, 70_000, 300_000] {
                let block = ALLOC.allocate_zeroed(layout(size, 8)).expect("memory");
                let start = block.cast::<u8>();
                // SAFETY: The block has that many bytes, which were just written.
                let bytes = unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), size) };
                assert!(bytes.iter().all(|byte| *byte == 0), "{size} bytes in round {round}");
                bytes.fill(round | 1);
                // SAFETY: Just allocated with this layout, and not used again.
                unsafe { ALLOC.deallocate(start, layout(size, 8)) };
            }
        }
    });
}
