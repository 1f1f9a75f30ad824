//! Slabs that their heap let go of: what others free leaves while the owner sleeps, after it ended,
//! and while it goes on.

use std::sync::{Barrier, mpsc};
use std::thread;

use crate::slab::{Counting, nothing_is_held, on_a_thread, slabs};
use crate::support::layout;
use crate::support::ledger::{Held, Ledger, Taking};
use context_allocator::size::{U4096, U65536};
use context_allocator::switch::Declaration;
use context_allocator::{ArenaSource, SlabAllocator, SwitchableAllocator};

type Slabs = SlabAllocator<&'static Counting>;

fn blocks<D: Declaration>(allocator: &SwitchableAllocator<D>, count: usize, size: usize) -> Vec<Held> {
    let mut ledger = Ledger::new(allocator);
    for _ in 0..count {
        ledger.allocate(layout(size, 8)).expect("memory");
    }
    ledger.take_all()
}

/// Frees blocks on the calling thread, and has it send what it keeps back.
fn free<D: Declaration>(allocator: &SwitchableAllocator<D>, held: impl IntoIterator<Item = Held>) {
    let ledger = Ledger::new(allocator);
    held.into_iter().for_each(|held| ledger.free_as(&held, held.layout().size()));
    allocator.statistics();
}

/// Runs `f` while a thread, which allocated such blocks, sleeps; then that thread goes on with
/// `then`, and ends.
fn while_the_owner_sleeps<D: Declaration, R>(
    allocator: &'static SwitchableAllocator<D>,
    (count, size): (usize, usize),
    f: impl FnOnce(Vec<Held>) -> R,
    then: impl FnOnce() + Send,
) -> R {
    let (sender, receiver) = mpsc::channel();
    let goes_on = Barrier::new(2);
    thread::scope(|scope| {
        let goes_on = &goes_on;
        let owner = scope.spawn(move || {
            sender.send(blocks(allocator, count, size)).unwrap();
            goes_on.wait();
            then();
        });
        let result = f(receiver.recv().unwrap());
        goes_on.wait();
        // A scope does not wait for the destructors of keys, joining does.
        owner.join().unwrap();
        result
    })
}

/// In each class, first to last and in another order.
#[test]
fn what_others_free_leaves_while_the_owner_sleeps() {
    slabs!(ALLOC over SOURCE: Slabs, &SOURCE);
    for (size, slab) in
        [(16, 64 << 10), (250, 64 << 10), (1024, 64 << 10), (2049, 256 << 10), (32 << 10, 256 << 10)]
    {
        for step in [1, 7, 101] {
            let count = (8 << 20) / size;
            while_the_owner_sleeps(
                &ALLOC,
                (count, size),
                |held| {
                    let before = SOURCE.counts().bytes;
                    assert!(before >= 8 << 20);
                    let mut held: Vec<_> = held.into_iter().map(Some).collect();
                    let order = (0..step).flat_map(|first| (first..count).step_by(step));
                    free(&ALLOC, order.map(|index| held[index].take().expect("each once")));
                    let left = SOURCE.counts().bytes;
                    // The owner's current slab, and a few that became full last.
                    let most = slab + (256 << 10);
                    assert!(left <= most, "{left} bytes are held, of blocks of {size} B");
                    assert!(ALLOC.statistics().thread_bytes <= most);
                },
                || (),
            );
            nothing_is_held(&ALLOC, &SOURCE);
        }
    }
}

#[test]
fn what_others_free_leaves_after_the_owner_ended() {
    slabs!(ALLOC over SOURCE: Slabs, &SOURCE);
    for stay in [0, 1, 20] {
        let mut held = on_a_thread(|| blocks(&ALLOC, 20_000, 1000));
        assert!(SOURCE.counts().bytes >= 20_000_000);
        let every = 1000;
        let stays: Vec<_> = (0..stay).rev().map(|index| held.swap_remove(index * every)).collect();
        free(&ALLOC, held);
        let statistics = ALLOC.statistics();
        assert_eq!(statistics.parked_blocks, stay);
        assert_eq!(statistics.parked_bytes, SOURCE.counts().bytes);
        assert!(statistics.parked_bytes <= stay * (64 << 10), "{} bytes", statistics.parked_bytes);
        free(&ALLOC, stays);
        nothing_is_held(&ALLOC, &SOURCE);
    }
}

/// A parked heap holds the slabs in which its blocks lie, and no other.
#[test]
fn a_parked_heap_with_blocks_keeps_no_empty_slab() {
    slabs!(ALLOC over SOURCE: Slabs, &SOURCE);
    let stay = on_a_thread(|| {
        let mut held = blocks(&ALLOC, 2_000, 1000);
        let stay = held.split_off(1_999);
        free(&ALLOC, held);
        stay
    });
    assert_eq!(ALLOC.statistics().parked_blocks, 1);
    assert_eq!(SOURCE.counts().bytes, 64 << 10);
    free(&ALLOC, stay);
    nothing_is_held(&ALLOC, &SOURCE);
}

/// What others free of slabs that were let go of serves their heap again, before it takes new ones.
#[test]
fn the_owner_uses_what_others_freed() {
    slabs!(ALLOC over SOURCE: Slabs, &SOURCE);
    let stay = while_the_owner_sleeps(
        &ALLOC,
        (20_000, 250),
        |held| {
            // One of two of each slab.
            let (stay, go): (Vec<_>, Vec<_>) = held.into_iter().enumerate().partition(|(at, _)| at % 2 == 0);
            free(&ALLOC, go.into_iter().map(|(_, held)| held));
            stay
        },
        || {
            let before = SOURCE.counts().bytes;
            let mut ledger = Ledger::new(&ALLOC);
            for _ in 0..9_000 {
                ledger.allocate(layout(250, 8)).expect("memory");
            }
            let after = SOURCE.counts().bytes;
            assert!(after <= before, "{before} bytes became {after}");
            ledger.free_all();
        },
    );
    free(&ALLOC, stay.into_iter().map(|(_, held)| held));
    nothing_is_held(&ALLOC, &SOURCE);
}

/// Who frees a slab's last block gives it back, whether blocks of it were freed by its owner
/// before, or by a thread that adopted the heap.
#[test]
fn owners_and_others_take_turns() {
    slabs!(ALLOC over SOURCE: Slabs, &SOURCE);
    for owned in [1, 10, 200, 3_000] {
        let (sender, receiver) = mpsc::channel();
        on_a_thread(|| {
            let mut held = blocks(&ALLOC, 4_000, 500);
            free(&ALLOC, held.drain(..owned));
            sender.send(held).unwrap();
        });
        let mut held = receiver.recv().unwrap();
        on_a_thread(|| {
            // It has the other thread's heap now.
            free(&ALLOC, blocks(&ALLOC, 1, 500));
            assert_eq!(ALLOC.statistics().parked_heaps, 0);
            free(&ALLOC, held.drain(..500));
        });
        assert_eq!(ALLOC.statistics().thread_blocks, 4_000 - owned - 500);
        free(&ALLOC, held);
        nothing_is_held(&ALLOC, &SOURCE);
    }
}

/// Slabs that share a slice, each a block of the source: freed in turns, so that a batch for the
/// heap holds blocks of several when the heap lets go of one of them.
#[test]
fn slabs_of_one_slice_are_told_apart() {
    slabs!(PAGES over SOURCE: SlabAllocator<ArenaSource<&'static Counting, U4096>, U4096>, ArenaSource::new_in(&SOURCE));
    const OF_A_SLAB: usize = 12;
    let (to_other, freed) = (mpsc::channel::<Vec<Held>>(), mpsc::channel());
    thread::scope(|scope| {
        let (sender, receiver) = to_other;
        let (done, is_done) = freed;
        let other = scope.spawn(move || {
            // It has a heap, so that it keeps blocks back.
            let mut ledger = Ledger::new(&PAGES);
            ledger.allocate(layout(100, 8)).expect("memory");
            for held in receiver {
                held.iter().for_each(|held| ledger.free_as(held, held.layout().size()));
                done.send(()).unwrap();
            }
            ledger.free_all();
        });
        let owner = scope.spawn(move || {
            let mut ledger = Ledger::new(&PAGES);
            for _ in 0..200 {
                let mut first = blocks(&PAGES, 3 * OF_A_SLAB, 256);
                let stay = first.split_off(first.len() / 2);
                // One of each slab in turn, in one batch that is not sent yet.
                let (even, odd): (Vec<_>, Vec<_>) =
                    first.into_iter().enumerate().partition(|(at, _)| at % 2 == 0);
                sender.send(even.into_iter().chain(odd).map(|(_, held)| held).collect()).unwrap();
                is_done.recv().unwrap();
                // More than the heap keeps of what is full.
                let more = blocks(&PAGES, 8 * OF_A_SLAB, 256);
                sender.send(more).unwrap();
                is_done.recv().unwrap();
                stay.into_iter().for_each(|held| ledger.put(held));
                ledger.verify();
                if ledger.len() > 1000 {
                    ledger.free_all();
                }
            }
            ledger.free_all();
        });
        // A scope does not wait for the destructors of keys, joining does.
        owner.join().unwrap();
        other.join().unwrap();
    });
    assert_eq!(PAGES.statistics().thread_blocks, 0);
    nothing_is_held(&PAGES, &SOURCE);
}

/// Threads allocate, pass half of it on to one another, free, and end, over each kind of slab.
#[test]
fn blocks_change_hands_between_threads_that_come_and_go() {
    slabs!(MAPS over MAPS_SOURCE: Slabs, &MAPS_SOURCE);
    slabs!(PAGES over PAGES_SOURCE: SlabAllocator<&'static Counting, U4096>, &PAGES_SOURCE);
    slabs!(BLOCKS over BLOCKS_SOURCE: SlabAllocator<ArenaSource<&'static Counting, U65536>>, ArenaSource::new_in(&BLOCKS_SOURCE));
    slabs!(SHORT over SHORT_SOURCE: SlabAllocator<ArenaSource<&'static Counting, U4096>, U4096>, ArenaSource::new_in(&SHORT_SOURCE));
    change_hands(&SHORT);
    nothing_is_held(&SHORT, &SHORT_SOURCE);
    change_hands(&MAPS);
    nothing_is_held(&MAPS, &MAPS_SOURCE);
    change_hands(&PAGES);
    nothing_is_held(&PAGES, &PAGES_SOURCE);
    change_hands(&BLOCKS);
    nothing_is_held(&BLOCKS, &BLOCKS_SOURCE);
}

fn change_hands<D: Declaration>(allocator: &'static SwitchableAllocator<D>) {
    const THREADS: usize = 4;
    let hands: [std::sync::Mutex<Vec<Held>>; THREADS] = Default::default();
    for round in 0..8_u64 {
        thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|number| {
                    let hands = &hands;
                    scope.spawn(move || {
                        let mut random = fastrand::Rng::with_seed(round * 100 + number as u64);
                        let mut ledger = Ledger::new(allocator);
                        for turn in 0..40 {
                            for _ in 0..random.usize(..400) {
                                let size = 1 + random.usize(..4000) / (1 + random.usize(..40));
                                ledger.allocate(layout(size, 8)).expect("memory");
                            }
                            let mut all = ledger.take_all();
                            random.shuffle(&mut all);
                            let passed = all.split_off(all.len() / 2);
                            hands[random.usize(..THREADS)].lock().unwrap().extend(passed);
                            all.into_iter().for_each(|held| ledger.put(held));
                            let mut taken = std::mem::take(&mut *hands[number].lock().unwrap());
                            random.shuffle(&mut taken);
                            let stay = taken.split_off(taken.len() * 3 / 4);
                            taken.iter().for_each(|held| ledger.free_as(held, held.layout().size()));
                            hands[number].lock().unwrap().extend(stay);
                            if turn % 4 == 3 {
                                ledger.free_all();
                            }
                            match random.usize(..30) {
                                0 => drop(allocator.trim()),
                                1 => drop(allocator.statistics()),
                                _ => {}
                            }
                        }
                        hands[number].lock().unwrap().extend(ledger.take_all());
                    })
                })
                .collect();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        });
    }
    let left: Vec<Held> = hands.into_iter().flat_map(|hand| hand.into_inner().unwrap()).collect();
    assert_eq!(allocator.statistics().thread_blocks, left.len());
    assert_eq!(allocator.statistics().thread.live_blocks(), left.len() as u64);
    free(allocator, left);
}
