//! A policy's `orphaned` that uses the allocator while its thread ends: the thread must be as one
//! without a heap afterwards.

use context_allocator::Allocator;
use context_allocator::switch::{Orphan, OrphanAction, Policy, RecommendedTiers, recommended_tiers};
use context_allocator::{MmapSource, NonZeroLayout};

const LAYOUT: NonZeroLayout = NonZeroLayout::of::<u64>().unwrap();

struct Allocates;

impl Policy for Allocates {
    type Large = MmapSource;
    const LARGE: &'static MmapSource = &MmapSource::new();
    fn orphaned(_: Orphan) -> OrphanAction {
        let block = FIRST.allocate(LAYOUT).unwrap();
        FIRST.statistics();
        FIRST.trim();
        // SAFETY: Just allocated with this layout, and not used again.
        unsafe { FIRST.deallocate(block.cast(), LAYOUT) };
        assert!(FIRST.allocate(LAYOUT).is_ok());
        OrphanAction::Retain
    }
}

context_allocator::switchable_allocator!(static FIRST: RecommendedTiers<Allocates> = recommended_tiers());
context_allocator::switchable_allocator!(static SECOND: RecommendedTiers<Allocates> = recommended_tiers());

macro_rules! orphan_when_the_thread_ends {
    ($allocator:ident) => {{
        // The thread's own heap, so that the end of the thread is seen.
        assert!($allocator.allocate(LAYOUT).is_ok());
        let heap = $allocator.heap().unwrap();
        std::mem::forget(heap.guard().unwrap());
        assert!($allocator.allocate(LAYOUT).is_ok());
        drop(heap);
    }};
}

#[test]
fn an_orphan_at_the_end_of_a_thread_may_allocate() {
    std::thread::spawn(|| {
        orphan_when_the_thread_ends!(FIRST);
        orphan_when_the_thread_ends!(SECOND);
    })
    .join()
    .unwrap();
}
