//! What an allocator may hold for what is live, and workloads that try to make it hold more.
//!
//! *Held* are the bytes that the allocator obtained from its source and did not release. *Live* are
//! the bytes of the blocks that are allocated, by real length. No allocator that does not move
//! blocks keeps held bytes within a constant factor of live ones whatever is freed (J. M. Robson,
//! Bounds for Some Functions Concerning Dynamic Storage Allocation, 1974): one small block may be
//! all that is left in each region. So a [`Promise`] is checked against what is live where blocks
//! are allocated, or freed in the order of their age; and against the most that was live, where any
//! may be freed.

use crate::alloc::Allocator;
use crate::layout::NonZeroLayout;
use fastrand::Rng;
use std::vec::Vec;

use super::checking::{CheckingSource, Counts};
use super::layout;
use super::ledger::Ledger;
use super::model::{self, Profile};

/// What the documentation of an allocator says under "Held memory".
#[derive(Clone, Copy, Debug)]
pub struct Promise {
    /// Held bytes for 100 live ones, while blocks of one size are allocated, or freed in the order
    /// of their age; beside them as much as `regions` says may be held.
    pub percent: usize,
    /// Bytes of regions that are not full, for each 100 of the most bytes that were live.
    pub regions: usize,
    /// Held bytes for 100 of the most that were live, where blocks of many sizes are freed in any
    /// order.
    pub percent_of_most: usize,
    /// Bytes held beyond that.
    pub plus: usize,
    /// Whether a freed block's memory serves other sizes. If not, the most that is live counts for
    /// each phase of a workload by itself.
    pub any_size: bool,
    /// Whether a freed block's memory is used again at all. If not, what counts is all that was
    /// allocated.
    pub reuses: bool,
    /// Whether regions are released before the allocator is reset or dropped.
    pub releases: bool,
}

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

impl Promise {
    /// Of an allocator that reuses what is freed, for any size, and releases it: up to a quarter
    /// more than is live, in each sense, and `plus`.
    const fn quarter(plus: usize) -> Self {
        Self {
            percent: 105,
            regions: 20,
            percent_of_most: 125,
            plus,
            any_size: true,
            reuses: true,
            releases: true,
        }
    }

    /// `BitSetAllocator` over pages, with blocks of at most 64 bytes.
    pub const BIT_SET: Self = Self::quarter(1280 * KIB);
    /// The same over an arena's blocks of 64 KiB: two regions and the one in use. Blocks of
    /// some KiB leave more of such small regions unused.
    pub const BIT_SET_IN_BLOCKS: Self =
        Self { percent: 110, regions: 0, percent_of_most: 150, ..Self::quarter(192 * KIB) };
    /// `MultipleBinarySearchTreeAllocator`.
    pub const TREE: Self = Self { regions: 160, percent_of_most: 210, ..Self::quarter(MIB) };
    /// `SlabAllocator` in slabs of 64 KiB: one for each class, and those that are kept.
    pub const SLAB: Self = Self { percent: 120, regions: 0, percent_of_most: 130, ..Self::quarter(9 * MIB) };
    /// `SizeClassAllocator`: what each class had live at most, and a region.
    pub const SIZE_CLASS: Self = Self { any_size: false, releases: false, ..Self::quarter(4 * MIB) };
    /// `BumpAllocator`: twice what was allocated, and a region.
    pub const BUMP: Self =
        Self { percent_of_most: 200, reuses: false, releases: false, ..Self::quarter(4 * MIB) };
    /// `MmapAllocator`: what is live.
    pub const MAPS: Self = Self { percent: 100, regions: 0, percent_of_most: 100, ..Self::quarter(0) };
}

/// Holds an allocator to its promise, at each step.
pub struct Meter<'a> {
    counts: &'a dyn Fn() -> Counts,
    promise: Promise,
    live: usize,
    /// The most that was live in this phase, and in all phases before it together.
    most: usize,
    before: usize,
    allocated: usize,
}

impl<'a> Meter<'a> {
    /// Checks what `counts` says is held.
    pub fn new(counts: &'a dyn Fn() -> Counts, promise: Promise) -> Self {
        Self { counts, promise, live: 0, most: 0, before: 0, allocated: 0 }
    }

    /// Notes what is live now, after one operation.
    pub fn note(&mut self, live: usize) {
        self.allocated += live.saturating_sub(self.live);
        self.live = live;
        self.most = self.most.max(live);
    }

    /// Notes what is live now, and checks what is held against the most that was.
    #[track_caller]
    pub fn check_most(&mut self, live: usize) {
        self.note(live);
        let Promise { percent_of_most, any_size, reuses, .. } = self.promise;
        let most = match (reuses, any_size) {
            (false, _) => self.allocated,
            (true, true) => self.most,
            (true, false) => self.before + self.most,
        };
        self.check(most * percent_of_most / 100);
    }

    /// Notes what is live now, and checks what is held against that.
    #[track_caller]
    pub fn check_live(&mut self, live: usize) {
        if self.promise.releases && self.promise.any_size {
            self.note(live);
            self.check((live * self.promise.percent + self.most * self.promise.regions) / 100);
        } else {
            self.check_most(live);
        }
    }

    #[track_caller]
    fn check(&self, most: usize) {
        let (counts, most) = ((self.counts)(), most + self.promise.plus);
        let Counts { bytes, held, .. } = counts;
        let live = self.live;
        assert!(
            bytes <= most,
            "{bytes} bytes are held in {held} regions, for {live} live; allowed are {most}"
        );
    }

    /// Begins a phase with blocks of other sizes, with nothing live.
    pub fn next_phase(&mut self) {
        assert_eq!(self.live, 0);
        self.before += std::mem::take(&mut self.most);
    }
}

/// How the blocks of [`Work`] are freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Oldest,
    Newest,
    Any,
}

struct Work<'a> {
    ledger: Ledger<'a>,
    blocks: Vec<usize>,
    meter: Meter<'a>,
    random: Rng,
}

impl<'a> Work<'a> {
    fn new(allocator: &'a dyn Allocator, counts: &'a dyn Fn() -> Counts, promise: Promise) -> Self {
        Self {
            ledger: Ledger::new(allocator),
            blocks: Vec::new(),
            meter: Meter::new(counts, promise),
            random: Rng::with_seed(1),
        }
    }

    fn allocate(&mut self, layout: NonZeroLayout) {
        self.blocks.push(self.ledger.allocate(layout).expect("a source without end"));
    }

    fn size(&mut self, largest: usize) -> NonZeroLayout {
        layout(self.random.usize(1..=largest), 8)
    }

    fn fill(&mut self, count: usize, size: usize) {
        for _ in 0..count {
            self.allocate(layout(size, 8));
            self.meter.check_live(self.ledger.bytes());
        }
    }

    fn drain(&mut self, order: Order) {
        match order {
            Order::Oldest => {}
            Order::Newest => self.blocks.reverse(),
            Order::Any => self.random.shuffle(&mut self.blocks),
        }
        for address in std::mem::take(&mut self.blocks) {
            self.ledger.free(address);
            let live = self.ledger.bytes();
            match order {
                Order::Any => self.meter.check_most(live),
                Order::Oldest | Order::Newest => self.meter.check_live(live),
            }
        }
    }

    /// Blocks of one size, freed in the order of their age, and the other way round.
    fn uniform(&mut self, count: usize, size: usize) {
        for order in [Order::Oldest, Order::Newest] {
            self.fill(count, size);
            self.drain(order);
        }
        self.meter.next_phase();
    }

    /// Each of as many blocks of any size is replaced some times.
    fn churn(&mut self, count: usize, largest: usize) {
        for number in 0..5 * count {
            if number >= count {
                let index = self.random.usize(..count);
                let address = self.blocks.swap_remove(index);
                self.ledger.free(address);
                self.meter.check_most(self.ledger.bytes());
            }
            let layout = self.size(largest);
            self.allocate(layout);
            self.meter.check_most(self.ledger.bytes());
        }
        self.drain(Order::Any);
    }

    /// Fills and drains some times; gives the most that was held in each round.
    fn fill_and_drain(&mut self, count: usize, largest: usize) -> Vec<usize> {
        (0..3)
            .map(|_| {
                let mut most = 0;
                for _ in 0..count {
                    let layout = self.size(largest);
                    self.allocate(layout);
                    self.meter.check_most(self.ledger.bytes());
                    most = most.max((self.meter.counts)().bytes);
                }
                self.drain(Order::Any);
                most
            })
            .collect()
    }

    /// How many regions are obtained while a block comes and goes a thousand times, and then some
    /// of other sizes, after the last block for which there was room.
    fn ping_pong(&mut self, size: usize, regions: usize) -> usize {
        let obtained = self.obtained();
        while self.obtained() < obtained + regions {
            self.allocate(layout(size, 8));
        }
        let last = self.blocks.pop().expect("one that got a region");
        self.ledger.free(last);
        let before = self.obtained();
        for number in 0..1000 {
            let blocks = 1 + number % 3;
            for other in 0..blocks {
                self.allocate(layout(size + other * size / 4, 8));
            }
            for _ in 0..blocks {
                let address = self.blocks.pop().expect("just allocated");
                self.ledger.free(address);
            }
        }
        self.obtained() - before
    }

    fn obtained(&self) -> usize {
        (self.meter.counts)().obtained
    }
}

/// Runs all workloads on an allocator over this source, with blocks of up to `largest` bytes.
pub fn workloads(
    allocator: &dyn Allocator,
    source: &CheckingSource<impl crate::source::MemorySource>,
    promise: Promise,
    largest: usize,
) {
    workloads_counted(allocator, &|| source.counts(), promise, largest);
}

fn workloads_counted(
    allocator: &dyn Allocator,
    counts: &dyn Fn() -> Counts,
    promise: Promise,
    largest: usize,
) {
    let largest_of = |size: usize| size.min(largest);
    let work = || Work::new(allocator, counts, promise);
    let mut all = work();
    for (count, size) in [(10_000, 1000), (10_000, 200), (20_000, 24), (2_000, 5000), (300, 30_000)] {
        all.uniform(count, largest_of(size));
    }
    // From small blocks to large ones and back.
    for size in [40, 20_000, 40, 3_000] {
        all.fill(4_000_000 / size.max(400), largest_of(size));
        all.drain(Order::Any);
        all.meter.next_phase();
    }
    all.churn(5_000, largest_of(2_000));
    all.meter.next_phase();
    all.churn(300, largest_of(30_000));
    all.meter.next_phase();
    let rounds = all.fill_and_drain(3_000, largest_of(4_000));
    if promise.reuses {
        assert!(rounds[1..].iter().all(|&most| most <= rounds[0] + promise.plus), "{rounds:?}");
    }
    all.meter.next_phase();
    let mut meter = all.meter;
    // The generated operations resize too, and ask for multiples of more than 8.
    let profile = Profile { largest: largest_of(4_000), most_align: 64, ..Profile::SMALL };
    model::run_watched(allocator, profile.operations(50_000), |live| meter.check_most(live));
}

/// A block that comes and goes at the border of a region does not obtain one each time. The
/// allocator is then left with what it needed.
pub fn ping_pong(
    allocator: &dyn Allocator,
    source: &CheckingSource<impl crate::source::MemorySource>,
    sizes: &[usize],
) {
    let counts = || source.counts();
    for &size in sizes {
        let mut work = Work::new(allocator, &counts, Promise::BIT_SET);
        let obtained = work.ping_pong(size, 3);
        assert!(obtained <= 2, "{obtained} regions for 1,000 times some blocks of {size} bytes");
        work.ledger.free_all();
    }
}
