//! Fault injection: a workload over a source that refuses, at each request in turn.

use std::sync::Arc;
use std::vec::Vec;

use super::RefusingSource;
use crate::alloc::Allocator;
use crate::layout::NonZeroLayout;
use crate::source::{MemorySource, MmapSource};

use super::CheckingSource;
use super::layout;
use super::ledger::{Ledger, Way};

/// The source that a workload runs over.
pub type FaultySource<S = MmapSource> = CheckingSource<RefusingSource<S>>;

/// Runs `workload` over memory maps, first with no refusal, then with each of its requests refused,
/// alone and with all that follow. Returns how many requests the undisturbed run made.
///
/// The workload builds what it tests over the source it is given, survives every error, and gives
/// everything up before it returns. Checked here: nothing was released wrongly, everything was
/// released, and what should have been refused was.
pub fn every_request(workload: impl Fn(&Arc<FaultySource>)) -> usize {
    every_request_to(MmapSource::new, workload)
}

/// As [`every_request`], over sources that `make` makes.
pub fn every_request_to<S: MemorySource>(
    make: impl Fn() -> S,
    workload: impl Fn(&Arc<FaultySource<S>>),
) -> usize {
    let run = |source: RefusingSource<S>| {
        let source = Arc::new(CheckingSource::new(source));
        workload(&source);
        source.assert_all_released();
        assert_eq!(Arc::strong_count(&source), 1, "the workload kept its source");
        (source.source().requests(), source.counts().refused)
    };
    let (requests, refused) = run(RefusingSource::never(make()));
    assert!(requests > 0, "the workload asked its source for nothing");
    assert_eq!(refused, 0, "the source refuses even when it is told to refuse nothing");
    for number in 0..requests {
        let (seen, refused) = run(RefusingSource::once(make(), number));
        // Blocks at large alignments take more or fewer regions, depending on where those lie.
        assert!(
            refused >= 1 || (number > 0 && seen <= number),
            "request {number} of {requests} was not refused"
        );
        let (seen, refused) = run(RefusingSource::from(make(), number));
        assert!(
            refused >= 1 || (number > 0 && seen <= number),
            "request {number} of {requests} was not refused"
        );
    }
    requests
}

/// A workload for any allocator: it allocates, grows and shrinks until several regions are in use,
/// goes on after every error, checks all contents, and frees everything. Returns the number of
/// errors.
pub fn work(allocator: &dyn Allocator, largest: usize) -> usize {
    let mut ledger = Ledger::new(allocator);
    let mut errors = 0;
    let mut addresses = Vec::new();
    let sizes = || (0..).map(|power| 24 << power).take_while(|&size| size <= largest);
    for _ in 0..8 {
        for size in sizes() {
            note(ledger.allocate(layout(size, 8)), &mut addresses, &mut errors);
            note(ledger.allocate_zeroed(layout(size / 2 + 1, 64)), &mut addresses, &mut errors);
        }
    }
    for address in &mut addresses {
        let old = ledger.get(*address).layout();
        let larger = old.with_size((old.size() * 2).min(largest).max(old.size())).unwrap_or(old);
        let realigned = larger.align_to(128).unwrap_or(larger);
        for (new, way) in [(larger, Way::GrowZeroed), (realigned, Way::Grow), (old, Way::Shrink)] {
            *address = resize(&mut ledger, *address, new, way, &mut errors);
        }
    }
    ledger.verify();
    ledger.free_all();
    errors
}

fn resize(
    ledger: &mut Ledger<'_>,
    address: usize,
    new: NonZeroLayout,
    way: Way,
    errors: &mut usize,
) -> usize {
    // Where growing failed before, there is nothing to shrink.
    if way == Way::Shrink && ledger.get(address).layout().size() < new.size() {
        return address;
    }
    ledger.resize(address, new, way).unwrap_or_else(|_| {
        *errors += 1;
        address
    })
}

fn note<E>(result: Result<usize, E>, addresses: &mut Vec<usize>, errors: &mut usize) {
    match result {
        Ok(address) => addresses.push(address),
        Err(_) => *errors += 1,
    }
}
