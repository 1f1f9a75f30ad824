//! What runs, how memory is watched, and what counts as growth: also of tests/endurance.rs.
//!
//! Three patterns that lose memory in allocators which keep blocks by thread, all at once:
//! - a thread that only allocates, and one that only frees what the first one made;
//! - threads that come and go, with 100 blocks each, some of which are handed on and freed by later
//!   threads;
//! - a thread that sleeps while others free its blocks.
//!
//! How many blocks are alive is bounded in each, and each does the same over and over, of the same
//! sizes: what memory grows by is lost, not a new record of chance.
//!
//! Memory does grow in the beginning: a block that is freed is used again for its own size and
//! heap, and it takes a while until each has had its largest share. With 20,000 blocks that is less
//! than the first minute, and 2 % of the process are more than a region.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// What is run, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How long before anybody looks. In a long run, the first minute is enough.
    pub warm_up: Duration,
    /// How long after that.
    pub total: Duration,
    /// How many blocks are handed on from thread to thread, and how many the sleeper has.
    pub blocks: usize,
    /// The allowance beside the 2 %, in KiB: short runs end before each size and heap has had its
    /// largest share.
    pub allowance: usize,
    /// Whether each thread that goes forgets some blocks: to see that it is noticed.
    pub leak: bool,
}

/// The largest part of a run after which memory is compared.
const MINUTE: Duration = Duration::from_secs(60);
/// A run has at least so many of these parts.
const PARTS: u32 = 6;
/// The last so-manieth of each part is looked at: ten seconds of a minute.
const LOOK: u32 = 6;
/// In percent.
const GROWTH: usize = 2;

/// How a run went.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Resident memory in KiB: the median of the end of each part of the run, the first one to
    /// compare with.
    pub medians: Vec<usize>,
    /// Blocks that the pairs of producer and consumer passed on.
    pub passed: u64,
    /// Threads that came and went.
    pub threads: u64,
    /// How often the sleeper slept.
    pub sleeps: u64,
    /// The most that a later median may be, in KiB.
    pub most: usize,
}

impl Report {
    /// Whether memory grew.
    pub fn grew(&self) -> bool {
        self.medians.iter().any(|&median| median > self.most)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, most) = (self.medians.first().unwrap_or(&0), self.medians.iter().max().unwrap_or(&0));
        write!(
            f,
            "{} blocks passed on, {} threads came and went, {} sleeps; resident: {first} KiB in the beginning, at most {most} KiB, allowed {} KiB: {}",
            self.passed,
            self.threads,
            self.sleeps,
            self.most,
            if self.grew() { "memory grew" } else { "memory did not grow" },
        )
    }
}

/// A block that knows what is in it.
#[derive(Debug)]
struct Parcel(Vec<u8>);

impl Parcel {
    fn new(random: &mut fastrand::Rng) -> Self {
        let most = if random.u32(0..20) == 0 { 8192 } else { 256 };
        Self(vec![random.u8(..); random.usize(1..most)])
    }

    fn check(&self) {
        let (first, last) = (self.0.first(), self.0.last());
        assert!(first.is_some() && first == last, "a block changed");
    }
}

/// Always the same blocks, in the same order.
fn parcels(seed: u64, count: usize) -> impl Iterator<Item = Parcel> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..count).map(move |_| Parcel::new(&mut random))
}

/// What the threads have in common.
#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    passed: AtomicU64,
    threads: AtomicU64,
    sleeps: AtomicU64,
    /// Blocks that threads left to others.
    handed_on: Mutex<VecDeque<Parcel>>,
}

impl Shared {
    fn running(&self) -> bool {
        !self.stop.load(Relaxed)
    }

    /// Leaves a block to others, and takes the one that was left first.
    fn hand_on(&self, parcel: Parcel) -> Option<Parcel> {
        let mut handed_on = self.handed_on.lock().unwrap_or_else(PoisonError::into_inner);
        let other = handed_on.pop_front();
        handed_on.push_back(parcel);
        other
    }
}

/// Blocks on their way from the producer to the consumer.
const ON_THE_WAY: usize = 1000;
/// Blocks of a thread that comes and goes.
const BLOCKS: usize = 100;
/// Of these, those that are lost where blocks are.
const LOST: usize = 5;

/// Runs the plan; `each` is told of the memory in KiB at the end of each part.
pub fn run(plan: Plan, mut each: impl FnMut(usize)) -> Report {
    let shared = Shared::default();
    let mut report = Report::default();
    // As many as there will be, from the beginning, by a thread whose heap later ones take over.
    let all = thread::spawn(move || parcels(3, plan.blocks).collect()).join().expect("there is memory");
    *shared.handed_on.lock().unwrap_or_else(PoisonError::into_inner) = all;
    thread::scope(|scope| {
        let (to_consumer, from_producer) = sync_channel::<Parcel>(ON_THE_WAY);
        let (to_helper, from_sleeper) = sync_channel::<Parcel>(plan.blocks);
        let shared = &shared;
        scope.spawn(move || produce(shared, &to_consumer));
        scope.spawn(move || {
            for parcel in from_producer {
                parcel.check();
                shared.passed.fetch_add(1, Relaxed);
            }
        });
        scope.spawn(move || sleep(shared, plan.blocks, &to_helper));
        scope.spawn(move || from_sleeper.iter().for_each(|parcel| parcel.check()));
        scope.spawn(move || {
            let mut number = 0;
            while shared.running() {
                let ended = thread::scope(|scope| {
                    let two =
                        [0, 1].map(|one| scope.spawn(move || come_and_go(shared, number + one, plan.leak)));
                    two.map(|thread| thread.join().is_ok())
                });
                assert_eq!(ended, [true; 2], "a check failed");
                number += 2;
                shared.threads.fetch_add(2, Relaxed);
                thread::sleep(Duration::from_micros(200));
            }
        });
        // The threads end also where a check fails here.
        let _stop = Stop(&shared.stop);
        watch(plan, &mut report, &mut each);
    });
    report.passed = shared.passed.into_inner();
    report.threads = shared.threads.into_inner();
    report.sleeps = shared.sleeps.into_inner();
    report
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

fn produce(shared: &Shared, to_consumer: &SyncSender<Parcel>) {
    while shared.running() {
        for parcel in parcels(1, 10 * ON_THE_WAY) {
            if to_consumer.send(parcel).is_err() {
                return;
            }
        }
    }
}

/// Allocates, sleeps while a helper frees, and begins again.
fn sleep(shared: &Shared, blocks: usize, to_helper: &SyncSender<Parcel>) {
    while shared.running() {
        for parcel in parcels(2, blocks) {
            if to_helper.send(parcel).is_err() {
                return;
            }
        }
        thread::sleep(Duration::from_millis(20));
        shared.sleeps.fetch_add(1, Relaxed);
    }
}

fn come_and_go(shared: &Shared, number: u64, leak: bool) {
    let mut parcels: Vec<Parcel> = parcels(4 + number % 100, BLOCKS).collect();
    for mine in parcels.split_off(BLOCKS - BLOCKS / 10) {
        if let Some(other) = shared.hand_on(mine) {
            other.check();
        }
    }
    if leak {
        parcels.drain(..LOST).for_each(std::mem::forget);
    }
    parcels.iter().for_each(Parcel::check);
}

/// Looks at the memory of the process until the time is over.
fn watch(plan: Plan, report: &mut Report, each: &mut impl FnMut(usize)) {
    let part = MINUTE.min(plan.total / PARTS);
    let parts = (plan.total.as_secs_f64() / part.as_secs_f64()).round().max(2.0) as u32;
    let begin = Instant::now() + plan.warm_up;
    for number in 1..=parts {
        let end = begin + part * number;
        sleep_until(end - part / LOOK);
        let mut samples = Vec::with_capacity(64);
        // Fifty looks, for which the samples have room.
        for look in 1..=50 {
            samples.push(resident_kib());
            sleep_until(end - part / LOOK + part / LOOK * look / 50);
        }
        samples.sort_unstable();
        let median = samples[samples.len() / 2];
        if report.medians.is_empty() {
            report.most = median + median * GROWTH / 100 + plan.allowance;
        }
        report.medians.push(median);
        each(median);
    }
}

fn sleep_until(when: Instant) {
    thread::sleep(when.saturating_duration_since(Instant::now()));
}

/// `VmRSS` of this process.
fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux says how large a process is");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has resident memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number of KiB")
}
