//! Slabs in the thread tier, behind the front that a thread keeps near: every kind of source and of
//! slab, and blocks that are zeroed, resized, freed elsewhere, and freed while their thread ends.

use std::alloc::GlobalAlloc;
use std::cell::RefCell;
use std::ffi::c_void;
use std::sync::{Mutex, mpsc};
use std::thread;

use crate::support::CheckingSource;
use crate::support::layout;
use crate::support::ledger::{Held, Ledger, Taking, Way};
use crate::support::model::{self, Profile};
use context_allocator::size::{U4096, U65536, U1048576};
use context_allocator::switch::Declaration;
use context_allocator::{ArenaSource, BumpAllocator, MmapSource, SlabAllocator, SwitchableAllocator};

pub type Counting = CheckingSource<MmapSource>;
pub type Contexts = BumpAllocator<ArenaSource<MmapSource>>;

/// Declares a switchable allocator with slabs in its thread tier, over a source of its own.
macro_rules! slabs {
    ($allocator:ident over $source:ident: $slabs:ty, $new:expr) => {
        static $source: $crate::slab::Counting =
            $crate::support::CheckingSource::new(context_allocator::MmapSource::new());
        context_allocator::switchable_allocator!(
            static $allocator: context_allocator::Tiers<
                $crate::slab::Contexts,
                $slabs,
                std::alloc::System,
                context_allocator::switch::CountingPolicy,
            > = context_allocator::Builder::new()
                .coroutine_tier(context_allocator::BumpAllocator::new(context_allocator::ArenaSource::new_in(
                    context_allocator::MmapSource::new(),
                )))
                .thread_tier(context_allocator::SlabAllocator::new_in($new))
                .global_tier(std::alloc::System)
                .policy::<context_allocator::switch::CountingPolicy>()
                .build()
        );
    };
}
pub(crate) use slabs;

#[track_caller]
pub fn nothing_is_held<D: Declaration>(allocator: &SwitchableAllocator<D>, source: &Counting) {
    let statistics = allocator.statistics();
    assert_eq!((statistics.thread_blocks, statistics.heap_blocks), (0, 0));
    assert_eq!((statistics.thread.live_blocks(), statistics.thread.live_bytes), (0, 0));
    allocator.trim();
    assert_eq!(allocator.statistics().thread_bytes, 0);
    source.assert_all_released();
}

/// Runs `f` on a thread that ends before this returns.
pub fn on_a_thread<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    thread::scope(|scope| scope.spawn(f).join().unwrap())
}

macro_rules! model {
    ($name:ident: $slabs:ty, $new:expr, $profile:expr) => {
        #[test]
        fn $name() {
            slabs!(ALLOC over SOURCE: $slabs, $new);
            for seed in 1..=2 {
                on_a_thread(|| model::run(&ALLOC, $profile.seed(seed)));
            }
            nothing_is_held(&ALLOC, &SOURCE);
        }
    };
}

/// A heap of slabs holds nothing while it has no block and is not entered, and goes on well.
#[test]
fn a_heap_of_slabs_without_blocks_holds_nothing() {
    static SOURCE: Counting = CheckingSource::new(MmapSource::new());
    context_allocator::switchable_allocator!(
        static ALLOC: context_allocator::Tiers<
            SlabAllocator<&'static Counting>,
            context_allocator::switch::NoTier,
            std::alloc::System,
        > = context_allocator::Builder::new()
            .coroutine_tier(SlabAllocator::new(&SOURCE))
            .without_thread_tier()
            .global_tier(std::alloc::System)
            .build()
    );
    let heap = ALLOC.heap().expect("memory for a heap");
    for round in 0..3 {
        let mut ledger = Ledger::new(&ALLOC);
        heap.enter(|| {
            for power in 4..12 {
                ledger.allocate(layout(1 << power, 8)).expect("memory");
            }
        });
        assert!(heap.statistics().held_bytes >= 8 * (64 << 10), "in round {round}");
        heap.enter(|| ledger.free_all());
        assert_eq!(heap.statistics().held_bytes, 0, "in round {round}");
    }
    drop(heap);
    ALLOC.trim();
    SOURCE.assert_all_released();
}

const PROFILE: Profile = Profile::MIXED.operations(60_000);

model!(over_memory_maps: SlabAllocator<&'static Counting>, &SOURCE, PROFILE);
model!(of_a_page: SlabAllocator<&'static Counting, U4096>, &SOURCE, PROFILE);
model!(of_a_page_over_an_arena: SlabAllocator<ArenaSource<&'static Counting, U4096>, U4096>, ArenaSource::new_in(&SOURCE), PROFILE);
model!(several_in_a_block: SlabAllocator<ArenaSource<&'static Counting, U1048576>>, ArenaSource::new_in(&SOURCE), PROFILE);
model!(pages_in_a_block: SlabAllocator<ArenaSource<&'static Counting, U65536>, U4096>, ArenaSource::new_in(&SOURCE), PROFILE);

/// Slabs that are shorter than what the source gives fill it.
#[test]
fn slabs_share_a_block_of_the_source() {
    slabs!(ALLOC over SOURCE: SlabAllocator<ArenaSource<&'static Counting, U1048576, U1048576>>, ArenaSource::new_in(&SOURCE));
    on_a_thread(|| {
        let mut ledger = Ledger::new(&ALLOC);
        for _ in 0..1800 {
            ledger.allocate(layout(1000, 8)).expect("memory");
        }
        let held = SOURCE.counts().bytes;
        assert!(held <= 3 << 20, "{held} bytes for 1.8 MB in blocks");
        ledger.free_all();
    });
    nothing_is_held(&ALLOC, &SOURCE);
}

#[test]
fn short_slabs_share_a_slice() {
    slabs!(ALLOC over SOURCE: SlabAllocator<&'static Counting, U4096>, &SOURCE);
    on_a_thread(|| {
        let mut ledger = Ledger::new(&ALLOC);
        for _ in 0..1800 {
            ledger.allocate(layout(100, 8)).expect("memory");
        }
        let held = SOURCE.counts().bytes;
        assert!(held <= 512 << 10, "{held} bytes for 200 kB in blocks");
        ledger.free_all();
    });
    nothing_is_held(&ALLOC, &SOURCE);
}

/// Blocks that were written come back as zeros, in their class and in others that took over the
/// slab.
#[test]
fn zeroed_blocks_of_slabs_that_were_used_before() {
    slabs!(ALLOC over SOURCE: SlabAllocator<&'static Counting>, &SOURCE);
    on_a_thread(|| {
        let mut ledger = Ledger::new(&ALLOC);
        for round in 0..20 {
            for number in 0..2000 {
                let layout = layout(16 + (number * 37 + round * 101) % 3000, 8 << (number % 4));
                if number % 2 == 0 { ledger.allocate_zeroed(layout) } else { ledger.allocate(layout) }
                    .expect("memory");
            }
            ledger.free_all();
        }
        // As the global allocator of a program, without bytes and with one.
        for size in [0, 1, 16, 1024, 1025] {
            let layout = std::alloc::Layout::from_size_align(size, 16).unwrap();
            // SAFETY: Requests for no bytes are served.
            let block = unsafe { ALLOC.alloc_zeroed(layout) };
            // SAFETY: Just allocated with this size, and initialised.
            assert!(unsafe { std::slice::from_raw_parts(block, size) }.iter().all(|&byte| byte == 0));
            // SAFETY: Just allocated with this layout, and not used again.
            unsafe { ALLOC.dealloc(block, layout) };
        }
    });
    nothing_is_held(&ALLOC, &SOURCE);
}

/// Runs something in a tier.
type In<'a> = &'a dyn Fn(&mut dyn FnMut());

/// Sizes on both sides of every border, of classes, of the lengths of slabs, and to large objects.
#[test]
fn blocks_are_resized_within_and_across_classes_in_any_tier() {
    slabs!(ALLOC over SOURCE: SlabAllocator<&'static Counting>, &SOURCE);
    let sizes = [1, 16, 17, 1008, 1024, 1025, 1280, 1281, 2048, 2049, 28_673, 32_768, 32_769, 70_000];
    on_a_thread(|| {
        let heap = ALLOC.heap().expect("a heap");
        let mut ledger = Ledger::new(&ALLOC);
        for (from, to) in sizes.iter().flat_map(|&from| sizes.map(|to| (from, to))) {
            for align in [1, 16, 64, 4096] {
                let way = if to >= from { Way::Grow } else { Way::Shrink };
                let mut resize = |tier: In<'_>| {
                    let block = ledger.allocate(layout(from, align)).expect("memory");
                    tier(&mut || {
                        let block = ledger.resize(block, layout(to, align), way).expect("memory");
                        ledger.free(block);
                    });
                };
                resize(&|f| f());
                resize(&|f| ALLOC.with_global(f));
                resize(&|f| heap.enter(f));
                let held = {
                    let block = ledger.allocate(layout(from, align)).expect("memory");
                    ledger.take(block)
                };
                // Its heap is not in use there, so it moves.
                on_a_thread(move || {
                    let mut there = Ledger::new(&ALLOC);
                    let address = held.address();
                    there.put(held);
                    let block = there.resize(address, layout(to, align), way).expect("memory");
                    there.free(block);
                });
            }
        }
        // Within a class a block stays where it is.
        let block = ledger.allocate(layout(1000, 8)).expect("memory");
        let grown = ledger.resize(block, layout(1008, 8), Way::Grow).expect("the same class");
        assert_eq!(grown, block);
        ledger.free_all();
        assert_eq!(ALLOC.statistics().thread_blocks, 0);
    });
    nothing_is_held(&ALLOC, &SOURCE);
}

/// More slabs than a thread knows, so that some push others out of its table, and come back through
/// the page map.
#[test]
fn more_slabs_than_a_thread_knows() {
    slabs!(ALLOC over SOURCE: SlabAllocator<&'static Counting>, &SOURCE);
    on_a_thread(|| {
        let mut ledger = Ledger::new(&ALLOC);
        for number in 0..1400 {
            // Two blocks to a long slab's quarter.
            ledger.allocate(layout(32 * 1024 - number % 100, 8)).expect("memory");
        }
        for _ in 0..1000 {
            ledger.allocate(layout(2000, 8)).expect("memory");
        }
        assert!(SOURCE.counts().bytes > 40 << 20);
        ledger.free_all();
        assert_eq!(ALLOC.statistics().thread_blocks, 0);
        let held = SOURCE.counts().held;
        assert!(held <= 5, "{held} slabs are kept");
    });
    nothing_is_held(&ALLOC, &SOURCE);
}

/// What one thread allocates and another frees is used again, round after round.
#[test]
fn blocks_that_others_free_come_home() {
    slabs!(ALLOC over SOURCE: SlabAllocator<&'static Counting>, &SOURCE);
    let (to_other, from_here) = mpsc::sync_channel::<Vec<Held>>(0);
    let (done, freed) = mpsc::channel();
    thread::scope(|scope| {
        let other = scope.spawn(move || {
            let ledger = Ledger::new(&ALLOC);
            for held in from_here {
                held.iter().for_each(|held| ledger.free_as(held, held.layout().size()));
                done.send(()).unwrap();
            }
        });
        let maker = scope.spawn(move || {
            let mut ledger = Ledger::new(&ALLOC);
            for round in 0..50 {
                for number in 0..3000 {
                    ledger.allocate(layout(16 + (number * 7 + round * 64) % 900, 8)).expect("memory");
                }
                to_other.send(ledger.take_all()).unwrap();
                freed.recv().unwrap();
            }
            let most = SOURCE.counts().most_bytes;
            // A round is 1.4 MB in blocks; 64 classes may have a slab each that is hardly used.
            assert!(most <= 10 << 20, "{most} bytes");
        });
        // A scope does not wait for the destructors of keys, joining does.
        maker.join().unwrap();
        other.join().unwrap();
    });
    nothing_is_held(&ALLOC, &SOURCE);
}

/// A thread frees blocks of a parked heap, adopts that heap, and frees more of them.
#[test]
fn a_heap_is_adopted_by_a_thread_that_keeps_some_of_its_blocks_back() {
    slabs!(ALLOC over SOURCE: SlabAllocator<&'static Counting>, &SOURCE);
    for kept_back in [1, 10, 63, 64, 65, 200] {
        let mut held = on_a_thread(|| {
            let mut ledger = Ledger::new(&ALLOC);
            for _ in 0..200 {
                ledger.allocate(layout(100, 8)).expect("memory");
            }
            ledger.take_all()
        });
        assert_eq!(ALLOC.statistics().parked_blocks, 200);
        on_a_thread(move || {
            let mut ledger = Ledger::new(&ALLOC);
            held.drain(..kept_back).for_each(|held| ledger.free_as(&held, 100));
            let block = ledger.allocate(layout(100, 8)).expect("memory");
            held.drain(..).for_each(|held| ledger.free_as(&held, 100));
            assert_eq!(ALLOC.statistics().thread_blocks, 1);
            ledger.free(block);
        });
        nothing_is_held(&ALLOC, &SOURCE);
    }
}

slabs!(ENDING over ENDING_SOURCE: SlabAllocator<&'static Counting>, &ENDING_SOURCE);

/// Blocks that are freed, half of them each time, in whatever runs at the end of a thread.
struct AtTheEnd(Vec<Held>);

impl AtTheEnd {
    /// Frees half of the blocks, and uses the allocator as a destructor may.
    fn free_half(&mut self) {
        let half = self.0.split_off(self.0.len() / 2);
        let mut ledger = Ledger::new(&ENDING);
        for held in half {
            ledger.free_as(&held, held.layout().size());
            ledger.allocate(layout(200, 8)).expect("memory");
        }
        ENDING.statistics();
        ENDING.trim();
        ledger.free_all();
    }
}

impl Drop for AtTheEnd {
    fn drop(&mut self) {
        self.free_half();
        self.0.drain(..).for_each(|held| Ledger::new(&ENDING).free_as(&held, held.layout().size()));
    }
}

fn blocks() -> Vec<Held> {
    let mut ledger = Ledger::new(&ENDING);
    for number in 0..500 {
        ledger.allocate(layout(1 + number * 7, 8)).expect("memory");
    }
    ledger.take_all()
}

unsafe extern "C" fn key_ends(blocks: *mut c_void) {
    // SAFETY: The value of the key is a box, which is passed here once.
    drop(unsafe { Box::from_raw(blocks.cast::<AtTheEnd>()) });
}

/// A key of the threads library.
fn key() -> libc::pthread_key_t {
    let mut key = 0;
    // SAFETY: The number is written where it says.
    assert_eq!(unsafe { libc::pthread_key_create(&mut key, Some(key_ends)) }, 0);
    key
}

/// Destructors of thread-locals run before the thread's heap is parked, those of keys before or
/// after.
#[test]
fn destructors_of_a_thread_free_blocks_of_its_heap() {
    thread_local!(static LATE: RefCell<Option<AtTheEnd>> = const { RefCell::new(None) });
    let keys = Mutex::new(vec![key()]);
    for _ in 0..3 {
        on_a_thread(|| {
            LATE.set(Some(AtTheEnd(blocks())));
            let mut keys = keys.lock().unwrap();
            if keys.len() == 1 {
                keys.push(key());
            }
            for &key in keys.iter() {
                let value = Box::into_raw(Box::new(AtTheEnd(blocks())));
                // SAFETY: The key exists; its destructor takes the box.
                assert_eq!(unsafe { libc::pthread_setspecific(key, value.cast()) }, 0);
            }
        });
        nothing_is_held(&ENDING, &ENDING_SOURCE);
    }
}
