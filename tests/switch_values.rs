//! Values that leave their heap, in every way that safe code allows. The switchable allocator is
//! the global one.

#![cfg(feature = "std")]

use std::alloc::Layout;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

use context_allocator::Heap;
use context_allocator::switch::{EnterError, RecommendedTiers, RefusingPolicy, recommended_tiers};

context_allocator::global_thread_and_coroutine_switchable_allocator!(
    static ALLOC: RecommendedTiers<RefusingPolicy> = recommended_tiers()
);

fn heap() -> Heap<ALLOC> {
    ALLOC.heap().expect("memory for a heap")
}

fn words(count: usize) -> Vec<String> {
    (0..count).map(|number| black_box(format!("word number {number}"))).collect()
}

fn check(words: &[String]) {
    for (number, word) in words.iter().enumerate() {
        assert_eq!(*word, format!("word number {number}"));
    }
}

#[test]
fn returned_from_the_scope() {
    let heap = heap();
    let values = heap.enter(|| words(100));
    assert_eq!(heap.statistics().live_blocks, 101);
    check(&values);
    drop(values);
    assert_eq!(heap.statistics().live_blocks, 0);
    assert_eq!(heap.statistics().remote_frees, 101);
}

#[test]
fn freed_inside_the_scope() {
    let heap = heap();
    heap.enter(|| drop(black_box(words(100))));
    assert_eq!(heap.statistics().live_blocks, 0);
    assert_eq!(heap.statistics().remote_frees, 0);
}

#[test]
fn sent_to_another_thread_and_dropped_there() {
    let heap = heap();
    let values = heap.enter(|| words(100));
    std::thread::spawn(move || {
        check(&values);
        drop(values);
    })
    .join()
    .unwrap();
    assert_eq!(heap.statistics().live_blocks, 0);
    assert_eq!(heap.statistics().remote_frees, 101);
}

#[test]
fn dropped_after_the_handle() {
    let heap = heap();
    let values = heap.enter(|| words(100));
    drop(heap);
    // Other heaps do not get the orphan's memory.
    let others: Vec<_> = (0..64)
        .map(|_| {
            let heap = self::heap();
            let values = heap.enter(|| words(10));
            (heap, values)
        })
        .collect();
    check(&values);
    drop(values);
    others.iter().for_each(|(_, values)| check(values));
}

#[test]
fn grown_after_the_handle_was_dropped() {
    let heap = heap();
    let mut values = heap.enter(|| words(3));
    let mut text = heap.enter(|| String::from("grows"));
    drop(heap);
    for number in 3..2000 {
        values.push(format!("word number {number}"));
        text.push('!');
    }
    check(&values);
    assert_eq!(text.len(), 5 + 1997);
    values.truncate(5);
    values.shrink_to_fit();
    check(&values);
}

#[test]
fn leaked() {
    let heap = heap();
    let leaked: &'static mut Vec<String> = heap.enter(|| Box::leak(Box::new(words(10))));
    drop(heap);
    drop((0..64).map(|_| self::heap().enter(|| words(10))).collect::<Vec<_>>());
    check(leaked);
    leaked.push(String::from("word number 10"));
    check(leaked);
}

#[test]
fn made_in_one_heap_and_grown_in_another_and_in_none() {
    let (first, second) = (heap(), heap());
    let mut values = first.enter(|| words(3));
    second.enter(|| values.extend((3..500).map(|number| format!("word number {number}"))));
    assert_eq!(first.statistics().live_blocks, 3, "the table moved to where it grew, three words stayed");
    assert_eq!(second.statistics().live_blocks, 497 + 1);
    values.extend((500..2000).map(|number| format!("word number {number}")));
    assert_eq!(second.statistics().live_blocks, 497);
    check(&values);
    ALLOC.with_global(|| values.extend((2000..9000).map(|number| format!("word number {number}"))));
    check(&values);
    drop(second);
    drop(values);
    assert_eq!(first.statistics().live_blocks, 0);
}

#[test]
fn a_block_of_a_heap_in_use_stays_in_it_when_it_grows_in_another_tier() {
    let heap = heap();
    heap.enter(|| {
        let mut text = String::from("in the heap");
        ALLOC.with_global(|| text.push_str(&"x".repeat(5000)));
        assert_eq!(heap.statistics().live_blocks, 1);
        drop(text);
    });
    assert_eq!((heap.statistics().live_blocks, heap.statistics().remote_frees), (0, 0));
}

#[test]
fn lazily_made_values_first_touched_inside_a_scope() {
    static GLOBAL: OnceLock<HashMap<usize, String>> = OnceLock::new();
    thread_local! {
        static LOCAL: RefCell<Vec<String>> = RefCell::new(words(50));
    }
    let heap = heap();
    heap.enter(|| {
        GLOBAL.get_or_init(|| words(50).into_iter().enumerate().collect());
        LOCAL.with_borrow(|values| check(values));
    });
    drop(heap);
    LOCAL.with_borrow_mut(|values| values.extend((50..500).map(|number| format!("word number {number}"))));
    LOCAL.with_borrow(|values| check(values));
    std::thread::spawn(|| assert_eq!(GLOBAL.get().unwrap()[&7], "word number 7")).join().unwrap();
}

#[test]
fn a_panic_inside_nested_scopes_restores_what_was_current() {
    let (outer, inner) = (heap(), heap());
    outer.enter(|| {
        let kept = words(2);
        let result = catch_unwind(AssertUnwindSafe(|| {
            inner.enter(|| {
                let lost = words(5);
                ALLOC.with_global(|| {
                    outer_is_refused(&outer);
                    panic!("with {} words", lost.len())
                })
            })
        }));
        assert_eq!(result.unwrap_err().downcast_ref::<String>().unwrap(), "with 5 words");
        // The outer heap is current again.
        let before = outer.statistics().live_blocks;
        let more = words(3);
        assert_eq!(outer.statistics().live_blocks, before + 4);
        drop((kept, more));
    });
    assert!(inner.try_enter(|| ()).is_ok());
    let before = outer.statistics().live_blocks;
    drop(black_box(words(3)));
    assert_eq!(outer.statistics().live_blocks, before);
}

fn outer_is_refused(outer: &Heap<ALLOC>) {
    assert_eq!(outer.try_enter(|| unreachable!()), Err::<(), _>(EnterError));
}

#[test]
fn the_heap_entered_last_can_be_entered_again() {
    let heap = heap();
    heap.enter(|| {
        ALLOC.with_global(|| {
            let inside = heap.enter(|| black_box(Box::new(1)));
            assert_eq!(heap.statistics().live_blocks, 1);
            let outside = black_box(Box::new(2));
            assert_eq!(heap.statistics().live_blocks, 1);
            drop((inside, outside));
        });
        let inside = black_box(Box::new(3));
        assert_eq!(heap.statistics().live_blocks, 1);
        drop(inside);
    });
    assert_eq!(heap.statistics().live_blocks, 0);
}

#[test]
fn guards_may_be_dropped_in_any_order() {
    let heaps: Vec<_> = (0..4).map(|_| heap()).collect();
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2], [2, 0, 3, 1]] {
        let mut guards = ALLOC.with_global(|| Vec::with_capacity(heaps.len()));
        guards.extend(heaps.iter().map(|heap| Some(heap.guard().unwrap())));
        for index in order {
            guards[index] = None;
            let current = heaps.iter().enumerate().rev().find(|(index, _)| guards[*index].is_some());
            let text = black_box(String::from("somewhere"));
            for (index, heap) in heaps.iter().enumerate() {
                let expected = usize::from(current.is_some_and(|(current, _)| current == index));
                assert_eq!(heap.statistics().live_blocks, expected);
            }
            drop(text);
        }
        heaps.iter().for_each(|heap| assert!(heap.try_enter(|| ()).is_ok()));
    }
}

#[test]
fn a_heap_whose_guard_was_forgotten_stays_entered_and_its_handle_can_be_dropped() {
    std::thread::spawn(|| {
        let forgotten = heap();
        std::mem::forget(forgotten.guard().unwrap());
        let text = black_box(String::from("in the forgotten scope"));
        assert_eq!(forgotten.statistics().live_blocks, 1);
        std::thread::spawn(move || {
            assert_eq!(forgotten.try_enter(|| ()), Err(EnterError));
            drop(forgotten);
        })
        .join()
        .unwrap();
        // This thread still is in the heap, and the heap still is there.
        let more = words(1000);
        check(&more);
        drop(text);
    })
    .join()
    .unwrap();
}

#[test]
fn a_heap_moves_between_threads() {
    let mut heap = heap();
    let mut values = Vec::new();
    for round in 0..20 {
        (heap, values) = std::thread::spawn(move || {
            heap.enter(|| values.push(format!("word number {round}")));
            (heap, values)
        })
        .join()
        .unwrap();
    }
    check(&values);
    assert!(heap.statistics().live_blocks >= 20);
    drop(values);
    assert_eq!(heap.statistics().live_blocks, 0);
}

#[test]
fn a_limit_refuses_what_would_pass_it_and_loses_nothing() {
    let heap = ALLOC.heap_with_limit(256 * 1024).unwrap();
    let layout = Layout::from_size_align(10_000, 8).unwrap();
    let mut blocks = heap.enter(|| {
        let mut blocks = ALLOC.with_global(|| Vec::with_capacity(100));
        loop {
            // SAFETY: The layout has a size.
            let block = unsafe { std::alloc::alloc(layout) };
            let Some(block) = std::ptr::NonNull::new(block) else { break };
            // SAFETY: The block was just allocated with that size.
            unsafe { block.write_bytes(7, layout.size()) };
            blocks.push(block);
        }
        blocks
    });
    let count = blocks.len();
    assert!((20..=26).contains(&count), "{count} blocks of 10,000 bytes fit in 256 KiB");
    assert_eq!(heap.statistics().live_blocks, count);
    assert!(heap.statistics().held_bytes <= 256 * 1024);
    // Large objects count too.
    // SAFETY: The layout has a size.
    let large = heap.enter(|| black_box(unsafe { std::alloc::alloc(Layout::new::<[u8; 1 << 20]>()) }));
    assert!(large.is_null());
    for block in blocks.drain(..) {
        // SAFETY: Allocated above with this size, and written.
        let bytes = unsafe { std::slice::from_raw_parts(block.as_ptr(), layout.size()) };
        assert!(bytes.iter().all(|&byte| byte == 7));
        // SAFETY: Allocated above with this layout, and not used again.
        unsafe { std::alloc::dealloc(block.as_ptr(), layout) };
    }
    assert_eq!(heap.statistics().live_blocks, 0);
}

#[test]
fn a_heap_destroyed_takes_everything_with_it() {
    let before = ALLOC.statistics().heap_bytes;
    let heap = heap();
    heap.enter(|| {
        std::mem::forget(words(1000));
        std::mem::forget(black_box(vec![1u8; 10 << 20]));
    });
    assert!(heap.statistics().held_bytes > 10 << 20);
    // SAFETY: The blocks were forgotten; nobody uses them, and nobody is in the heap.
    unsafe { heap.destroy() };
    assert!(ALLOC.statistics().heap_bytes < before + (10 << 20));
}

#[test]
fn threads_that_end_leave_blocks_that_others_free() {
    let values = std::thread::spawn(|| words(1000)).join().unwrap();
    check(&values);
    let mut values = std::thread::spawn(move || {
        let mut values = values;
        values.truncate(500);
        values.extend((500..700).map(|number| format!("word number {number}")));
        values
    })
    .join()
    .unwrap();
    check(&values);
    values.push(String::from("word number 700"));
    check(&values);
}

#[test]
fn destructors_of_thread_locals_allocate_and_free() {
    struct Last(Cell<usize>, RefCell<Vec<String>>);
    impl Drop for Last {
        fn drop(&mut self) {
            let more = words(self.0.get());
            check(&more);
            check(self.1.get_mut());
            let heap = heap();
            let inside = heap.enter(|| words(10));
            drop(heap);
            check(&inside);
        }
    }
    thread_local! {
        static FIRST: Last = Last(Cell::new(100), RefCell::new(words(10)));
        static SECOND: Last = Last(Cell::new(200), RefCell::new(words(20)));
    }
    for _ in 0..50 {
        std::thread::spawn(|| {
            let heap = heap();
            heap.enter(|| SECOND.with(|last| last.0.set(300)));
            FIRST.with(|last| last.0.set(400));
        })
        .join()
        .unwrap();
    }
}

/// One switchable allocator as the global tier of another: each knows its own heaps by its own map.
mod behind_another {
    use context_allocator::adapt::AllocatorAdaptor;
    use context_allocator::switch::NoTier;
    use context_allocator::{
        Allocator, ArenaSource, Builder, BumpAllocator, MmapSource, NonZeroLayout, SwitchableAllocator,
        Tiers, switchable_allocator,
    };

    switchable_allocator!(static INNER);
    switchable_allocator!(
        static OUTER: Tiers<
            BumpAllocator<ArenaSource<MmapSource>>,
            NoTier,
            AllocatorAdaptor<&'static SwitchableAllocator<INNER>>,
        > = Builder::new()
            .coroutine_tier(BumpAllocator::new(ArenaSource::new(MmapSource::new())))
            .without_thread_tier()
            .global_tier_allocator(&INNER)
            .build();
    );

    #[test]
    fn a_block_goes_back_to_the_allocator_that_made_it() {
        let layout = NonZeroLayout::from_size_align(100, 8).unwrap();
        let (inner, outer) = (INNER.heap().unwrap(), OUTER.heap().unwrap());
        let from_inner = inner.enter(|| OUTER.allocate(layout)).unwrap();
        let from_outer = inner.enter(|| outer.enter(|| OUTER.allocate(layout))).unwrap();
        assert_eq!((inner.statistics().live_blocks, outer.statistics().live_blocks), (1, 1));
        // SAFETY: Allocated above by the same allocator with this layout, and not used again.
        unsafe { OUTER.deallocate(from_inner.cast(), layout) };
        assert_eq!((inner.statistics().live_blocks, outer.statistics().live_blocks), (0, 1));
        // SAFETY: As above.
        unsafe { OUTER.deallocate(from_outer.cast(), layout) };
        assert_eq!((inner.statistics().live_blocks, outer.statistics().live_blocks), (0, 0));
    }
}

/// A block of a heap that is full grows in the tier that is current, if that is another one.
#[test]
fn a_block_of_a_full_heap_grows_in_the_tier_that_is_current() {
    let heap = ALLOC.heap_with_limit(1 << 20).expect("memory for a heap");
    let other = ALLOC.heap().expect("memory for a heap");
    heap.enter(|| {
        let filled = || black_box((0..100).collect::<Vec<u32>>());
        let check = |values: &[u32]| assert!(values.iter().copied().eq(0..100));
        let beyond = 10_000_000;
        let mut values = filled();
        assert!(values.try_reserve(beyond).is_err(), "the limit holds in the heap itself");
        check(&values);
        assert!(ALLOC.with_global(|| values.try_reserve(beyond)).is_ok());
        check(&values);
        let mut values = filled();
        assert!(ALLOC.with_thread(|| values.try_reserve(beyond)).is_ok());
        check(&values);
        let mut values = filled();
        assert!(other.enter(|| values.try_reserve(beyond)).is_ok());
        check(&values);
        assert!(heap.statistics().held_bytes <= 1 << 20);
    });
}
