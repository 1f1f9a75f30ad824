//! `MmapAllocator` as the `#[global_allocator]`, and in the global tier of the switchable
//! allocator.

#![cfg(feature = "std")]

use std::collections::BTreeMap;

use context_allocator::adapt::AllocatorAdaptor;
use context_allocator::size::U16384;
use context_allocator::switch::NoTier;
use context_allocator::{ArenaSource, Builder, BumpAllocator, MmapAllocator, MmapSource, Tiers};

#[global_allocator]
static GLOBAL: AllocatorAdaptor<MmapAllocator> = AllocatorAdaptor::new(MmapAllocator::new());

context_allocator::switchable_allocator!(
    static TIERS: Tiers<
        BumpAllocator<ArenaSource<MmapSource, U16384>>,
        NoTier,
        AllocatorAdaptor<MmapAllocator>,
    > = Builder::new()
        .coroutine_tier(BumpAllocator::new(ArenaSource::new_in(MmapSource::new())))
        .without_thread_tier()
        .global_tier_allocator(MmapAllocator::new())
        .build();
);

#[test]
fn a_program_runs_on_memory_maps_alone() {
    let words = std::thread::spawn(|| (0..1000).map(|number: u32| number.to_string()).collect::<Vec<_>>());
    let words = words.join().expect("the thread ends well");
    let lengths: BTreeMap<&str, usize> = words.iter().map(|word| (word.as_str(), word.len())).collect();
    assert_eq!((lengths.len(), lengths["999"]), (1000, 3));
    let mut bytes = Vec::new();
    (0..20_000_000_u32).for_each(|number| bytes.push(number as u8));
    assert!(bytes.iter().zip(0_u32..).all(|(&byte, number)| byte == number as u8));
    bytes.truncate(10);
    bytes.shrink_to_fit();
    assert_eq!(bytes, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
}

#[test]
fn it_serves_the_global_tier() {
    use std::alloc::{GlobalAlloc, Layout};
    let layout = Layout::from_size_align(100_000, 8).expect("the layout exists");
    let allocate = || {
        // SAFETY: The size is not zero.
        unsafe { TIERS.alloc(layout) }
    };
    let global = allocate();
    let heap = TIERS.heap().expect("memory for a heap");
    let in_heap = heap.enter(allocate);
    assert!(!global.is_null() && !in_heap.is_null());
    assert!(global.addr().is_multiple_of(4096), "a map of its own");
    for block in [global, in_heap] {
        // SAFETY: Allocated there with this layout.
        let block = unsafe { TIERS.realloc(block, layout, 200_000) };
        let grown = Layout::from_size_align(200_000, 8).expect("the layout exists");
        // SAFETY: As above, grown to this one.
        unsafe { TIERS.dealloc(block, grown) };
    }
}
