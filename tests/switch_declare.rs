//! What the declaring macros do with attributes.
//!
//! Each name is declared twice, once for a configuration that is not: an item of it that remained
//! would clash with the other one's.

#![cfg(feature = "std")]
#![deny(unused_attributes, unused_doc_comments)]

use std::hint::black_box;

use context_allocator::switch::{RECOMMENDED_TIERS, RecommendedTiers};
use context_allocator::{Allocator, Heap, NonZeroLayout};

context_allocator::global_thread_and_coroutine_switchable_allocator!(
    #[cfg(any())]
    static GLOBAL
);
context_allocator::global_thread_and_coroutine_switchable_allocator!(
    #[cfg(target_os = "none")]
    pub static GLOBAL: DoesNotExist = does_not_exist();
);
context_allocator::global_thread_and_coroutine_switchable_allocator!(
    /// The one that there is.
    #[cfg(all())]
    #[allow(unreachable_pub)]
    #[cfg(target_os = "linux")]
    /// Documented twice.
    pub static GLOBAL: RecommendedTiers = RECOMMENDED_TIERS;
);

context_allocator::switchable_allocator!(
    #[cfg(target_os = "none")]
    #[cfg(all())]
    static PLAIN
);
context_allocator::switchable_allocator!(
    #[cfg(all())]
    #[cfg(any())]
    pub(crate) static PLAIN: DoesNotExist = does_not_exist();
);
context_allocator::switchable_allocator!(
    #[cfg_attr(all(), doc = "Documented on a condition.")]
    #[cfg(not(any()))]
    pub(crate) static PLAIN
);

mod inner {
    context_allocator::switchable_allocator!(
        #[cfg(all())]
        pub(super) static SEEN
    );
}

#[test]
fn what_is_configured_is_declared_whole() {
    fn live(heap: &Heap<GLOBAL>) -> usize {
        heap.statistics().live_blocks
    }
    let heap = GLOBAL.heap().unwrap();
    let boxed = heap.enter(|| black_box(Box::new(1)));
    assert_eq!(live(&heap), 1);
    drop(boxed);

    let heap: Heap<PLAIN> = PLAIN.heap().unwrap();
    let other: Heap<inner::SEEN> = inner::SEEN.heap().unwrap();
    let layout = NonZeroLayout::of::<u64>().unwrap();
    let block = heap.enter(|| PLAIN.allocate(layout)).unwrap();
    assert_eq!((heap.statistics().live_blocks, other.statistics().live_blocks), (1, 0));
    // SAFETY: Just allocated with this layout, and not used again.
    unsafe { PLAIN.deallocate(block.cast(), layout) };
}
