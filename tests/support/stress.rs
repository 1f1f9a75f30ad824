//! Threads that allocate, resize, hand over and free at random, in all tiers of the switchable
//! allocator.
//!
//! One body for several test binaries, each with tiers of its own as the `#[global_allocator]`.
//! What must hold at the end: every block had its contents until it was freed, nothing is held, and
//! every region went back to where it came from.
//!
//! The index of the test are kept in the global tier, so that the blocks counted in the heaps are
//! those of the workers.

use std::alloc::{Layout, alloc, alloc_zeroed, dealloc, realloc};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use context_allocator::alloc::LocalAllocator;
use context_allocator::switch::TierSet;
use context_allocator::switch::{Declaration, Statistics};
use context_allocator::{Heap, SwitchableAllocator};

use super::CheckingSource;
use super::pattern::{Pattern, bytes};

/// What differs between the test binaries.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Threads that work.
    pub threads: usize,
    /// Operations of each thread, unless `STRESS_OPERATIONS` says otherwise.
    pub operations: usize,
    /// Runs a function in the thread tier, if there is one.
    pub in_thread_tier: fn(&mut dyn FnMut()),
}

impl Plan {
    fn operations(&self) -> usize {
        let asked = std::env::var("STRESS_OPERATIONS").ok();
        asked.map_or(self.operations, |asked| asked.parse().expect("STRESS_OPERATIONS is a number"))
    }
}

/// A block of the stress test: allocated, and filled with the pattern of its number.
#[derive(Debug)]
pub struct Block {
    start: NonNull<u8>,
    layout: Layout,
    number: u64,
}

// SAFETY: The bytes are the holder's alone, and the global allocator's blocks may be freed on any
// thread.
unsafe impl Send for Block {}

/// Blocks up to this size are filled wholly.
const WHOLE: usize = 64 * 1024;
/// Of larger ones, both ends of this many bytes, and a word in each such stretch between them.
const STRETCH: usize = 512;

impl Block {
    /// Allocates a block and fills it; `None` where there is no memory.
    pub fn new(layout: Layout, number: u64, zeroed: bool) -> Option<Self> {
        assert!(layout.size() > 0);
        let start = if zeroed {
            // SAFETY: The layout has a size.
            unsafe { alloc_zeroed(layout) }
        } else {
            // SAFETY: The layout has a size.
            unsafe { alloc(layout) }
        };
        let block = Self { start: NonNull::new(start)?, layout, number };
        block.check_alignment();
        if zeroed {
            // SAFETY: The block was just allocated and zeroed, and is ours.
            let all = unsafe { bytes(block.start, layout.size()) };
            assert!(all.iter().all(|&byte| byte == 0), "{layout:?} is not zeroed");
        }
        block.fill();
        Some(block)
    }

    /// What it was allocated with.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    fn check_alignment(&self) {
        assert!(self.start.addr().get().is_multiple_of(self.layout.align()), "{self:?} is not aligned");
    }

    /// The stretches that are written and looked at, within the first `kept` bytes: offset and
    /// length.
    fn stretches(size: usize, kept: usize) -> impl Iterator<Item = (usize, usize)> {
        let ends =
            if size <= WHOLE { [(0, size), (0, 0)] } else { [(0, STRETCH), (size - STRETCH, STRETCH)] };
        let words = if size <= WHOLE { 0 } else { size / STRETCH - 1 };
        let words = (1..words).map(|stretch| (stretch * STRETCH, size_of::<u64>()));
        ends.into_iter().chain(words).map(move |(from, len)| (from, len.min(kept.saturating_sub(from))))
    }

    fn pattern(&self, offset: usize) -> Pattern {
        Pattern::of(self.number.wrapping_add(offset as u64))
    }

    fn fill(&self) {
        for (from, len) in Self::stretches(self.layout.size(), self.layout.size()) {
            // SAFETY: The stretches lie in the block.
            let start = unsafe { self.start.add(from) };
            // SAFETY: As above; the block is ours.
            unsafe { self.pattern(from).fill(start, len) };
        }
    }

    /// Checks that every byte that was written is as it was.
    pub fn check(&self) {
        self.check_first(self.layout.size());
    }

    fn check_first(&self, kept: usize) {
        for (from, len) in Self::stretches(self.layout.size(), kept) {
            // SAFETY: The stretches lie in the block.
            let start = unsafe { self.start.add(from) };
            // SAFETY: As above; the bytes were written, and the block is ours.
            let written = unsafe { bytes(start, len) };
            assert!(self.pattern(from).matches(written), "{len} bytes at {from} of {self:?} changed");
        }
    }

    /// Grows or shrinks it, after a look at its contents; unchanged where there is no memory.
    pub fn resize(&mut self, size: usize) -> bool {
        self.check();
        // SAFETY: The block was allocated with this layout; the size is one of a layout of its
        // alignment.
        let Some(moved) = NonNull::new(unsafe { realloc(self.start.as_ptr(), self.layout, size) }) else {
            self.check();
            return false;
        };
        self.start = moved;
        self.check_alignment();
        self.check_first(self.layout.size().min(size));
        self.layout = Layout::from_size_align(size, self.layout.align()).expect("a size that was served");
        self.fill();
        true
    }

    /// Frees it, after a look at its contents.
    pub fn free(self) {
        self.check();
        // SAFETY: The block was allocated with this layout, and is given up.
        unsafe { dealloc(self.start.as_ptr(), self.layout) };
    }
}

/// Sizes from 1 byte to 1 MiB, mostly small, at alignments from 1 to 4096, mostly small too.
fn random_layout(random: &mut fastrand::Rng) -> Layout {
    let most = match random.u32(0..1000) {
        0..700 => 256,
        700..900 => 4096,
        900..980 => 32 * 1024,
        980..998 => 128 * 1024,
        _ => 1024 * 1024,
    };
    let align = if random.u32(0..10) < 8 { random.u32(0..=4) } else { random.u32(5..=12) };
    Layout::from_size_align(random.usize(1..=most), 1 << align).expect("the sizes are small")
}

/// What the threads share.
struct Exchange<D: Declaration> {
    blocks: Vec<Mutex<Option<Block>>>,
    heaps: Vec<Mutex<Option<Heap<D>>>>,
}

/// Puts `mine` in a slot, and takes what was in it.
fn swap<T>(slot: &Mutex<Option<T>>, mine: Option<T>) -> Option<T> {
    std::mem::replace(&mut *slot.lock().unwrap_or_else(PoisonError::into_inner), mine)
}

const BLOCKS: usize = 256;
const HEAPS: usize = 6;
const DEEPEST: usize = 4;

struct Worker<D: Declaration> {
    allocator: &'static SwitchableAllocator<D>,
    exchange: Arc<Exchange<D>>,
    in_thread_tier: fn(&mut dyn FnMut()),
    random: fastrand::Rng,
    /// Never grows beyond what it was made with.
    blocks: Vec<Block>,
    heaps: [Option<Heap<D>>; HEAPS],
    left: usize,
    number: u64,
}

impl<D: Declaration> Worker<D>
where
    <D::Tiers as TierSet>::Coroutine: LocalAllocator,
{
    /// Works until the scope ends or nothing is left to do.
    fn work(&mut self, depth: usize) {
        let scope = if depth == 0 { self.left } else { self.random.usize(1..400) };
        for _ in 0..scope {
            if self.left == 0 {
                return;
            }
            self.left -= 1;
            match self.random.u32(0..1000) {
                0..430 => self.allocate(),
                430..830 => self.free(),
                830..920 => self.resize(),
                920..990 => self.hand_over(),
                990..994 => self.replace_heap(),
                994..996 => self.pass_heap(),
                _ if depth < DEEPEST => self.nest(depth),
                _ => {}
            }
        }
    }

    fn pick(&mut self) -> Option<usize> {
        (!self.blocks.is_empty()).then(|| self.random.usize(0..self.blocks.len()))
    }

    fn allocate(&mut self) {
        if self.blocks.len() == BLOCKS {
            return self.free();
        }
        self.number += 1;
        let zeroed = self.random.u32(0..8) == 0;
        let block = Block::new(random_layout(&mut self.random), self.number, zeroed);
        self.blocks.push(block.expect("there is memory"));
    }

    fn free(&mut self) {
        if let Some(index) = self.pick() {
            self.blocks.swap_remove(index).free();
        }
    }

    fn resize(&mut self) {
        if let Some(index) = self.pick() {
            let size = random_layout(&mut self.random).size();
            assert!(self.blocks[index].resize(size), "there is memory");
        }
    }

    fn hand_over(&mut self) {
        if let Some(index) = self.pick() {
            let mine = self.blocks.swap_remove(index);
            let slot = self.random.usize(0..self.exchange.blocks.len());
            self.blocks.extend(swap(&self.exchange.blocks[slot], Some(mine)));
        }
    }

    /// Drops the handle of a heap, often before its blocks, and makes another.
    fn replace_heap(&mut self) {
        let index = self.random.usize(0..HEAPS);
        self.heaps[index] = None;
        self.heaps[index] = Some(self.allocator.heap().expect("memory for a heap"));
    }

    fn pass_heap(&mut self) {
        let index = self.random.usize(0..HEAPS);
        let slot = self.random.usize(0..self.exchange.heaps.len());
        let mine = self.heaps[index].take();
        self.heaps[index] = swap(&self.exchange.heaps[slot], mine);
    }

    fn nest(&mut self, depth: usize) {
        let (allocator, in_thread_tier) = (self.allocator, self.in_thread_tier);
        match self.random.usize(0..HEAPS + 2) {
            HEAPS => allocator.with_global(|| self.work(depth + 1)),
            index if index > HEAPS => in_thread_tier(&mut || self.work(depth + 1)),
            index => {
                let Some(heap) = self.heaps[index].take() else { return };
                heap.enter(|| self.work(depth + 1));
                // While the scope lasted, another may have come to the heap's place.
                self.heaps[index] = Some(heap);
            }
        }
    }
}

/// The statistics when the threads of the test harness are at rest, which start a test before they
/// are done themselves.
pub fn at_rest<D: Declaration>(allocator: &SwitchableAllocator<D>) -> Statistics {
    loop {
        let before = allocator.statistics();
        std::thread::sleep(Duration::from_millis(50));
        if allocator.statistics() == before {
            return before;
        }
    }
}

/// Runs the plan, and checks that nothing is held afterwards. Returns the statistics at the end.
///
/// `coroutine` and `thread` are the sources that the tiers' regions come from in the end.
pub fn run<D: Declaration, S>(
    allocator: &'static SwitchableAllocator<D>,
    plan: Plan,
    coroutine: &CheckingSource<S>,
    thread: &CheckingSource<S>,
) -> Statistics
where
    <D::Tiers as TierSet>::Coroutine: LocalAllocator,
{
    allocator.with_global(|| {
        let before = at_rest(allocator);
        work_on_threads(allocator, plan);
        let after = allocator.statistics();
        assert_eq!((after.heaps_alive, after.orphans, after.heap_blocks), (0, 0, 0), "{after:?}");
        // Of running threads' heaps, blocks at hand are counted too; those heaps are the harness's.
        assert_eq!(after.parked_blocks, before.parked_blocks, "blocks of the thread tier remain");
        assert_eq!(after.thread_heaps, before.thread_heaps, "threads that ended have heaps");
        assert!(after.parked_heaps <= before.parked_heaps + plan.threads);
        allocator.trim();
        let trimmed = allocator.statistics();
        assert_eq!(trimmed.heap_bytes, 0, "heaps without blocks hold memory: {trimmed:?}");
        assert_eq!(trimmed.thread_bytes, before.thread_bytes, "parked heaps without blocks hold memory");
        coroutine.assert_all_released();
        // What running threads' heaps hold stays, and with it the chunk that it lies in.
        thread.assert_sound();
        let counts = thread.counts();
        assert!(counts.held <= trimmed.thread_bytes / WHOLE, "{counts:?} for {trimmed:?}");
        trimmed
    })
}

fn work_on_threads<D: Declaration>(allocator: &'static SwitchableAllocator<D>, plan: Plan)
where
    <D::Tiers as TierSet>::Coroutine: LocalAllocator,
{
    let exchange = Arc::new(Exchange {
        blocks: (0..64).map(|_| Mutex::new(None)).collect(),
        heaps: (0..8).map(|_| Mutex::new(None)).collect(),
    });
    let threads: Vec<_> = (0..plan.threads)
        .map(|index| {
            let exchange = Arc::clone(&exchange);
            std::thread::spawn(move || {
                let mut worker = Worker {
                    allocator,
                    exchange,
                    in_thread_tier: plan.in_thread_tier,
                    random: fastrand::Rng::with_seed(index as u64),
                    blocks: allocator.with_global(|| Vec::with_capacity(BLOCKS)),
                    heaps: [const { None }; HEAPS],
                    left: plan.operations(),
                    number: (index as u64) << 40,
                };
                worker.work(0);
                // Half of the blocks are left to the thread that started this one, without their
                // heaps.
                let half = worker.blocks.len() / 2;
                worker.blocks.drain(half..).for_each(Block::free);
                worker.blocks
            })
        })
        .collect();
    let rest: Vec<_> = threads.into_iter().map(|thread| thread.join().expect("a worker failed")).collect();
    rest.into_iter().flatten().for_each(Block::free);
    exchange.heaps.iter().for_each(|slot| drop(swap(slot, None)));
    exchange.blocks.iter().filter_map(|slot| swap(slot, None)).for_each(Block::free);
}
