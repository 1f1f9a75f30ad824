//! What a heap of the recommended tiers holds: short regions at first, none without a block in it.

use std::collections::HashMap;
use std::sync::Mutex;
use std::thread;

use crate::support::layout;
use crate::support::ledger::{Ledger, Taking, Way};
use context_allocator::switch::{
    HeapId, Owner, RecommendedTiers, RefusingPolicy, SavedContext, recommended_tiers,
};
use context_allocator::{AllocError, Allocator, Heap};

context_allocator::switchable_allocator!(static ALLOC: RecommendedTiers<RefusingPolicy> = recommended_tiers());

/// The figures of the declaration are compared, so one test at a time.
static ONE: Mutex<()> = Mutex::new(());

fn heap() -> Heap<ALLOC> {
    ALLOC.heap().expect("memory for a heap")
}

/// Allocates so many blocks of `size` bytes.
fn allocate(ledger: &mut Ledger<'_>, blocks: usize, size: usize) -> Vec<usize> {
    (0..blocks).map(|_| ledger.allocate(layout(size, 8)).expect("memory")).collect()
}

#[test]
fn a_heap_holds_a_little_more_than_its_blocks() {
    let _one = ONE.lock();
    let heaps: Vec<_> = (0..1000).map(|_| heap()).collect();
    let mut ledger = Ledger::new(&ALLOC);
    assert!(heaps[100..].iter().all(|heap| heap.statistics().held_bytes == 0));
    for (blocks, most) in [(10, 1024), (100, 6 * 1024), (1000, 58 * 1024)] {
        for heap in &heaps[100..200] {
            heap.enter(|| allocate(&mut ledger, blocks - heap.statistics().live_blocks, 48));
            let statistics = heap.statistics();
            assert_eq!(statistics.live_blocks, blocks);
            assert!(statistics.held_bytes <= most, "{statistics:?}");
        }
    }
    ledger.free_all();
    drop(heaps);
    ALLOC.trim();
    assert_eq!(ALLOC.statistics().heap_bytes, 0);
}

#[test]
fn limits_of_a_few_kilobytes_are_used_up() {
    let _one = ONE.lock();
    for limit in [1024, 2048, 4096, 10_000, 65_536, 100_000] {
        let heap = ALLOC.heap_with_limit(limit).expect("memory for a heap");
        let mut ledger = Ledger::new(&heap);
        let mut usable = 0;
        while ledger.allocate(layout(40, 8)).is_ok() {
            usable += 40;
        }
        assert!(heap.statistics().held_bytes <= limit);
        let floor = (limit / 1024) * 940;
        assert!(usable >= floor, "{usable} of {limit} bytes, at least {floor}");
        ledger.free_all();
        // A block that fits what is left of the limit only because the rest was given back.
        ledger.allocate(layout(limit / 2 - 32, 8)).expect("memory");
        ledger.free_all();
    }
    let heap = ALLOC.heap_with_limit(1000).expect("memory for a heap");
    assert_eq!(heap.allocate(layout(1, 1)).map(drop), Err(AllocError::Refused));
}

#[test]
fn regions_leave_with_their_last_block() {
    let _one = ONE.lock();
    let heap = heap();
    heap.enter(|| {
        let mut ledger = Ledger::new(&ALLOC);
        let kept = allocate(&mut ledger, 1, 100)[0];
        let others = allocate(&mut ledger, 500, 100);
        let full = heap.statistics().held_bytes;
        assert!(full > 50_000);
        for other in others {
            ledger.free(other);
        }
        let last = allocate(&mut ledger, 1, 100)[0];
        // The first region, and the one that was taken from last.
        assert!(heap.statistics().held_bytes <= full / 4, "{:?} of {full}", heap.statistics());
        ledger.free(kept);
        ledger.free(last);
    });
    assert_eq!(heap.statistics().live_blocks, 0);
}

/// However long it goes on.
#[test]
fn a_window_without_blocks_starts_over() {
    let _one = ONE.lock();
    let heap = heap();
    heap.enter(|| {
        let mut ledger = Ledger::new(&ALLOC);
        let kept = allocate(&mut ledger, 30, 100);
        for _ in 0..20_000 {
            // The first goes before the last, so that the cursor never moves back to the start.
            let [first, last] = allocate(&mut ledger, 2, 100)[..] else { unreachable!() };
            ledger.free(first);
            ledger.free(last);
        }
        assert!(heap.statistics().held_bytes <= 8 * 1024, "{:?}", heap.statistics());
        assert_eq!(heap.statistics().live_blocks, kept.len());
        ledger.free_all();
    });
}

#[test]
fn an_orphan_keeps_the_regions_of_its_blocks() {
    let _one = ONE.lock();
    ALLOC.trim();
    let before = ALLOC.statistics().heap_bytes;
    let mut escaped = Ledger::new(&ALLOC);
    for _ in 0..100 {
        let heap = heap();
        heap.enter(|| {
            allocate(&mut escaped, 1, 10);
            let mut work = Ledger::new(&ALLOC);
            allocate(&mut work, 100, 40);
            work.free_all();
        });
    }
    ALLOC.trim();
    let statistics = ALLOC.statistics();
    assert_eq!(statistics.orphans, 100);
    assert!(statistics.heap_bytes - before <= 100 * 1024, "{statistics:?}");
    escaped.free_all();
    assert_eq!(ALLOC.statistics().orphans, 0);
}

/// From the third on, contexts that are alike find all that they need in one region.
#[test]
fn contexts_that_are_alike_have_one_region() {
    let _one = ONE.lock();
    let mut held = Vec::new();
    for _ in 0..5 {
        let heap = heap();
        heap.enter(|| {
            let mut ledger = Ledger::new(&ALLOC);
            allocate(&mut ledger, 1, 48);
            let first = heap.statistics().held_bytes;
            allocate(&mut ledger, 199, 48);
            held.push((first, heap.statistics().held_bytes));
            ledger.free_all();
        });
    }
    assert!(held[0].0 < held[0].1, "{held:?}");
    assert!(held[3..].iter().all(|&(first, last)| first == last && last <= 32 * 1024), "{held:?}");
}

/// Whose each block is, for heaps whose contexts nest.
struct Contexts<'a> {
    heaps: &'a [Heap<ALLOC>],
    ledger: Ledger<'a>,
    /// By address, of blocks of the heaps.
    owners: HashMap<usize, HeapId>,
    blocks: Vec<usize>,
    random: fastrand::Rng,
}

impl Contexts<'_> {
    fn note(&mut self, address: usize) {
        let held = self.ledger.take(address);
        let owner = ALLOC.owner_of(held.bytes());
        self.ledger.put(held);
        self.blocks.push(address);
        if let Owner::Heap(heap) = owner {
            assert_eq!(self.owners.insert(address, heap), None);
        }
    }

    fn size(&mut self) -> usize {
        match self.random.u32(..40) {
            0 => self.random.usize(1..400_000),
            1..6 => self.random.usize(1..5000),
            _ => self.random.usize(1..200),
        }
    }

    fn allocate(&mut self) {
        let (size, align) = (self.size(), 1 << self.random.u32(..6));
        let wanted = ALLOC.current();
        let zeroed = self.random.bool();
        let layout = layout(size, align);
        let block = if zeroed { self.ledger.allocate_zeroed(layout) } else { self.ledger.allocate(layout) };
        let address = block.expect("memory");
        self.note(address);
        if let Owner::Heap(heap) = wanted {
            assert_eq!(self.owners.get(&address), Some(&heap));
        }
    }

    fn free(&mut self) {
        if self.blocks.is_empty() {
            return;
        }
        // Often the last one.
        let last = self.blocks.len() - 1;
        let index = if self.random.bool() { last } else { self.random.usize(..=last) };
        let address = self.blocks.swap_remove(index);
        self.owners.remove(&address);
        self.ledger.free(address);
    }

    fn resize(&mut self) {
        if self.blocks.is_empty() {
            return;
        }
        let last = self.blocks.len() - 1;
        let index = if self.random.bool() { last } else { self.random.usize(..=last) };
        let address = self.blocks.swap_remove(index);
        self.owners.remove(&address);
        let held = self.ledger.take(address);
        let old = held.layout();
        self.ledger.put(held);
        let size = self.size();
        let way = if size < old.size() { Way::Shrink } else { Way::Grow };
        let address = self.ledger.resize(address, layout(size, old.align()), way).expect("memory");
        self.note(address);
    }

    fn check(&mut self) {
        for heap in self.heaps {
            let blocks = self.owners.values().filter(|&&owner| owner == heap.id()).count();
            assert_eq!(heap.statistics().live_blocks, blocks);
        }
    }

    fn work(&mut self, depth: usize) {
        for _ in 0..self.random.usize(1..40) {
            match self.random.u32(..100) {
                0..45 => self.allocate(),
                45..75 => self.free(),
                75..90 => self.resize(),
                90 => self.check(),
                91..93 => ALLOC.with_global(|| self.nest(depth)),
                93..95 => ALLOC.with_thread(|| self.nest(depth)),
                95 => {
                    let outer = ALLOC.switch(SavedContext::default());
                    self.nest(depth);
                    drop(ALLOC.switch(outer));
                }
                _ => {
                    let heap = &self.heaps[self.random.usize(..self.heaps.len())];
                    if let Ok(guard) = heap.guard() {
                        self.nest(depth);
                        drop(guard);
                    }
                }
            }
        }
    }

    fn nest(&mut self, depth: usize) {
        if depth > 0 {
            self.work(depth - 1);
        }
    }
}

/// Contexts nest, blocks are allocated, resized and freed in all of them, and each heap's count is
/// right whenever somebody looks.
#[test]
fn counts_are_right_in_nested_contexts() {
    let _one = ONE.lock();
    let random = |seed| {
        let heaps: Vec<_> = (0..4).map(|_| heap()).collect();
        let mut contexts = Contexts {
            heaps: &heaps,
            ledger: Ledger::new(&ALLOC),
            owners: HashMap::new(),
            blocks: Vec::new(),
            random: fastrand::Rng::with_seed(seed),
        };
        for _ in 0..1500 {
            contexts.work(4);
        }
        contexts.check();
        contexts.ledger.free_all();
        contexts.owners.clear();
        contexts.check();
    };
    thread::scope(|scope| {
        for seed in 0..2 {
            scope.spawn(move || random(seed));
        }
    });
    ALLOC.trim();
    assert_eq!(ALLOC.statistics().heap_blocks, 0);
}
