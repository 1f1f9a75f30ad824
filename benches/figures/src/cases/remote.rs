//! Blocks that are allocated on one thread and freed on another.

use std::ptr::NonNull;
use std::sync::mpsc;
use std::thread;

use super::{Case, Tier};
use crate::block::{give, layout, take};

const SIZE: usize = 64;
/// Blocks handed over at once: they fit in one region of the coroutine tier.
const BATCH: u64 = 500;
/// Batches on their way.
const BATCHES: usize = 4;

/// Blocks on their way to the thread that frees them.
struct Batch(Vec<NonNull<u8>>);

// SAFETY: The blocks belong to whoever holds the batch.
unsafe impl Send for Batch {}

fn remote_frees<T: Tier>(iterations: u64) {
    let (full, filled) = mpsc::sync_channel::<Batch>(BATCHES);
    let (empty, emptied) = mpsc::sync_channel::<Batch>(BATCHES);
    for _ in 0..BATCHES {
        empty.send(Batch(Vec::with_capacity(BATCH as usize))).expect("the receiver is alive");
    }
    thread::scope(|scope| {
        scope.spawn(move || {
            for mut batch in filled {
                for block in batch.0.drain(..) {
                    // SAFETY: `take` gave it with this layout.
                    unsafe { give(block, const { layout::<SIZE>() }) };
                }
                // The other end is gone when nothing is left to do.
                let _ = empty.send(batch);
            }
        });
        let mut left = iterations;
        while left > 0 {
            let now = left.min(BATCH);
            let mut batch = emptied.recv().expect("the other thread runs until it gets no more");
            T::within(|| batch.0.extend((0..now).map(|_| take(const { layout::<SIZE>() }))));
            full.send(batch).expect("the other thread runs until it gets no more");
            left -= now;
        }
        drop(full);
    });
}

/// Two pairs of threads at once.
fn two_pairs<T: Tier>(iterations: u64) {
    thread::scope(|scope| {
        scope.spawn(|| remote_frees::<T>(iterations));
        remote_frees::<T>(iterations);
    });
}

/// The cases.
pub fn cases<T: Tier>() -> Vec<Case> {
    let case = |threads, run| {
        Case::new("freed on another thread, 64 B", T::NAME, T::ROLE, run).starting_threads(threads)
    };
    vec![case(2, remote_frees::<T>), case(4, two_pairs::<T>).only_timed()]
}
