//! How much memory is resident in situations that a program gets into: blocks freed by another
//! thread than the one that allocated them, threads that ended, many contexts at once.
//!
//! A row is one situation, run once in a process of its own. It prints its figures as JSON, in the
//! order in which [`ROWS`] names them. Before each figure the process makes no call for a second.
//! Always: what the measurement itself needs is a map of its own that is resident before it begins.

mod contexts;
mod freed;
mod threads;

use std::alloc::Layout;
use std::hint::black_box;
use std::mem::MaybeUninit;
use std::thread::sleep;
use std::time::Duration;

use allocator_api2::vec::Vec as VecIn;
use context_allocator::MmapAllocator;
use context_allocator::adapt::AllocatorAdaptor;

pub use contexts::{arena, heaps};
pub use freed::trimmed;

use crate::block::{Live, layout_of};
use crate::cases::{Case, Kind, Role, Tier};
use crate::resident;

/// How long nothing is called before resident memory is read.
const WAIT: Duration = Duration::from_secs(1);

/// What a figure should be.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
}

use Goal::{AtLeast, AtMost};

/// A figure of a row.
#[derive(Clone, Copy, Debug)]
pub struct Figure {
    /// What it is, with its unit.
    pub name: &'static str,
    /// What it should be.
    pub goal: Goal,
}

/// A situation.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// As the command line calls it.
    pub name: &'static str,
    /// What happens.
    pub what: &'static str,
    /// What it measures.
    pub figures: &'static [Figure],
}

const fn row(name: &'static str, what: &'static str, figures: &'static [Figure]) -> Row {
    Row { name, what, figures }
}

const fn figure(name: &'static str, goal: Goal) -> Figure {
    Figure { name, goal }
}

const FREED_ELSEWHERE: Row = row(
    "freed elsewhere",
    "a thread allocates 100 MB in blocks of 256 B and sleeps, another frees all",
    &[figure("MiB", AtMost(2.0))],
);
const OWNER_ENDED: Row = row(
    "owner ended",
    "a thread allocates 200,000 blocks of 1,000 B and ends, another frees all",
    &[figure("MiB", AtMost(2.0))],
);
const ONE_STAYS: Row =
    row("one stays", "the same, and one of the blocks stays", &[figure("MiB", AtMost(2.0))]);
const TASKS: Row = row(
    "tasks",
    "a thread allocates a million tasks of 240 B, two others free them",
    &[figure("MiB", AtMost(4.0))],
);
const HOLES: Row = row(
    "holes",
    "300,000 blocks of 0.5 to 2 KiB, 1 in 20 stays at random, 10 s pass",
    &[figure("% of the free memory that came back", AtLeast(75.0))],
);
const HUGE_PAGES: Row = row(
    "huge pages",
    "64 MiB of blocks, of which 16 MiB in one of four runs of 64 KiB stay, 150 s pass; transparent \
     huge pages `always`",
    &[figure("MiB", AtMost(24.0))],
);
const THREADS: Row = row(
    "threads",
    "8,000 threads with a block of 1,000 B each",
    &[figure("KiB each while alive", AtMost(16.0)), figure("MiB when all ended", AtMost(8.0))],
);
const TRIM: Row = row(
    "trim",
    "`trim` after two threads freed 128 MiB each in blocks of 1 KiB, the other one sleeps",
    &[
        figure("ms", AtMost(10.0)),
        figure("% of what left that it says it returned", AtLeast(90.0)),
        figure("MiB still resident at once", AtMost(2.0)),
    ],
);
const REQUESTS: Row = row(
    "requests",
    "2,000 contexts at once allocate 600 KB each, then all end",
    &[figure("MiB", AtMost(8.0))],
);
const CONTEXTS_OF_10: Row = row(
    "contexts of 10",
    "100,000 contexts alive, of 10 blocks each (903 B)",
    &[figure("B each", AtMost(1600.0))],
);
const CONTEXTS_OF_100: Row = row(
    "contexts of 100",
    "100,000 contexts alive, of 100 blocks each (8,029 B)",
    &[figure("B each", AtMost(9700.0))],
);
const ORPHANS: Row = row(
    "orphans",
    "10,000 contexts of 100 strings ended, a string of 10 B of each stays",
    &[figure("MiB held", AtMost(25.0)), figure("MiB resident", AtMost(25.0))],
);
const SLABS: Row = row(
    "slabs",
    "a heap of slabs from which 8 blocks of 16 B to 2 KiB were allocated and freed",
    &[figure("KiB held", AtMost(8.0))],
);

/// All of them, in the order of the table.
pub const ROWS: &[Row] = &[
    FREED_ELSEWHERE,
    OWNER_ENDED,
    ONE_STAYS,
    TASKS,
    HOLES,
    HUGE_PAGES,
    THREADS,
    TRIM,
    REQUESTS,
    CONTEXTS_OF_10,
    CONTEXTS_OF_100,
    ORPHANS,
    SLABS,
];

/// What a row measured: a value for each of its figures; `None` where the allocator has no such.
type Values = Vec<Option<f64>>;

/// The case of a row. `run` prints what it measures.
fn case(row: Row, allocator: &str, role: Role, run: fn(u64)) -> Case {
    Case::new(row.name, allocator, role, run).measured_as(Kind::Situation)
}

fn print(values: &Values) {
    println!("{}", serde_json::to_string(values).expect("numbers"));
}

/// The rows that need no contexts, on a global allocator.
pub fn everywhere<T: Tier>() -> Vec<Case> {
    vec![
        case(FREED_ELSEWHERE, T::NAME, T::ROLE, |_| print(&threads::freed_elsewhere::<T>())),
        case(OWNER_ENDED, T::NAME, T::ROLE, |_| print(&threads::owner_ended::<T>(0))),
        case(ONE_STAYS, T::NAME, T::ROLE, |_| print(&threads::owner_ended::<T>(1))),
        case(TASKS, T::NAME, T::ROLE, |_| print(&threads::tasks::<T>())),
        case(HOLES, T::NAME, T::ROLE, |_| print(&freed::holes::<T>())),
        case(HUGE_PAGES, T::NAME, T::ROLE, |_| print(&freed::huge_pages::<T>())),
        case(THREADS, T::NAME, T::ROLE, |_| print(&threads::many::<T>())),
    ]
}

/// The rows of contexts, on a global allocator without any: their blocks are freed one by one.
pub fn without<T: Tier>() -> Vec<Case> {
    contexts::without::<T>()
}

/// A list with its memory in a map of its own.
type List<T> = VecIn<T, AllocatorAdaptor<MmapAllocator>>;

/// An empty list that has resident room for so many values.
fn list<T>(capacity: usize) -> List<T> {
    let mut list = VecIn::with_capacity_in(capacity, AllocatorAdaptor::new(MmapAllocator::new()));
    list.spare_capacity_mut().fill_with(MaybeUninit::zeroed);
    black_box(list.as_mut_ptr());
    list
}

/// Allocates a block in the tier.
fn take<T: Tier>(size: usize) -> Live {
    T::within(|| Live::take(layout_of(size, 8)))
}

/// Allocates a block and frees it, so that what a first request needs is there.
fn warm_up<T: Tier>() {
    T::within(|| free(&[take::<T>(64)]));
}

/// Frees blocks that nobody uses again.
fn free(blocks: &[Live]) {
    for block in blocks {
        // SAFETY: The rows allocate each block once, free it once, and do not use it then.
        unsafe { block.give() };
    }
}

/// Bytes that are resident after the wait, less `before`.
fn resident_since(before: u64) -> f64 {
    sleep(WAIT);
    resident::now().saturating_sub(before) as f64
}

fn mebibytes(bytes: f64) -> f64 {
    bytes / f64::from(1 << 20)
}

/// Sizes of a context's blocks: of ten blocks 903 B, of a hundred 8,029 B, the median 48 B.
fn context_layout(index: usize) -> Layout {
    const SMALL: [usize; 9] = [16, 24, 32, 40, 48, 48, 64, 96, 160];
    let size = match (index / 10, index % 10) {
        (_, place @ 0..=8) => SMALL[place],
        (0, _) => 375,
        (1, _) => 270,
        _ => 263,
    };
    layout_of(size, 8)
}

#[cfg(test)]
mod tests {
    use super::{ROWS, context_layout};

    #[test]
    fn contexts_ask_for_what_the_table_says() {
        let asked = |blocks| (0..blocks).map(|index| context_layout(index).size()).sum::<usize>();
        assert_eq!((asked(10), asked(100)), (903, 8_029));
    }

    #[test]
    fn rows_have_names_of_their_own() {
        for (index, row) in ROWS.iter().enumerate() {
            assert!(ROWS[..index].iter().all(|other| other.name != row.name), "{}", row.name);
        }
    }
}
