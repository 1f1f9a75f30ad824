//! Large objects that are resized: what they hold stays, the limit of their heap is kept exactly,
//! and who else frees or resizes does not matter.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::support::layout;
use crate::support::ledger::{Ledger, Way};
use context_allocator::alloc::SizeClassAllocator;
use context_allocator::error::SourceError;
use context_allocator::size::U65536;
use context_allocator::source::SLICE;
use context_allocator::source::{Decommit, Purge, Remapped, RunSource};
use context_allocator::switch::{LimitAction, LimitReached, Policy};
use context_allocator::{
    ArenaSource, Builder, BumpAllocator, Heap, MemorySource, MmapSource, NonZeroLayout, Tiers,
};

/// A pool of which all is the tests'.
static SLICES: RunSource = RunSource::for_static(&SLICES, MmapSource::new(), Purge::new());

struct OwnPool;

impl Policy for OwnPool {
    type Large = RunSource;
    const LARGE: &'static RunSource = &SLICES;
    fn limit_reached(_: LimitReached) -> LimitAction {
        LimitAction::Refuse
    }
}

type TiersWith<P> = Tiers<BumpAllocator<Blocks>, SizeClassAllocator<Blocks>, System, P>;
type Blocks = ArenaSource<MmapSource, U65536>;

const fn tiers<P: Policy>() -> TiersWith<P> {
    Builder::new()
        .coroutine_tier(BumpAllocator::new(ArenaSource::new(MmapSource::new())))
        .thread_tier(SizeClassAllocator::new(ArenaSource::new(MmapSource::new())))
        .global_tier(System)
        .policy::<P>()
        .build()
}

// Not the global one: a test's own index are no objects of it.
context_allocator::switchable_allocator!(static ALLOC: TiersWith<OwnPool> = tiers());

const MIB: usize = 1 << 20;

/// An object with a number on each of its pages.
struct Block {
    start: NonNull<u8>,
    layout: Layout,
    number: u64,
}

// SAFETY: The bytes are the holder's alone, and any thread may free them.
unsafe impl Send for Block {}

impl Block {
    fn new(layout: Layout, number: u64) -> Self {
        // SAFETY: The layout has a size.
        let start = NonNull::new(unsafe { ALLOC.alloc(layout) }).expect("memory for an object");
        let block = Self { start, layout, number };
        block.write_from(0);
        block
    }

    /// Where numbers are, from the page with that byte on: one a page, and one at the end.
    fn words(&self, from: usize) -> impl Iterator<Item = (NonNull<u64>, u64)> {
        let last = self.layout.size() / 8 * 8 - 8;
        let (start, number) = (self.start, self.number);
        let offsets = (from.next_multiple_of(4096)..last).step_by(4096).chain([last]);
        // SAFETY: The word lies in the object.
        offsets.map(move |offset| (unsafe { start.add(offset) }.cast(), number << 32 | offset as u64))
    }

    fn write_from(&self, byte: usize) {
        for (word, value) in self.words(byte) {
            // SAFETY: The word lies in the object, which is this one's alone.
            unsafe { word.write(value) };
        }
    }

    fn check(&self) {
        for (word, value) in self.words(0) {
            // SAFETY: As above; it was written.
            assert_eq!(unsafe { word.read() }, value);
        }
    }

    #[must_use]
    fn resize(&mut self, size: usize) -> bool {
        let old = self.layout.size();
        // SAFETY: The object has this layout; the size is one of a layout of that alignment.
        let moved = NonNull::new(unsafe { ALLOC.realloc(self.start.as_ptr(), self.layout, size) });
        if let Some(moved) = moved {
            self.start = moved;
            self.layout = Layout::from_size_align(size, self.layout.align()).unwrap();
            let both = Self { layout: Layout::from_size_align(old.min(size), 8).unwrap(), ..*self };
            for (word, value) in both.words(0).take(both.layout.size().div_ceil(4096) - 1) {
                // SAFETY: As above.
                assert_eq!(unsafe { word.read() }, value);
            }
            self.write_from(old.min(size) / 4096 * 4096);
        }
        self.check();
        moved.is_some()
    }

    fn free(self) {
        self.check();
        // SAFETY: The object has this layout, and is not used again.
        unsafe { ALLOC.dealloc(self.start.as_ptr(), self.layout) };
    }
}

/// What the pool holds is compared, so one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn heap() -> Heap<ALLOC> {
    ALLOC.heap().expect("memory for a heap")
}

/// Bytes of the pool that somebody holds.
fn pooled() -> usize {
    let usage = SLICES.usage();
    usage.obtained - usage.unused
}

/// What a large object of that size takes: whole slices for it and the 64 bytes before it.
fn taken(size: usize) -> usize {
    (size + 64).next_multiple_of(SLICE)
}

#[test]
fn random_resizes_keep_contents_and_charge_exactly() {
    let _alone = alone();
    for seed in 0..3 {
        let mut random = fastrand::Rng::with_seed(seed);
        let heap = heap();
        let empty = heap.statistics().held_bytes;
        heap.enter(|| {
            let mut ledger = Ledger::new(&ALLOC);
            let mut blocks: Vec<usize> = Vec::new();
            for _ in 0..150 {
                let size = match random.usize(0..3) {
                    0 => random.usize(100_000..MIB),
                    1 => random.usize(100_000..9 * MIB),
                    _ => 4 * MIB - 64 + random.usize(0..3) * SLICE,
                };
                match random.usize(0..8) {
                    0 if !blocks.is_empty() => ledger.free(blocks.swap_remove(random.usize(0..blocks.len()))),
                    1 if blocks.len() < 6 => blocks.push(ledger.allocate_zeroed(layout(size, 64)).unwrap()),
                    2 if blocks.len() < 6 => blocks.push(ledger.allocate(layout(size, 64)).unwrap()),
                    _ if !blocks.is_empty() => {
                        let index = random.usize(0..blocks.len());
                        let old = ledger.get(blocks[index]).layout();
                        let way = match (size >= old.size(), random.bool()) {
                            (true, true) => Way::Grow,
                            (true, false) => Way::GrowZeroed,
                            (false, _) => Way::Shrink,
                        };
                        blocks[index] = ledger.resize(blocks[index], layout(size, 64), way).unwrap();
                    }
                    _ => {}
                }
                let expected: usize = ledger.iter().map(|held| taken(held.layout().size())).sum();
                let held = heap.statistics().held_bytes - empty;
                // What cannot be cut, from beyond a chunk to less than that, keeps at most as much
                // again.
                assert!(held >= expected && held <= 2 * expected, "{held} {expected}");
            }
            ledger.verify();
            ledger.free_all();
        });
        assert_eq!(heap.statistics().held_bytes, empty);
        assert_eq!(heap.statistics().live_blocks, 0);
    }
}

#[test]
fn what_grows_alone_stays_where_it_is_and_then_moves_its_pages() {
    let _alone = alone();
    let heap = heap();
    SLICES.reclaim(&mut |_| ());
    assert_eq!(SLICES.usage().obtained, 0, "somebody else uses the pool");
    heap.enter(|| {
        let mut block = Block::new(Layout::from_size_align(100_000, 8).unwrap(), 1);
        for size in [200_000, MIB, 3 * MIB, 2 * MIB, 4 * MIB - 64] {
            assert!(block.resize(size));
            // In place each time: nothing else was taken meanwhile.
            assert_eq!(pooled(), taken(size));
            assert_eq!(SLICES.usage().resident, SLICES.usage().resident.min(4 * MIB - pooled()));
        }
        assert!(block.resize(4 * MIB));
        assert_eq!(pooled(), 0);
        // Its memory went along; what it left has none.
        assert_eq!(SLICES.usage().resident, 0);
        for size in [16 * MIB, 100 * MIB, 5 * MIB] {
            assert!(block.resize(size));
            assert_eq!(heap.statistics().held_bytes % MIB, taken(size) % MIB);
        }
        assert!(block.resize(4 * MIB - 100), "what is hardly less stays");
        assert_eq!(pooled(), 0);
        assert!(block.resize(2 * MIB));
        assert_eq!(pooled(), taken(2 * MIB));
        block.free();
    });
    assert_eq!(pooled(), 0);
    assert_eq!(heap.statistics().held_bytes, 0);
}

#[test]
fn the_limit_of_a_heap_holds_for_what_is_resized() {
    let _alone = alone();
    let limit = taken(8 * MIB);
    let heap = ALLOC.heap_with_limit(limit).expect("memory for a heap");
    heap.enter(|| {
        let mut ledger = Ledger::new(&ALLOC);
        let mut block = ledger.allocate(layout(5 * MIB, 8)).unwrap();
        block = ledger.resize(block, layout(8 * MIB, 8), Way::Grow).unwrap();
        assert_eq!(heap.statistics().held_bytes, limit);
        assert!(ledger.resize(block, layout(8 * MIB + SLICE, 8), Way::Grow).is_err());
        assert_eq!(heap.statistics().held_bytes, limit);
        block = ledger.resize(block, layout(6 * MIB, 8), Way::Shrink).unwrap();
        let small = ledger.allocate(layout(2 * MIB - 100, 8)).unwrap();
        assert_eq!(heap.statistics().held_bytes, limit);
        assert!(ledger.resize(small, layout(2 * MIB, 8), Way::Grow).is_err());
        assert!(ledger.resize(block, layout(7 * MIB, 8), Way::Grow).is_err());
        ledger.verify();
        ledger.free_all();
    });
    assert_eq!(heap.statistics().held_bytes, 0);
}

/// Objects go from thread to thread, each of which resizes them without using their heap, while
/// their heaps are dropped.
#[test]
fn objects_are_resized_by_threads_that_do_not_use_their_heap() {
    let _alone = alone();
    let shared: Vec<Mutex<Option<Block>>> = (0..6).map(|_| Mutex::new(None)).collect();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let shared = &shared;
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(thread);
                for round in 0..120 {
                    let heap = heap();
                    let size = random.usize(70_000..6 * MIB);
                    let layout = Layout::from_size_align(size, 8).unwrap();
                    let mine = heap.enter(|| Block::new(layout, thread << 20 | round));
                    let theirs = shared[random.usize(0..shared.len())].lock().unwrap().replace(mine);
                    if let Some(mut theirs) = theirs {
                        let size = random.usize(1_000..9 * MIB);
                        match random.usize(0..3) {
                            0 => assert!(heap.enter(|| theirs.resize(size))),
                            1 => assert!(ALLOC.with_thread(|| theirs.resize(size))),
                            _ => assert!(ALLOC.with_global(|| theirs.resize(size))),
                        }
                        theirs.check();
                        theirs.free();
                    }
                }
            });
        }
    });
    shared.into_iter().for_each(|slot| slot.into_inner().unwrap().unwrap().free());
    assert_eq!(ALLOC.statistics().orphans, 0);
    assert_eq!(ALLOC.statistics().heap_blocks, 0);
}

/// A heap is destroyed with objects that have moved.
#[test]
fn destroying_a_heap_finds_what_has_moved() {
    let _alone = alone();
    let before = pooled();
    let heap = heap();
    heap.enter(|| {
        for number in 0..20 {
            let layout = Layout::from_size_align(300_000 * (number + 1), 8).unwrap();
            let mut block = Block::new(layout, number as u64);
            // It is left in the heap.
            assert!(block.resize(layout.size() * 2));
        }
    });
    // SAFETY: The blocks are forgotten, and nobody uses them.
    unsafe { heap.destroy() };
    assert_eq!(pooled(), before);
}

#[test]
fn fresh_memory_is_known_to_be_zero() {
    let _alone = alone();
    let heap = heap();
    SLICES.purge();
    heap.enter(|| {
        for size in [100_000, MIB, 9 * MIB] {
            let layout = Layout::from_size_align(size, 8).unwrap();
            for _ in 0..3 {
                Block::new(layout, 5).free();
                // SAFETY: The layout has a size.
                let block = NonNull::new(unsafe { ALLOC.alloc_zeroed(layout) }).unwrap();
                // SAFETY: Just allocated with this size, and zeroed.
                let contents = unsafe { std::slice::from_raw_parts(block.as_ptr(), size) };
                assert!(contents.iter().all(|&byte| byte == 0));
                // SAFETY: Just allocated with this layout.
                unsafe { ALLOC.dealloc(block.as_ptr(), layout) };
            }
        }
    });
}

/// Memory maps that refuse the requests from one on, of whatever kind.
#[derive(Debug)]
struct Refusing(MmapSource);

static REQUESTS: AtomicUsize = AtomicUsize::new(0);
static REFUSE_AT: AtomicUsize = AtomicUsize::new(usize::MAX);
static HELD: AtomicUsize = AtomicUsize::new(0);

fn refused() -> Result<(), SourceError> {
    if REQUESTS.fetch_add(1, Relaxed) == REFUSE_AT.load(Relaxed) {
        return Err(SourceError::Exhausted);
    }
    Ok(())
}

// SAFETY: Regions are those of the memory maps.
unsafe impl MemorySource for Refusing {
    const ZEROED: bool = true;
    const MIN_ALIGN: usize = MmapSource::MIN_ALIGN;

    fn obtain(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, SourceError> {
        refused()?;
        let region = self.0.obtain(layout)?;
        HELD.fetch_add(region.len(), Relaxed);
        Ok(region)
    }

    unsafe fn release(&self, region: NonNull<[u8]>, layout: NonZeroLayout) {
        HELD.fetch_sub(region.len().next_multiple_of(4096), Relaxed);
        // SAFETY: The caller's promises.
        unsafe { self.0.release(region, layout) };
    }

    unsafe fn remap(
        &self,
        region: NonNull<[u8]>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<Remapped, SourceError> {
        refused()?;
        // SAFETY: The caller's promises.
        let moved = unsafe { self.0.remap(region, old, new) }?;
        HELD.fetch_add(moved.region.len().wrapping_sub(old.size()), Relaxed);
        Ok(moved)
    }
}

// SAFETY: As above.
unsafe impl Decommit for Refusing {
    fn decommit_unit(&self) -> usize {
        self.0.decommit_unit()
    }

    unsafe fn decommit(&self, range: NonNull<[u8]>) -> Result<(), SourceError> {
        refused()?;
        // SAFETY: The caller's promises.
        unsafe { self.0.decommit(range) }
    }

    unsafe fn take_out(
        &self,
        range: NonNull<[u8]>,
        new: NonZeroLayout,
    ) -> Result<NonNull<[u8]>, SourceError> {
        refused()?;
        // SAFETY: The caller's promises.
        let region = unsafe { self.0.take_out(range, new) }?;
        HELD.fetch_add(region.len(), Relaxed);
        Ok(region)
    }

    unsafe fn decommit_lazily(&self, range: NonNull<[u8]>) -> Result<(), SourceError> {
        // SAFETY: The caller's promises.
        unsafe { self.0.decommit_lazily(range) }
    }
}

static POOL: RunSource<Refusing> = RunSource::with_purge(Refusing(MmapSource::new()), Purge::never());

struct FromPool;

impl Policy for FromPool {
    type Large = RunSource<Refusing>;
    const LARGE: &'static Self::Large = &POOL;
}

context_allocator::switchable_allocator!(static FAULTY: TiersWith<FromPool> = tiers());

/// Every request of the workload refused in turn: what could not be resized is as it was, and in
/// the end nothing is lost.
#[test]
fn every_refusal_leaves_an_object_as_it_was() {
    let _alone = alone();
    let mut requests = 0;
    for refuse_at in 0.. {
        REFUSE_AT.store(usize::MAX, Relaxed);
        POOL.reclaim(&mut |_| ());
        REQUESTS.store(0, Relaxed);
        REFUSE_AT.store(refuse_at, Relaxed);
        let heap = FAULTY.heap().expect("memory for a heap");
        heap.enter(|| {
            let mut ledger = Ledger::new(&FAULTY);
            let sizes = [100_000, MIB, 3 * MIB, 5 * MIB, 20 * MIB, 6 * MIB, MIB, 4 * MIB, 100];
            let mut names = [100_000, 200_000].map(|size| ledger.allocate(layout(size, 8)).ok());
            for size in sizes {
                for name in names.iter_mut().flatten() {
                    let old = ledger.get(*name).layout();
                    let way = if size >= old.size() { Way::Grow } else { Way::Shrink };
                    // A ledger looks whether a block that could not be resized is as it was.
                    if let Ok(moved) = ledger.resize(*name, layout(size, 8), way) {
                        *name = moved;
                    }
                }
            }
            ledger.verify();
            ledger.free_all();
        });
        assert_eq!(heap.statistics().live_blocks, 0);
        let usage = POOL.usage();
        assert_eq!(usage.obtained, usage.unused);
        requests = REQUESTS.load(Relaxed);
        if requests <= refuse_at {
            break;
        }
    }
    assert!(requests > 5, "{requests}");
    REFUSE_AT.store(usize::MAX, Relaxed);
    POOL.reclaim(&mut |_| ());
    assert_eq!(POOL.usage().obtained, 0);
    // What is left are the pool's index.
    assert!(HELD.load(Relaxed) <= 64 * 1024, "{}", HELD.load(Relaxed));
}
