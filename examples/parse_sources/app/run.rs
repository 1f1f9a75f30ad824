//! One run: all files, in one tier, by several threads.
//!
//! ```text
//! next (atomic index) ──> worker ─┬─ most identifiers: dropped there, after their heap
//!                         worker ─┤
//!                         worker ─┴─ every 8th ──channel──> collector: dropped there
//! ```

use super::counts::Counts;
use super::figures::Figures;
use super::progress::Progress;
use super::request;
use super::resident;
use super::tier::Tier;
use crate::tiers;
use serde::Serialize;
use std::num::NonZeroUsize;
use std::ops::AddAssign;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

/// `syn` parses, visits and drops by recursion, so a deeply nested source needs a deep stack. This
/// much is reserved rather than used: a page costs memory only once the stack has grown into it.
const STACK_BYTES: usize = 256 << 20;

/// Of the files' longest identifiers, every so many-th goes to the collector.
const COLLECTED: usize = 8;

/// Identifiers on their way to the collector. Few, since each keeps its file's heap.
const IN_FLIGHT: usize = 16;

/// What was found: the same in every run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Files parsed.
    pub files: u64,
    /// Files not UTF-8, or not Rust to `syn`.
    #[serde(skip)]
    pub skipped: u64,
    /// The sum over the parsed files.
    #[serde(flatten)]
    pub counts: Counts,
    /// Length of the longest identifier of all.
    #[serde(skip)]
    pub longest_bytes: usize,
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.files += other.files;
        self.skipped += other.skipped;
        self.counts += other.counts;
        self.longest_bytes = self.longest_bytes.max(other.longest_bytes);
    }
}

/// What one run found and took.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// Where its blocks came from.
    pub tier: Tier,
    /// What it found.
    pub totals: Totals,
    /// From the first thread's start to the last one's end.
    pub time: Duration,
    /// The process's peak resident memory, if the kernel says.
    pub peak_resident_bytes: Option<u64>,
    /// What the allocator says.
    pub figures: Figures,
}

impl Run {
    /// Parses all `files` in `tier`. Every thread is gone, joined, before a figure is read.
    pub fn measure(tier: Tier, files: &[PathBuf], threads: NonZeroUsize, progress: &Progress) -> Self {
        let next = AtomicUsize::new(0);
        let bar = progress.bar(tier, files.len());
        let (totals, time, peak_resident_bytes, figures) = bar.watch(&next, || {
            let resets = resident::reset_peak();
            let mark = tiers::begin(tier);
            let start = Instant::now();
            let totals = parse_all(tier, files, threads, &next);
            let time = start.elapsed();
            let figures = tiers::end(mark);
            (totals, time, resident::peak_bytes().filter(|_| resets), figures)
        });
        Self { tier, totals, time, peak_resident_bytes, figures }
    }
}

fn parse_all(tier: Tier, files: &[PathBuf], threads: NonZeroUsize, next: &AtomicUsize) -> Totals {
    thread::scope(|scope| {
        let (sender, receiver) = mpsc::sync_channel(IN_FLIGHT);
        let collector = scope.spawn(move || tiers::aside(|| collect(receiver)));
        let workers: Vec<_> = (0..threads.get())
            .map(|_| {
                let sender = sender.clone();
                thread::Builder::new()
                    .name("worker".into())
                    .stack_size(STACK_BYTES)
                    .spawn_scoped(scope, move || tiers::aside(|| parse_some(tier, files, next, &sender)))
                    .expect("the system starts a thread")
            })
            .collect();
        drop(sender);
        let mut totals = Totals::default();
        for worker in workers {
            totals += join(worker);
        }
        totals.longest_bytes = totals.longest_bytes.max(join(collector));
        totals
    })
}

/// Takes files until none are left.
fn parse_some(tier: Tier, files: &[PathBuf], next: &AtomicUsize, collector: &SyncSender<String>) -> Totals {
    let mut totals = Totals::default();
    loop {
        let index = next.fetch_add(1, Ordering::Relaxed);
        let Some(file) = files.get(index) else { return totals };
        let Some(answer) = tiers::run_in(tier, || request::answer(file)) else {
            totals.skipped += 1;
            continue;
        };
        totals.files += 1;
        totals.counts += answer.counts;
        if index.is_multiple_of(COLLECTED) {
            collector.send(answer.longest).expect("the collector runs until every worker is gone");
        } else {
            totals.longest_bytes = totals.longest_bytes.max(answer.longest.len());
        }
    }
}

/// Frees on its own thread what the workers' heaps made.
fn collect(identifiers: Receiver<String>) -> usize {
    identifiers.into_iter().map(|identifier| identifier.len()).max().unwrap_or(0)
}

/// Waits for the thread to end, not only for its closure: its thread-locals are gone then.
fn join<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
