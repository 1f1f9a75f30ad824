//! Pages without a block in slabs that have others: they leave while the slabs' thread sleeps, and
//! come back with their blocks when the heap needs them.

use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Barrier, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::slab::{nothing_is_held, on_a_thread, slabs};
use crate::support::layout;
use crate::support::ledger::{Held, Ledger, Taking};
use crate::support::model::{self, Profile};
use context_allocator::size::U1048576;
use context_allocator::source::{Purge, RunSource};
use context_allocator::switch::Declaration;
use context_allocator::{ArenaSource, MmapSource, SlabAllocator, SwitchableAllocator};

const PAGE: usize = 4096;
const MIB: usize = 1 << 20;

/// Blocks of sizes that lie in slabs of both lengths.
const SIZES: [usize; 4] = [100, 700, 2048, 9000];

fn blocks<D: Declaration>(allocator: &SwitchableAllocator<D>, size: usize, bytes: usize) -> Vec<Held> {
    let mut ledger = Ledger::new(allocator);
    for _ in 0..bytes / size {
        ledger.allocate(layout(size, 8)).expect("memory");
    }
    ledger.take_all()
}

/// Frees all but one of twenty, in another order than that of their addresses; those that stay.
fn free_most<D: Declaration>(allocator: &SwitchableAllocator<D>, held: Vec<Held>) -> Vec<Held> {
    let mut random = fastrand::Rng::with_seed(held.len() as u64);
    let (stay, mut go): (Vec<_>, Vec<_>) = held.into_iter().partition(|_| random.u32(..20) == 0);
    random.shuffle(&mut go);
    free(allocator, go);
    stay
}

fn free<D: Declaration>(allocator: &SwitchableAllocator<D>, held: Vec<Held>) {
    let ledger = Ledger::new(allocator);
    held.iter().for_each(|held| ledger.free_as(held, held.layout().size()));
}

/// How many bytes of the pages around blocks have memory.
fn resident_bytes(held: &[Held]) -> usize {
    // Slabs of 64 KiB lie at multiples of that, and the longer ones consist of such.
    let mut slices: Vec<usize> = held.iter().map(|held| held.address() & !0xffff).collect();
    slices.sort_unstable();
    slices.dedup();
    let mut pages = [0_u8; (64 << 10) / PAGE];
    let mut resident = 0;
    for slice in slices {
        let slice = std::ptr::without_provenance_mut::<c_void>(slice);
        // SAFETY: The array has room for a byte for each page; no memory of the range is touched.
        let outcome = unsafe { libc::mincore(slice, 64 << 10, pages.as_mut_ptr()) };
        assert_eq!(outcome, 0);
        resident += pages.iter().filter(|&page| page & 1 != 0).count() * PAGE;
    }
    resident
}

/// Waits until at most so many bytes are resident.
#[track_caller]
fn wait_for(most: usize, resident: impl Fn() -> usize) {
    let start = Instant::now();
    while resident() > most {
        assert!(start.elapsed() < Duration::from_secs(20), "{} bytes are resident, not {most}", resident());
        thread::sleep(Duration::from_millis(50));
    }
}

/// Runs `f` with the blocks that a sleeping thread kept of what it allocated and freed, or another
/// thread freed for it. Then the sleeping one goes on with `then`, and ends.
fn while_the_owner_sleeps<D: Declaration>(
    allocator: &'static SwitchableAllocator<D>,
    (size, bytes): (usize, usize),
    owner_frees: bool,
    f: impl FnOnce(Vec<Held>) -> Vec<Held>,
    then: impl FnOnce() + Send,
) -> Vec<Held> {
    let (sender, receiver) = mpsc::channel();
    let goes_on = Barrier::new(2);
    thread::scope(|scope| {
        let goes_on = &goes_on;
        let owner = scope.spawn(move || {
            let held = blocks(allocator, size, bytes);
            sender.send(if owner_frees { free_most(allocator, held) } else { held }).unwrap();
            goes_on.wait();
            then();
        });
        let held = receiver.recv().unwrap();
        let stay = f(if owner_frees { held } else { free_most(allocator, held) });
        goes_on.wait();
        owner.join().unwrap();
        stay
    })
}

/// `trim` sweeps at once what its own thread, a sleeping one, or both freed; nobody's contents
/// change, and the heap takes all of it again before it obtains more.
#[test]
fn pages_without_a_block_leave_and_come_back() {
    slabs!(ALLOC over SOURCE: SlabAllocator<&'static crate::slab::Counting>, &SOURCE);
    const BYTES: usize = 16 * MIB;
    for owner_frees in [true, false] {
        for size in SIZES {
            let stay = while_the_owner_sleeps(
                &ALLOC,
                (size, BYTES),
                owner_frees,
                |stay| {
                    let before = resident_bytes(&stay);
                    let trimmed = ALLOC.trim();
                    let after = resident_bytes(&stay);
                    assert!(trimmed.resident_bytes >= before - after, "{trimmed:?}, {before} to {after}");
                    // Of blocks of 100 B, one of twenty lives in nearly each page.
                    let (most, least) =
                        if size == 100 { (BYTES, BYTES / 20) } else { (BYTES * 2 / 5, BYTES / 3) };
                    assert!(trimmed.resident_bytes >= least, "{trimmed:?}, of blocks of {size} B");
                    assert!(after <= most, "{after} bytes are resident, of blocks of {size} B");
                    // What was swept once has no more to give.
                    assert!(ALLOC.trim().resident_bytes <= MIB);
                    stay.iter().for_each(Held::verify);
                    stay
                },
                || {
                    let held = SOURCE.counts().bytes;
                    free(&ALLOC, blocks(&ALLOC, size, BYTES * 3 / 4));
                    let now = SOURCE.counts().bytes;
                    assert!(now <= held + 2 * MIB, "{held} bytes were held, {now} are, of {size} B");
                },
            );
            stay.iter().for_each(Held::verify);
            free(&ALLOC, stay);
            nothing_is_held(&ALLOC, &SOURCE);
        }
    }
}

/// Threads allocate, resize and free, here and there, while another sweeps all the time.
macro_rules! swept_meanwhile {
    ($name:ident: $slabs:ty, $new:expr) => {
        #[test]
        fn $name() {
            slabs!(ALLOC over SOURCE: $slabs, $new);
            let ended = AtomicBool::new(false);
            let mut given_up = 0;
            thread::scope(|scope| {
                let sweep = scope.spawn(|| {
                    let mut given_up = 0;
                    while !ended.load(Relaxed) {
                        given_up += ALLOC.trim().resident_bytes;
                    }
                    given_up
                });
                let threads: Vec<_> = (1..=3)
                    .map(|seed| {
                        scope.spawn(move || {
                            for round in 0..3 {
                                model::run(&ALLOC, Profile::MIXED.operations(30_000).seed(seed * 10 + round));
                                let stay = free_most(&ALLOC, blocks(&ALLOC, 600, 4 * MIB));
                                let again = blocks(&ALLOC, 600, 2 * MIB);
                                free(&ALLOC, stay);
                                free(&ALLOC, again);
                            }
                        })
                    })
                    .collect();
                threads.into_iter().for_each(|thread| thread.join().unwrap());
                ended.store(true, Relaxed);
                given_up = sweep.join().unwrap();
            });
            assert!(given_up >= MIB, "{given_up} bytes were given up");
            nothing_is_held(&ALLOC, &SOURCE);
        }
    };
}

swept_meanwhile!(over_memory_maps: SlabAllocator<&'static crate::slab::Counting>, &SOURCE);
swept_meanwhile!(of_a_mebibyte: SlabAllocator<&'static crate::slab::Counting, U1048576>, &SOURCE);
swept_meanwhile!(several_in_a_block: SlabAllocator<ArenaSource<&'static crate::slab::Counting, U1048576>>, ArenaSource::new_in(&SOURCE));

static POOL: RunSource = RunSource::for_static(&POOL, MmapSource::new(), Purge::new());

/// A declaration whose thread tier has a pool with a thread of its own.
macro_rules! with_a_pool {
    ($allocator:ident) => {
        context_allocator::switchable_allocator!(static $allocator from POOL: RunSource);
    };
}

/// Nothing is called after the last free: neither by the thread that sleeps, nor by any other.
#[test]
fn pages_leave_without_a_call() {
    with_a_pool!(ALLOC);
    const BYTES: usize = 32 * MIB;
    for owner_frees in [true, false] {
        let stay = while_the_owner_sleeps(
            &ALLOC,
            (700, BYTES),
            owner_frees,
            |stay| {
                wait_for(BYTES * 2 / 5, || resident_bytes(&stay));
                stay
            },
            || (),
        );
        stay.iter().for_each(Held::verify);
        free(&ALLOC, stay);
        // Those of a thread that ended, whose heap let go of its slabs then.
        let held = on_a_thread(|| blocks(&ALLOC, 700, BYTES));
        let stay = free_most(&ALLOC, held);
        wait_for(BYTES * 2 / 5, || resident_bytes(&stay));
        free(&ALLOC, stay);
        // Those that a thread freed itself just before it ended.
        let stay = on_a_thread(|| free_most(&ALLOC, blocks(&ALLOC, 700, BYTES)));
        wait_for(BYTES * 2 / 5, || resident_bytes(&stay));
        free(&ALLOC, stay);
        // Most blocks are freed when a sweep has found nothing, and none of them empties its slab.
        let (sender, receiver) = mpsc::channel();
        let (go_on, end) = (Barrier::new(2), Barrier::new(2));
        thread::scope(|scope| {
            scope.spawn(|| {
                let every = |held: Vec<Held>, nth: usize| -> (Vec<Held>, Vec<Held>) {
                    let (these, others): (Vec<_>, Vec<_>) =
                        held.into_iter().enumerate().partition(|(index, _)| index % nth == 0);
                    let second = |held: Vec<(usize, Held)>| held.into_iter().map(|(_, held)| held).collect();
                    (second(these), second(others))
                };
                // No page is free, and all slabs wait.
                let (few, held) = every(blocks(&ALLOC, 64, BYTES), 5);
                free(&ALLOC, few);
                go_on.wait();
                let (stay, held) = every(held, 2000);
                free(&ALLOC, held);
                sender.send(stay).unwrap();
                end.wait();
            });
            thread::sleep(Duration::from_secs(2));
            go_on.wait();
            let stay = receiver.recv().unwrap();
            wait_for(4 * MIB, || resident_bytes(&stay));
            free(&ALLOC, stay);
            end.wait();
        });
    }
}

/// The empty slabs that a sleeping thread keeps for itself lose their pages too.
#[test]
fn what_a_sleeping_thread_keeps_leaves() {
    with_a_pool!(ALLOC);
    let (sender, receiver) = mpsc::channel();
    let end = Barrier::new(2);
    thread::scope(|scope| {
        scope.spawn(|| {
            let held = blocks(&ALLOC, 2048, MIB);
            let slabs: Vec<usize> = held.iter().map(|held| held.address() & !0xffff).collect();
            free(&ALLOC, held);
            sender.send(slabs).unwrap();
            end.wait();
            // It uses them again.
            free(&ALLOC, blocks(&ALLOC, 1000, MIB));
        });
        let mut slabs = receiver.recv().unwrap();
        slabs.sort_unstable();
        slabs.dedup();
        let resident = || {
            let mut pages = [0_u8; (64 << 10) / PAGE];
            let mut resident = 0;
            for &slab in &slabs {
                let slab = std::ptr::without_provenance_mut::<c_void>(slab);
                // SAFETY: As in `resident_bytes`. What is mapped no more is not resident.
                let outcome = unsafe { libc::mincore(slab, 64 << 10, pages.as_mut_ptr()) };
                if outcome == 0 {
                    resident += pages.iter().filter(|&page| page & 1 != 0).count() * PAGE;
                }
            }
            resident
        };
        // A page of each slab has its header; the class's current slab stays as it is, and the pool
        // keeps 512 KiB.
        wait_for((64 << 10) + 512 * 1024, resident);
        end.wait();
    });
}
