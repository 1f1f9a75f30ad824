//! Sizes and alignments beyond what the tiers' allocators hold, no size at all, and sizes that
//! nobody can have.

#![cfg(feature = "testing")]

mod support;

use std::alloc::{GlobalAlloc, Layout};
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, PoisonError};

use context_allocator::adapt::{AllocatorAdaptor, GlobalAllocToAllocatorAdaptor};
use context_allocator::alloc::LocalAllocator;
use context_allocator::switch::Declaration;
use context_allocator::switch::TierSet;
use context_allocator::{Allocator, Heap, SwitchableAllocator};
use support::layout;
use support::ledger::{Ledger, Way};
use support::stress::Block;

context_allocator::global_thread_and_coroutine_switchable_allocator!(static ALLOC);

/// The statistics of the process are compared, so one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn heap() -> Heap<ALLOC> {
    ALLOC.heap().expect("memory for a heap")
}

// One in which nobody else allocates, so that its statistics are the test's alone.
context_allocator::switchable_allocator!(static QUIET);

/// Runs `f` in each tier, with the number of blocks that are allocated.
fn in_every_tier<D: Declaration>(allocator: &'static SwitchableAllocator<D>, f: impl Fn(&dyn Fn() -> usize))
where
    <D::Tiers as TierSet>::Coroutine: LocalAllocator,
    <D::Tiers as TierSet>::Thread: LocalAllocator,
{
    let heap = allocator.heap().expect("memory for a heap");
    heap.enter(|| f(&|| heap.statistics().live_blocks));
    allocator.with_thread(|| f(&|| 0));
    allocator.with_global(|| f(&|| 0));
}

const MIB: usize = 1 << 20;

#[test]
fn up_to_a_gibibyte_and_two_mebibytes_of_alignment() {
    let _alone = alone();
    let heap = heap();
    let held = heap.statistics().held_bytes;
    for size in [40_000, 100_000, MIB, 7 * MIB + 3, 1 << 30] {
        for align in [1, 64, 4096, 65_536, 131_072, 2 * MIB] {
            // Each page of a gibibyte is touched, which takes a while.
            if size == 1 << 30 && align != 64 && align != 2 * MIB {
                continue;
            }
            let layout = Layout::from_size_align(size, align).unwrap();
            let block = heap.enter(|| Block::new(layout, size as u64, false)).unwrap();
            assert_eq!(heap.statistics().live_blocks, 1);
            assert!(heap.statistics().held_bytes >= held + size);
            block.check();
            std::thread::spawn(|| block.free()).join().unwrap();
            assert_eq!(heap.statistics().live_blocks, 0);
            assert_eq!(heap.statistics().held_bytes, held, "{layout:?}");
            for block in [
                ALLOC.with_thread(|| Block::new(layout, 1, false)),
                ALLOC.with_global(|| Block::new(layout, 2, false)),
            ] {
                std::thread::spawn(|| block.unwrap().free()).join().unwrap();
            }
        }
    }
}

#[test]
fn every_power_of_two_and_its_neighbours_at_every_alignment() {
    let _alone = alone();
    in_every_tier(&QUIET, |blocks| {
        let before = blocks();
        let mut ledger = Ledger::new(&QUIET);
        for align in (0..=17).map(|power| 1 << power) {
            for size in (0..=17).flat_map(|power: u32| [(1 << power) - 1, 1 << power, (1 << power) + 1]) {
                if size > 0 {
                    let address =
                        ledger.allocate(layout(size, align)).expect("a size that every tier serves");
                    ledger.free(address);
                }
            }
        }
        assert_eq!(blocks(), before);
    });
    let end = QUIET.statistics();
    assert_eq!((end.heap_blocks, end.thread_blocks, end.heaps_alive, end.orphans), (0, 0, 0, 0));
}

#[test]
fn contents_survive_growing_and_shrinking_across_the_threshold() {
    let _alone = alone();
    in_every_tier(&ALLOC, |_| {
        for align in [1, 16, 4096, 65_536] {
            let mut block = Block::new(Layout::from_size_align(100, align).unwrap(), 3, false).unwrap();
            for size in [30_000, 32_768, 32_769, 70_000, 64 * MIB, 65_000, 40_000, 32_768, 10, 9 * MIB, 1] {
                assert!(block.resize(size));
            }
            block.free();
        }
    });
}

#[test]
fn the_heap_of_a_large_object_that_grows_elsewhere() {
    let _alone = alone();
    let (first, second) = (heap(), heap());
    let layout = Layout::from_size_align(MIB, 8).unwrap();
    let mut block = first.enter(|| Block::new(layout, 4, false)).unwrap();
    assert!(second.enter(|| block.resize(5 * MIB)));
    assert_eq!((first.statistics().live_blocks, second.statistics().live_blocks), (0, 1));
    drop(first);
    drop(second);
    assert_eq!(ALLOC.statistics().orphans, 1);
    assert!(block.resize(100));
    assert_eq!(ALLOC.statistics().orphans, 0);
    block.free();
}

#[test]
fn zeroed_memory_is_zero_where_memory_was_used_before() {
    let _alone = alone();
    in_every_tier(&ALLOC, |_| {
        for size in [1, 16, 1000, 30_000, 32_768, 40_000, 3 * MIB] {
            for number in 0..4 {
                let layout = Layout::from_size_align(size, 1 << (number * 3)).unwrap();
                Block::new(layout, number as u64, false).unwrap().free();
                Block::new(layout, number as u64, true).unwrap().free();
            }
        }
    });
}

#[test]
fn no_bytes_through_global_alloc() {
    let _alone = alone();
    in_every_tier(&ALLOC, |blocks| {
        for align in [1, 8, 4096, 1 << 20] {
            let before = blocks();
            let none = Layout::from_size_align(0, align).unwrap();
            // SAFETY: This implementation serves requests for no bytes.
            let block = NonNull::new(unsafe { ALLOC.alloc(none) }).unwrap();
            // SAFETY: As above.
            let zeroed = NonNull::new(unsafe { ALLOC.alloc_zeroed(none) }).unwrap();
            assert!(block.addr().get().is_multiple_of(align) && zeroed.addr().get().is_multiple_of(align));
            // SAFETY: Just allocated with this layout; the size is one of a layout of that
            // alignment.
            let grown = NonNull::new(unsafe { ALLOC.realloc(block.as_ptr(), none, 100) }).unwrap();
            // SAFETY: The block has 100 bytes.
            unsafe { grown.write_bytes(1, 100) };
            let layout = Layout::from_size_align(100, align).unwrap();
            // SAFETY: The block has this layout now.
            let shrunk = NonNull::new(unsafe { ALLOC.realloc(grown.as_ptr(), layout, 0) }).unwrap();
            // SAFETY: The block has no bytes now, at the same alignment, and is not used again.
            unsafe { ALLOC.dealloc(shrunk.as_ptr(), none) };
            // SAFETY: As above.
            unsafe { ALLOC.dealloc(zeroed.as_ptr(), none) };
            assert_eq!(blocks(), before);
        }
    });
}

#[test]
fn no_bytes_through_every_adaptor() {
    let _alone = alone();
    let adaptor = AllocatorAdaptor::new(&ALLOC);
    in_every_tier(&ALLOC, |blocks| {
        let before = blocks();
        for align in [1, 64, 1 << 20] {
            let none = Layout::from_size_align(0, align).unwrap();
            // SAFETY: The adaptor serves requests for no bytes.
            let block = unsafe { adaptor.alloc(none) };
            assert!(!block.is_null() && block.addr().is_multiple_of(align));
            // SAFETY: Just allocated with this layout, and not used again.
            unsafe { adaptor.dealloc(block, none) };
            #[cfg(feature = "allocator-api2-02")]
            no_bytes_through_the_trait(&adaptor, none);
        }
        assert_eq!(blocks(), before);
    });
    // As a `GlobalAlloc` and back again.
    let layout = layout(100, 8);
    let block = GlobalAllocToAllocatorAdaptor::new(&adaptor).allocate(layout).unwrap();
    // SAFETY: Just allocated with this layout, in the end by `ALLOC`.
    unsafe { ALLOC.deallocate(block.cast(), layout) };
}

#[cfg(feature = "allocator-api2-02")]
fn no_bytes_through_the_trait(adaptor: &impl allocator_api2_02::alloc::Allocator, none: Layout) {
    let block = adaptor.allocate(none).unwrap();
    assert!(block.cast::<u8>().addr().get().is_multiple_of(none.align()));
    let some = Layout::from_size_align(40, none.align()).unwrap();
    // SAFETY: Just allocated with the layout.
    let grown = unsafe { adaptor.grow_zeroed(block.cast(), none, some) }.unwrap();
    // SAFETY: The block has this layout now.
    let shrunk = unsafe { adaptor.shrink(grown.cast(), some, none) }.unwrap();
    // SAFETY: The block has this layout now, and is not used again.
    unsafe { adaptor.deallocate(shrunk.cast(), none) };
}

#[test]
fn what_nobody_can_have_fails_and_changes_nothing() {
    let _alone = alone();
    let most = isize::MAX as usize;
    let impossible: Vec<_> = (0..=40)
        .map(|power| 1_usize << power)
        .flat_map(|align| [most, most / 2, 1 << 60, 1 << 50].map(|size| (size & !(align - 1), align)))
        .chain([(1, 1 << 62), (1, 1 << 61), (1 << 61, 1 << 61), (5000, 1 << 55)])
        .map(|(size, align)| layout(size, align))
        .collect();
    in_every_tier(&QUIET, |_| {
        let mut ledger = Ledger::new(&QUIET);
        let small = ledger.allocate(layout(100, 8)).unwrap();
        let large = ledger.allocate(layout(MIB, 8)).unwrap();
        let before = QUIET.statistics();
        for &layout in &impossible {
            assert!(QUIET.allocate(layout).is_err(), "{layout:?}");
            assert!(QUIET.allocate_zeroed(layout).is_err(), "{layout:?}");
            if layout.size() > MIB {
                assert!(ledger.resize(small, layout, Way::Grow).is_err());
                assert!(ledger.resize(large, layout, Way::GrowZeroed).is_err());
            }
            // SAFETY: The layout has a size.
            assert!(unsafe { GlobalAlloc::alloc(&QUIET, layout.layout()) }.is_null());
            // SAFETY: As above.
            assert!(unsafe { GlobalAlloc::alloc_zeroed(&QUIET, layout.layout()) }.is_null());
        }
        // The process's pool of slices serves the other tests too.
        let mut after = QUIET.statistics();
        after.idle_bytes = before.idle_bytes;
        after.idle_resident_bytes = before.idle_resident_bytes;
        assert_eq!(after, before);
        ledger.free_all();
    });
}
