//! Blocks that are freed on another thread than the one that allocated them, and threads that end.

use std::sync::{Barrier, mpsc};
use std::thread;

use super::{List, Values, free, list, mebibytes, resident_since, take, warm_up};
use crate::block::Live;
use crate::cases::Tier;
use crate::resident;

/// Allocates as many blocks as the list has room for.
fn fill<T: Tier>(blocks: &mut List<Live>, size: usize) {
    while blocks.len() < blocks.capacity() {
        blocks.push(take::<T>(size));
    }
}

/// A thread allocates and sleeps, another frees all.
pub fn freed_elsewhere<T: Tier>() -> Values {
    const SIZE: usize = 256;
    warm_up::<T>();
    let (blocks, end) = (list(100_000_000 / SIZE), Barrier::new(2));
    let before = resident::now();
    thread::scope(|scope| {
        let (sender, receiver) = mpsc::sync_channel(1);
        let end = &end;
        scope.spawn(move || {
            let mut blocks = blocks;
            fill::<T>(&mut blocks, SIZE);
            sender.send(blocks).expect("the other thread waits for them");
            end.wait();
        });
        let blocks = receiver.recv().expect("the thread sends them");
        T::within(|| free(&blocks));
        let resident = resident_since(before);
        end.wait();
        vec![Some(mebibytes(resident))]
    })
}

/// A thread allocates and ends, another frees all but so many.
pub fn owner_ended<T: Tier>(stay: usize) -> Values {
    warm_up::<T>();
    let mut blocks = list(200_000);
    let before = resident::now();
    thread::scope(|scope| {
        let owner = scope.spawn(|| fill::<T>(&mut blocks, 1_000));
        owner.join().expect("the thread does not panic");
    });
    let freed = blocks.len() - stay;
    T::within(|| free(&blocks[..freed]));
    let resident = resident_since(before);
    T::within(|| free(&blocks[freed..]));
    vec![Some(mebibytes(resident))]
}

/// A thread allocates tasks and queues them, two others free them; all three live on.
pub fn tasks<T: Tier>() -> Values {
    const TASKS: usize = 1_000_000;
    const WORKERS: usize = 2;
    warm_up::<T>();
    let (queued, done, end) =
        (Barrier::new(WORKERS + 1), Barrier::new(WORKERS + 1), Barrier::new(WORKERS + 1));
    thread::scope(|scope| {
        let queues: [mpsc::Sender<Live>; WORKERS] = std::array::from_fn(|_| {
            let (sender, receiver) = mpsc::channel::<Live>();
            let (queued, done, end) = (&queued, &done, &end);
            scope.spawn(move || {
                queued.wait();
                T::within(|| (0..TASKS / WORKERS).for_each(|_| free(&[receiver.recv().expect("a task")])));
                done.wait();
                end.wait();
            });
            sender
        });
        let before = resident::now();
        T::within(|| {
            for task in 0..TASKS {
                queues[task % WORKERS].send(take::<T>(240)).expect("the worker waits for it");
            }
        });
        queued.wait();
        done.wait();
        let resident = resident_since(before);
        end.wait();
        vec![Some(mebibytes(resident))]
    })
}

/// Many threads at once, each with a block; then all of them end.
pub fn many<T: Tier>() -> Values {
    const THREADS: usize = 8_000;
    const STACK: usize = 64 << 10;
    static ALLOCATED: Barrier = Barrier::new(THREADS + 1);
    static END: Barrier = Barrier::new(THREADS + 1);
    warm_up::<T>();
    let mut threads = list(THREADS);
    let before = resident::now();
    for _ in 0..THREADS {
        let thread = thread::Builder::new().stack_size(STACK).spawn(|| {
            let block = take::<T>(1_000);
            ALLOCATED.wait();
            END.wait();
            T::within(|| free(&[block]));
        });
        threads.push(thread.expect("the system starts so many threads"));
    }
    ALLOCATED.wait();
    let alive = resident_since(before);
    END.wait();
    threads.into_iter().for_each(|thread| thread.join().expect("the thread does not panic"));
    let ended = resident_since(before);
    vec![Some(alive / THREADS as f64 / 1024.0), Some(mebibytes(ended))]
}
