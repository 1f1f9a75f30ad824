//! Threads that come and go: their heaps are parked and adopted, and what runs at their very end
//! can still allocate.

#![cfg(feature = "testing")]

mod support;

use std::alloc::System;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::hint::black_box;
use std::ptr::{NonNull, null_mut, without_provenance};
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::AcqRel, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use context_allocator::size::{U65536, U4194304};
use context_allocator::{
    Allocator, ArenaSource, Builder, BumpAllocator, MmapSource, NonZeroLayout, SlabAllocator, Tiers,
};
use support::CheckingSource;
use support::forking::{check, words};
use support::layout;
use support::ledger::{Held, Ledger, Taking};

type Counting = CheckingSource<MmapSource>;

static SOURCE: Counting = CheckingSource::new(MmapSource::new());

context_allocator::global_thread_and_coroutine_switchable_allocator!(static ALLOC);

type Counted = SlabAllocator<ArenaSource<&'static Counting, U65536, U4194304>>;

// One in which only the test that runs allocates, so that its statistics are exact.
context_allocator::switchable_allocator!(
    static QUIET: Tiers<BumpAllocator<ArenaSource<MmapSource>>, Counted, System> = Builder::new()
        .coroutine_tier(BumpAllocator::new(ArenaSource::new_in(MmapSource::new())))
        .thread_tier(SlabAllocator::new_in(ArenaSource::new_in(&SOURCE)))
        .global_tier(System)
        .build();
);

fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn on_a_thread<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(f).join().unwrap())
}

fn blocks(count: usize) -> Vec<Held> {
    let mut ledger = Ledger::new(&QUIET);
    for number in 0..count {
        ledger.allocate(layout(1 + number * 37 % 700, 8)).unwrap();
    }
    ledger.take_all()
}

fn free(blocks: impl IntoIterator<Item = Held>) {
    let ledger = Ledger::new(&QUIET);
    blocks.into_iter().for_each(|held| ledger.free_as(&held, held.layout().size()));
}

#[test]
fn two_thousand_threads_do_not_make_two_thousand_heaps() {
    const AT_ONCE: usize = 4;
    let _alone = alone();
    let heaps_before = heaps();
    let mut most = 0;
    let mut running = VecDeque::new();
    let mut left: VecDeque<Vec<Held>> = VecDeque::new();
    for number in 0..2000 {
        let theirs = left.pop_front();
        running.push_back(std::thread::spawn(move || {
            let mut mine = blocks(100);
            let others = mine.split_off(50);
            free(mine);
            free(theirs.into_iter().flatten());
            others
        }));
        if running.len() == AT_ONCE {
            left.push_back(running.pop_front().unwrap().join().unwrap());
        }
        assert!(heaps() <= heaps_before + AT_ONCE, "{:?}", QUIET.statistics());
        if number == 100 {
            most = SOURCE.counts().bytes;
        }
    }
    left.extend(running.into_iter().map(|thread| thread.join().unwrap()));
    assert!(QUIET.statistics().parked_heaps >= 1);
    free(left.into_iter().flatten());
    assert_eq!(QUIET.statistics().thread_blocks, 0);
    // Each of the heaps that there are at once has a slab for each class.
    assert!(
        SOURCE.counts().most_bytes <= most.max(AT_ONCE * (4 << 20)),
        "memory grows with the number of threads"
    );
    nothing_is_held();
}

/// Heaps of the thread tier that exist.
fn heaps() -> usize {
    let statistics = QUIET.statistics();
    statistics.parked_heaps + statistics.thread_heaps
}

fn nothing_is_held() {
    QUIET.trim();
    assert_eq!(QUIET.statistics().thread_bytes, 0);
    SOURCE.assert_all_released();
}

#[test]
fn the_last_block_of_a_parked_heap_releases_its_regions() {
    let _alone = alone();
    let mut left = on_a_thread(|| blocks(3000));
    let held = QUIET.statistics().thread_bytes;
    assert!(held >= 2 * 65_536, "several regions");
    let last = left.pop();
    // This thread makes no heap: it only frees.
    free(left);
    let kept = QUIET.statistics().thread_bytes;
    assert!((1..=256 << 10).contains(&kept), "{kept} bytes, of {held}, for one block");
    free(last);
    let statistics = QUIET.statistics();
    assert_eq!((statistics.thread_bytes, statistics.thread_blocks), (0, 0), "without further traffic");
    assert_eq!((statistics.thread_heaps, statistics.parked_heaps >= 1), (0, true));
    nothing_is_held();
}

#[test]
fn an_adopted_heap_gets_the_blocks_that_were_freed_meanwhile() {
    let _alone = alone();
    let left = on_a_thread(|| blocks(1000));
    let bytes = QUIET.statistics().thread_bytes;
    let mut left = left.into_iter();
    free(left.by_ref().take(900));
    // The next thread adopts the heap and allocates as many of the same sizes, from what came home.
    let more = on_a_thread(|| blocks(900));
    assert_eq!(QUIET.statistics().thread_bytes, bytes);
    assert_eq!(QUIET.statistics().thread_blocks, 1000);
    free(left.chain(more));
    nothing_is_held();
}

context_allocator::switchable_allocator!(static LATE);

/// Keys of the threads library: one made before the key of `LATE`, and one after.
struct Keys {
    before: libc::pthread_key_t,
    after: libc::pthread_key_t,
}

static ENDED: AtomicUsize = AtomicUsize::new(0);
/// A block of the thread's heap, left for the destructors.
static LEFT: AtomicPtr<u8> = AtomicPtr::new(null_mut());

fn layout_left() -> NonZeroLayout {
    layout(64, 8)
}

fn key() -> libc::pthread_key_t {
    let mut key = 0;
    // SAFETY: `key` is writable, and the destructor is a function.
    assert_eq!(unsafe { libc::pthread_key_create(&raw mut key, Some(at_the_end)) }, 0);
    key
}

/// Runs in the destructor of a key: allocates and frees in all tiers.
unsafe extern "C" fn at_the_end(_: *mut libc::c_void) {
    let globals = ALLOC.with_global(|| words(30));
    let heap = ALLOC.heap().expect("memory for a heap");
    let inside = heap.enter(|| words(30));
    let threads = ALLOC.with_thread(|| words(30));
    let mut default = words(30);
    default.push(default.len().to_string());
    check(&globals);
    check(&inside);
    drop(heap);
    check(&inside);
    check(&threads);
    check(&default);
    // A block of the heap that the thread had.
    if let Some(block) = NonNull::new(LEFT.swap(null_mut(), AcqRel)) {
        // SAFETY: The thread left a block of this layout.
        unsafe { QUIET.deallocate(block, layout_left()) };
    }
    // The one has parked the thread's heap before either destructor, the other between the two.
    let early = QUIET.allocate(layout_left()).expect("memory from the global tier");
    // SAFETY: Just allocated with this layout, and not used again.
    unsafe { QUIET.deallocate(early.cast(), layout_left()) };
    let late = LATE.allocate(layout_left()).expect("memory from either tier");
    // SAFETY: Just allocated with this layout, and not used again.
    unsafe { LATE.deallocate(late.cast(), layout_left()) };
    ENDED.fetch_add(1, Relaxed);
}

#[test]
fn destructors_of_keys_made_before_and_after_the_allocators() {
    let _alone = alone();
    static KEYS: OnceLock<Keys> = OnceLock::new();
    let before = key();
    // Its first use makes its key, between the two.
    let first = LATE.allocate(layout_left()).unwrap();
    // SAFETY: Just allocated with this layout, and not used again.
    unsafe { LATE.deallocate(first.cast(), layout_left()) };
    let keys = KEYS.get_or_init(|| Keys { before, after: key() });
    for round in 0..20 {
        on_a_thread(|| {
            let block = QUIET.allocate(layout_left()).unwrap();
            LEFT.store(block.cast::<u8>().as_ptr(), Relaxed);
            drop(black_box(words(10)));
            let late = LATE.allocate(layout_left()).unwrap();
            // SAFETY: Just allocated with this layout, and not used again.
            unsafe { LATE.deallocate(late.cast(), layout_left()) };
            for key in [keys.before, keys.after] {
                // SAFETY: The key is never deleted; its destructor does not look at the value.
                assert_eq!(unsafe { libc::pthread_setspecific(key, without_provenance(1)) }, 0);
            }
        });
        // A scope ends when its closures have returned, so the thread may not be gone yet: `join`
        // waits for that.
        assert_eq!(ENDED.load(Relaxed), 2 * (round + 1));
    }
    for statistics in [QUIET.statistics(), LATE.statistics()] {
        assert_eq!(statistics.thread_blocks, 0);
    }
    nothing_is_held();
}

#[test]
fn destructors_of_thread_locals_use_the_heap_of_their_thread() {
    let _alone = alone();
    struct Last {
        block: Cell<Option<NonNull<u8>>>,
        words: RefCell<Vec<String>>,
    }
    impl Drop for Last {
        fn drop(&mut self) {
            check(self.words.get_mut());
            let block = self.block.take().expect("the thread left a block");
            // SAFETY: The thread left a block of this layout.
            unsafe { QUIET.deallocate(block, layout_left()) };
            let before = QUIET.statistics().thread_blocks;
            let more = QUIET.allocate(layout_left()).unwrap();
            assert_eq!(QUIET.statistics().thread_blocks, before + 1, "the heap is not parked yet");
            // SAFETY: Just allocated with this layout, and not used again.
            unsafe { QUIET.deallocate(more.cast(), layout_left()) };
        }
    }
    thread_local! {
        static LAST: Last =
            Last { block: Cell::new(Some(QUIET.allocate(layout_left()).unwrap().cast())), words: RefCell::new(words(9)) };
    }
    for _ in 0..20 {
        on_a_thread(|| LAST.with(|last| check(&last.words.borrow())));
        assert_eq!(QUIET.statistics().thread_blocks, 0);
    }
    nothing_is_held();
}
