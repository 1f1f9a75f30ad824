//! A pool of slices: what it gives, what it keeps index of, and that memory leaves when nobody
//! wants it.

use std::sync::atomic::Ordering::Relaxed;
use std::thread::sleep;
use std::time::Duration;

use crate::support::forking::in_a_child;
use crate::support::pools::{Checked, Run, alone, purgers, resident, until, use_slices};
use crate::support::{conformance, layout};
use context_allocator::error::SourceError;
use context_allocator::size::BlockSize;
use context_allocator::size::{U65536, U131072, U524288, U4194304};
use context_allocator::source::SLICE;
use context_allocator::source::{Purge, RunSource};
use context_allocator::{MemorySource, MmapSource};

const MIB: usize = 1 << 20;

#[test]
fn pools_conform() {
    conformance::source(|| RunSource::<_, U4194304>::new_in(MmapSource::new()), MIB / 2);
    conformance::source(|| RunSource::<_, U65536>::new_in(MmapSource::new()), SLICE);
    conformance::source(|| RunSource::<_, U131072>::new_in(MmapSource::new()), 3 * SLICE);
    let at_once = || RunSource::<_, U524288>::with_purge(MmapSource::new(), Purge::at_once());
    conformance::source(at_once, 8 * SLICE);
    conformance::forwarded_source(|| RunSource::new(MmapSource::new()), MIB / 4);
}

/// Random requests, with a model of which slices are held; everything else that can be asked of a
/// pool in between.
fn random_runs<C: BlockSize>(purge: Purge, seed: u64, rounds: usize) {
    let pool = RunSource::<_, C>::with_purge(Checked::new(), purge);
    let slices = C::BYTES / SLICE;
    let mut random = fastrand::Rng::with_seed(seed);
    let mut held: Vec<Run<'_, Checked, C>> = Vec::new();
    let mut told_zero = 0;
    for round in 0..rounds {
        let most = [60, 5, 200][round * 3 / rounds];
        match random.usize(0..100) {
            0 => {
                pool.purge();
                assert_eq!(pool.usage().resident, 0);
            }
            1 => {
                let before = pool.usage();
                let bytes = pool.reclaim(&mut |range| assert!(range.len() >= C::BYTES));
                assert_eq!(before.obtained - pool.usage().obtained, bytes);
            }
            2..20 if !held.is_empty() => {
                let index = random.usize(0..held.len());
                let size = random.usize(1..=C::BYTES + C::BYTES / 2);
                let align = held[index].layout.align();
                // Refused where what is behind it is held.
                let _ = held[index].resize(layout(size, align));
            }
            20..50 if !held.is_empty() => drop(held.swap_remove(random.usize(0..held.len()))),
            _ if held.len() > most => drop(held.swap_remove(random.usize(0..held.len()))),
            _ => {
                let (size, align) = match random.usize(0..4) {
                    0 => (SLICE, SLICE),
                    1 if slices >= 4 => (4 * SLICE, 4 * SLICE),
                    2 => (random.usize(1..=C::BYTES), 1),
                    _ => {
                        (random.usize(1..=2 * C::BYTES), 1 << random.usize(0..=C::BYTES.ilog2() as usize + 1))
                    }
                };
                let before = pool.usage().resident;
                let run = Run::obtain(&pool, layout(size, align), (round as u64) << 20).unwrap();
                told_zero += usize::from(before == pool.usage().resident);
                held.push(run);
            }
        }
        if round % 64 == 0 {
            let mut ranges: Vec<(usize, usize)> =
                held.iter().map(|run| (run.start(), run.start() + run.region.len())).collect();
            ranges.sort_unstable();
            assert!(ranges.is_sorted_by(|a, b| a.1 <= b.0), "two regions overlap");
            let usage = pool.usage();
            // Those that fit in a chunk may be fronts of longer maps.
            assert!(usage.obtained - usage.unused <= held_in_chunks(&held, slices));
            assert!(usage.resident <= usage.unused && usage.obtained.is_multiple_of(SLICE));
        }
    }
    assert!(told_zero > 0);
    held.clear();
    let usage = pool.usage();
    assert_eq!(usage.obtained, usage.unused);
    let inner = pool.reclaim(&mut |_| ());
    assert_eq!((inner, pool.usage().obtained), (usage.obtained, 0));
}

/// Bytes of regions that lie in chunks.
fn held_in_chunks<C: BlockSize>(held: &[Run<'_, Checked, C>], slices: usize) -> usize {
    let in_chunks = |run: &&Run<'_, Checked, C>| run.slices() <= slices && run.layout.align() <= C::BYTES;
    held.iter().filter(in_chunks).map(|run| run.region.len()).sum()
}

#[test]
fn random_runs_agree_with_a_model() {
    for seed in 0..2 {
        random_runs::<U4194304>(Purge::never(), seed, 2_000);
        random_runs::<U524288>(
            Purge::new().by_traffic().delay(Duration::from_millis(2)).keep(SLICE),
            seed,
            6_000,
        );
        random_runs::<U524288>(Purge::new().most(20 * SLICE).keep(0), seed, 6_000);
        random_runs::<U131072>(Purge::at_once().keep(3 * SLICE), seed, 3_000);
        random_runs::<U65536>(Purge::at_once(), seed, 2_000);
    }
}

#[test]
fn dropping_a_pool_gives_everything_back() {
    let source = Checked::new();
    for slices in [1, 5, 64, 65] {
        let pool = RunSource::new(&source);
        let runs: Vec<_> =
            (0..40).map(|run| Run::obtain(&pool, layout(slices * SLICE, 8), run).unwrap()).collect();
        assert!(source.held() >= 40 * slices * SLICE);
        drop(runs);
        drop(pool);
        assert_eq!(source.held(), 0);
    }
    let requests = source.requests.load(Relaxed);
    drop(RunSource::new(&source));
    assert_eq!(source.requests.load(Relaxed), requests);
}

#[test]
fn slices_with_memory_come_first_and_lie_low() {
    let pool = RunSource::<_>::with_purge(MmapSource::new(), Purge::never());
    let first = Run::obtain(&pool, layout(8 * SLICE, 8), 1).unwrap();
    let start = first.start();
    let one = layout(SLICE, SLICE);
    let clean = Run::obtain(&pool, one, 2).unwrap();
    assert_eq!(clean.start(), start + 8 * SLICE);
    drop(first);
    // Of those that were used, though others follow upon the one that is held.
    let four = Run::obtain(&pool, layout(4 * SLICE, 4 * SLICE), 3).unwrap();
    assert_eq!(four.start(), start);
    // A run of just that length is better than a part of a longer one.
    drop(Run::obtain(&pool, layout(3 * SLICE, 8), 4).unwrap());
    let next = Run::obtain(&pool, one, 5).unwrap();
    assert_eq!(next.start(), start + 4 * SLICE);
    drop(clean);
    let again = Run::obtain(&pool, layout(2 * SLICE, 8), 6).unwrap();
    assert_eq!(again.start(), start + 5 * SLICE);
}

/// What is high becomes free when less is used, whatever was taken first.
#[test]
fn chunks_become_wholly_free() {
    let pool = RunSource::<_>::with_purge(Checked::new(), Purge::never());
    let mut random = fastrand::Rng::with_seed(3);
    let mut held: Vec<_> =
        (0..20 * 64).map(|run| Run::obtain(&pool, layout(SLICE, SLICE), run).unwrap()).collect();
    assert_eq!(pool.usage().obtained, 20 * 4 * MIB);
    for round in 0..500 {
        (0..50).for_each(|_| drop(held.swap_remove(random.usize(0..held.len()))));
        if held.len() < 300 {
            held.extend((0..50).map(|_| Run::obtain(&pool, layout(SLICE, SLICE), round).unwrap()));
        }
    }
    assert!(pool.reclaim(&mut |_| ()) >= 8 * 4 * MIB, "{:?}", pool.usage());
}

#[test]
fn regions_grow_and_shrink_in_place() {
    let pool = RunSource::<_>::with_purge(Checked::new(), Purge::never());
    let mut run = Run::obtain(&pool, layout(SLICE, 8), 10).unwrap();
    let start = run.start();
    for slices in [2, 5, 64, 33, 1, 64] {
        run.resize(layout(slices * SLICE - 7, 8)).unwrap();
        assert_eq!((run.start(), run.region.len()), (start, slices * SLICE));
        assert_eq!(pool.usage().unused, (64 - slices) * SLICE);
    }
    run.resize(layout(3 * SLICE, 8)).unwrap();
    let behind = Run::obtain(&pool, layout(SLICE, 8), 20).unwrap();
    assert_eq!(run.resize(layout(4 * SLICE, 8)), Err(SourceError::Unsupported));
    drop(behind);
    run.resize(layout(4 * SLICE, 8)).unwrap();

    // Beyond a chunk its memory moves; what it left is free and has none.
    let resident = pool.usage().resident;
    pool_source(&pool).refuse_from.store(0, Relaxed);
    assert_eq!(run.resize(layout(65 * SLICE, 8)), Err(SourceError::Exhausted));
    pool_source(&pool).refuse_from.store(usize::MAX, Relaxed);
    assert_eq!(run.region.len(), 4 * SLICE);
    run.resize(layout(65 * SLICE, 8)).unwrap();
    assert_ne!(run.start(), start);
    assert_eq!((pool.usage().unused, pool.usage().resident), (64 * SLICE, resident));
    run.resize(layout(99 * SLICE, 8)).unwrap();
    drop(run);

    let mut huge = Run::obtain(&pool, layout(5 * MIB, 8), 30).unwrap();
    for mib in [6, 64, 200, 5] {
        huge.resize(layout(mib * MIB, 8)).unwrap();
    }
    assert_eq!(huge.resize(layout(4 * MIB, 8)), Err(SourceError::Unsupported));
    let requests = &pool_source(&pool).refuse_from;
    requests.store(0, Relaxed);
    assert_eq!(huge.resize(layout(400 * MIB, 8)), Err(SourceError::Exhausted));
    assert_eq!(huge.region.len(), 5 * MIB);
}

/// Regions longer than a chunk: `purge` keeps what it says of those that came back.
fn pool_of_maps(most: usize) -> RunSource<Checked, U524288> {
    let purge = Purge::new().by_traffic().delay(Duration::from_secs(1000)).keep(0).most(most);
    RunSource::with_purge(Checked::new(), purge)
}

#[test]
fn a_map_that_came_back_serves_shorter_requests_that_grow_where_they_are() {
    let pool = pool_of_maps(64 * MIB);
    let whole = Run::obtain(&pool, layout(16 * MIB, 8), 1).unwrap();
    let start = whole.start();
    drop(whole);
    let usage = pool.usage();
    assert_eq!((usage.obtained, usage.unused, usage.resident), (16 * MIB, 16 * MIB, 16 * MIB));
    let requests = pool.source().requests.load(Relaxed);
    for _ in 0..3 {
        let mut front = Run::obtain(&pool, layout(5 * MIB, 8), 2).unwrap();
        assert_eq!((front.start(), pool.usage().unused), (start, 11 * MIB));
        for mib in [6, 9, 16, 7, 1, 16] {
            front.resize(layout(mib * MIB, 8)).unwrap();
            assert_eq!((front.start(), front.region.len()), (start, mib * MIB));
            assert_eq!(pool.usage().resident, (16 - mib) * MIB);
        }
        // Shorter ones would be taken for runs.
        assert_eq!(front.resize(layout(4 * SLICE, 8)), Err(SourceError::Unsupported));
    }
    assert_eq!(pool.source().requests.load(Relaxed), requests);

    // Beyond its end it moves as a whole, and what is behind its old end may not be zero.
    let mut front = Run::obtain(&pool, layout(5 * MIB, 8), 3).unwrap();
    front.resize(layout(40 * MIB, 8)).unwrap();
    assert_eq!((pool.usage().obtained, pool.source().held()), (0, 40 * MIB));
    drop(front);
    assert_eq!(pool.reclaim(&mut |range| assert_eq!(range.len(), 40 * MIB)), 40 * MIB);
    assert_eq!((pool.usage().obtained, pool.source().held()), (0, 0));
}

#[test]
fn what_grows_moves_to_a_map_that_came_back() {
    let pool = pool_of_maps(64 * MIB);
    drop(Run::obtain(&pool, layout(16 * MIB, 8), 1).unwrap());
    let mut grown = Run::obtain(&pool, layout(SLICE, 8), 2).unwrap();
    let requests = pool.source().requests.load(Relaxed);
    for slices in [2, 4, 5, 8, 9, 64, 65, 256] {
        grown.resize(layout(slices * SLICE, 8)).unwrap();
    }
    // From 5 slices on it is the front of the map.
    grown.resize(layout(5 * SLICE, 8)).unwrap();
    assert_eq!(pool.usage().obtained - pool.usage().unused, 0);
    drop(grown);
    assert_eq!(pool.source().requests.load(Relaxed), requests);
    assert_eq!(pool.usage().unused, 16 * MIB + U524288::BYTES);
}

#[test]
fn no_more_of_maps_waits_than_may() {
    let pool = pool_of_maps(20 * MIB);
    let maps: Vec<_> = (0..3).map(|map| Run::obtain(&pool, layout(8 * MIB, 8), map).unwrap()).collect();
    drop(maps);
    // The third went back at once.
    assert_eq!((pool.usage().resident, pool.source().held()), (16 * MIB, 16 * MIB));
    // What is idle behind the front of a lent map waits, too.
    let front = Run::obtain(&pool, layout(MIB, 8), 4).unwrap();
    let other = Run::obtain(&pool, layout(8 * MIB, 8), 5).unwrap();
    let more = Run::obtain(&pool, layout(14 * MIB, 8), 6).unwrap();
    drop(more);
    assert_eq!(pool.source().held(), 16 * MIB);
    drop((front, other));
    assert_eq!(pool.purge(), 16 * MIB);
}

#[test]
fn the_idle_rest_of_a_map_is_purged() {
    let pool = pool_of_maps(64 * MIB);
    drop(Run::obtain(&pool, layout(16 * MIB, 8), 1).unwrap());
    let mut front = Run::obtain(&pool, layout(5 * MIB, 8), 2).unwrap();
    pool.source().refuse_decommit.store(true, Relaxed);
    assert_eq!(pool.purge(), 0);
    assert_eq!(pool.usage().resident, 11 * MIB);
    pool.source().refuse_decommit.store(false, Relaxed);
    assert_eq!(pool.purge(), 11 * MIB);
    assert_eq!((pool.usage().unused, pool.usage().resident), (11 * MIB, 0));
    // What it grows into is known to be zero, which `Run` checks.
    front.resize(layout(7 * MIB, 8)).unwrap();
    drop(front);
    assert_eq!(pool.purge(), 16 * MIB);
    assert_eq!(pool.source().held(), 16 * MIB);
    let region = pool.obtain_between(layout(9 * MIB, 8), 9 * MIB).unwrap();
    assert!(region.zeroed);
    // SAFETY: Just obtained with this layout, and not used again.
    unsafe { pool.release(region.region, layout(9 * MIB, 8)) };
}

#[test]
fn what_the_source_below_lacks_is_found_among_maps() {
    let pool = pool_of_maps(64 * MIB);
    drop(Run::obtain(&pool, layout(16 * MIB, 8), 1).unwrap());
    let refuse = |more| {
        let next = pool.source().requests.load(Relaxed) + more;
        pool.source().refuse_from.store(next, Relaxed);
    };
    refuse(0);
    assert!(Run::obtain(&pool, layout(17 * MIB, 8), 2).is_err());
    assert_eq!(pool.source().held(), 0);
    pool.source().refuse_from.store(usize::MAX, Relaxed);
    drop(Run::obtain(&pool, layout(16 * MIB, 8), 3).unwrap());
    refuse(0);
    assert!(Run::obtain(&pool, layout(SLICE, 8), 4).is_err());
    assert_eq!(pool.source().held(), 0);
}

#[test]
fn maps_leave_without_traffic() {
    static MAPS: RunSource = RunSource::for_static(
        &MAPS,
        MmapSource::new(),
        Purge::new().delay(Duration::from_millis(100)).keep(4 * SLICE),
    );
    let _alone = alone();
    let start = use_slices(&MAPS, 256);
    assert_eq!(resident(start, 16 * MIB), 16 * MIB);
    let region = MAPS.obtain(layout(5 * MIB, 8)).unwrap();
    assert_eq!(region.cast::<u8>().addr().get(), start);
    // The rest of it, while its front is held.
    let took = until("purging", || resident(start, 16 * MIB) == 5 * MIB);
    assert!(took < Duration::from_millis(400), "{took:?}");
    // SAFETY: Just obtained with this layout, and not used again.
    unsafe { MAPS.release(region, layout(5 * MIB, 8)) };
    until("the map", || MAPS.usage().obtained == 0);
    until("the end of the thread", || purgers() == 0);
}

fn pool_source<C: BlockSize>(pool: &RunSource<Checked, C>) -> &Checked {
    pool.source()
}

#[test]
fn a_source_that_refuses_changes_nothing() {
    let wanted = |run: usize| layout([1, 4, 64, 9][run % 4] * SLICE, 8);
    for refuse_from in 0..12 {
        let pool = RunSource::<_>::with_purge(Checked::new(), Purge::never());
        pool.source().refuse_from.store(refuse_from, Relaxed);
        let mut held = Vec::new();
        let refused = (0..400).find(|&run| match Run::obtain(&pool, wanted(run), 50) {
            Ok(run) => {
                held.push(run);
                false
            }
            Err(error) => {
                assert_eq!(error, SourceError::Exhausted);
                true
            }
        });
        assert!(refused.is_some());
        let bytes: usize = held.iter().map(|run| run.region.len()).sum();
        assert_eq!(pool.usage().obtained - pool.usage().unused, bytes);
        // What it has, it gives.
        if let Some(run) = held.pop() {
            let layout = run.layout;
            drop(run);
            held.push(Run::obtain(&pool, layout, 60).unwrap());
        }
        pool.source().refuse_from.store(usize::MAX, Relaxed);
        held.extend((0..400).map(|run| Run::obtain(&pool, wanted(run), 70).unwrap()));
        drop(held);
        assert_eq!(pool.usage().obtained, pool.usage().unused);
    }
}

#[test]
fn memory_that_cannot_be_given_up_stays_and_is_used_again() {
    let purge = Purge::new().by_traffic().delay(Duration::from_millis(4)).keep(0).most(16 * SLICE);
    let pool = RunSource::<_>::with_purge(Checked::new(), purge);
    pool.source().refuse_decommit.store(true, Relaxed);
    for round in 0..50 {
        let runs: Vec<_> =
            (0..10).map(|run| Run::obtain(&pool, layout(3 * SLICE, 8), run).unwrap()).collect();
        drop(runs);
        if round % 10 == 0 {
            sleep(Duration::from_millis(5));
        }
    }
    assert_eq!(pool.purge(), 0);
    assert_eq!(pool.usage().resident, 30 * SLICE);
    // It is not tried again and again.
    let tried = pool.source().decommits.load(Relaxed);
    drop(Run::obtain(&pool, layout(SLICE, 8), 0).unwrap());
    assert!(pool.source().decommits.load(Relaxed) <= tried + 1);
    pool.source().refuse_decommit.store(false, Relaxed);
    assert_eq!(pool.purge(), 30 * SLICE);
    assert_eq!(pool.usage().resident, 0);
}

#[test]
fn adjacent_slices_leave_in_one_call() {
    let pool = RunSource::<_>::with_purge(Checked::new(), Purge::never());
    let runs: Vec<_> = (0..64).map(|run| Run::obtain(&pool, layout(SLICE, 8), run).unwrap()).collect();
    drop(runs);
    assert_eq!(pool.purge(), 64 * SLICE);
    assert_eq!(pool.source().decommits.load(Relaxed), 1);
    assert_eq!(pool.purge(), 0);
    assert_eq!(pool.source().decommits.load(Relaxed), 1);
}

#[test]
fn never_means_never_and_at_once_at_once() {
    let pool = RunSource::<_>::with_purge(MmapSource::new(), Purge::never());
    let start = use_slices(&pool, 60);
    sleep(Duration::from_millis(50));
    use_slices(&pool, 1);
    assert_eq!(resident(start, 60 * SLICE), 60 * SLICE);
    assert_eq!(pool.purge(), 60 * SLICE);
    assert_eq!(resident(start, 60 * SLICE), 0);

    let pool = RunSource::<_>::with_purge(MmapSource::new(), Purge::at_once());
    let start = use_slices(&pool, 60);
    assert_eq!(resident(start, 60 * SLICE), 0);
    assert_eq!((pool.usage().resident, pool.usage().unused), (0, 64 * SLICE));
}

#[test]
fn no_more_waits_than_may() {
    let purge = Purge::new().by_traffic().delay(Duration::from_secs(1000)).most(40 * SLICE).keep(10 * SLICE);
    let pool = RunSource::<_>::with_purge(Checked::new(), purge);
    for round in 0..200 {
        let runs: Vec<_> =
            (0..2).map(|run| Run::obtain(&pool, layout(40 * SLICE, 8), run).unwrap()).collect();
        drop(runs);
        let resident = pool.usage().resident;
        assert!((30 * SLICE..=40 * SLICE).contains(&resident), "{round} {resident}");
    }
}

#[test]
fn memory_leaves_by_traffic() {
    let purge = Purge::new().by_traffic().delay(Duration::from_millis(40)).keep(2 * SLICE);
    let pool = RunSource::<_>::with_purge(Checked::new(), purge);
    let start = use_slices(&pool, 60);
    sleep(Duration::from_millis(100));
    // Nobody came, and there is no thread.
    assert_eq!(resident(start, 60 * SLICE), 60 * SLICE);
    let took = until("purging by traffic", || {
        drop(Run::obtain(&pool, layout(SLICE, 8), 0).unwrap());
        pool.usage().resident == 2 * SLICE
    });
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(resident(start, 60 * SLICE), 2 * SLICE);
    assert_eq!(purgers(), 0);
    // What was not purged yet is what lies lowest.
    assert_eq!(resident(start, 2 * SLICE), 2 * SLICE);
}

static SLICES: RunSource = RunSource::for_static(
    &SLICES,
    MmapSource::new(),
    Purge::new().delay(Duration::from_millis(200)).keep(4 * SLICE),
);

#[test]
fn memory_leaves_without_traffic_and_the_thread_too() {
    let _alone = alone();
    until("the end of all threads", || purgers() == 0);
    use_slices(&SLICES, 4);
    assert_eq!(purgers(), 0, "a thread for what is to stay");
    for _ in 0..3 {
        let start = use_slices(&SLICES, 64);
        until("a thread", || purgers() == 1);
        sleep(Duration::from_millis(50));
        assert_eq!(resident(start, 64 * SLICE), 64 * SLICE, "it leaves too early");
        let took = until("purging", || resident(start, 64 * SLICE) == 4 * SLICE);
        assert!(took < Duration::from_millis(500), "{took:?}");
        until("the index", || SLICES.usage().resident <= 4 * SLICE);
        until("the end of the thread", || purgers() == 0);
    }
}

#[test]
fn a_pool_that_is_no_static_makes_no_thread() {
    let _alone = alone();
    until("the end of all threads", || purgers() == 0);
    let short = Purge::new().delay(Duration::from_millis(10)).keep(0);
    let pool = RunSource::<_>::with_purge(MmapSource::new(), short);
    use_slices(&pool, 60);
    let pool = RunSource::<_>::for_static(&SLICES, MmapSource::new(), short);
    use_slices(&pool, 60);
    static QUIET: RunSource = RunSource::for_static(&QUIET, MmapSource::new(), Purge::new().by_traffic());
    use_slices(&QUIET, 60);
    assert_eq!(purgers(), 0);
}

#[test]
fn a_child_of_a_fork_purges_too() {
    let _alone = alone();
    let round = |slices| {
        let start = use_slices(&SLICES, slices);
        until("a thread", || purgers() == 1);
        until("purging", || resident(start, slices * SLICE) <= 4 * SLICE);
        until("the end of the thread", || purgers() == 0);
    };
    let start = use_slices(&SLICES, 50);
    until("a thread, which is there when the process forks", || purgers() == 1);
    // SAFETY: This thread calls `after_fork` below, in the child too, and does not use the pool
    // before.
    unsafe { SLICES.before_fork() };
    in_a_child(|| {
        // SAFETY: The thread that forked called `before_fork`.
        unsafe { SLICES.after_fork() };
        assert_eq!(purgers(), 0);
        round(64);
        // SAFETY: Always callable.
        unsafe { libc::_exit(0) };
    });
    // SAFETY: This thread called `before_fork`.
    unsafe { SLICES.after_fork() };
    until("purging", || resident(start, 50 * SLICE) <= 4 * SLICE);
    until("the end of the thread", || purgers() == 0);
    round(20);
}

#[test]
fn a_hundred_threads() {
    let _alone = alone();
    static MANY: RunSource<MmapSource, U524288> = RunSource::for_static(
        &MANY,
        MmapSource::new(),
        Purge::new().delay(Duration::from_millis(4)).keep(4 * SLICE).most(64 * SLICE),
    );
    std::thread::scope(|scope| {
        for thread in 0..100 {
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(thread);
                let mut held: Vec<Run<'_, MmapSource, U524288>> = Vec::new();
                for round in 0..400 {
                    if held.len() > 3 || !held.is_empty() && random.bool() {
                        drop(held.swap_remove(random.usize(0..held.len())));
                    } else {
                        let slices = [1, 4, 1, 9, 2][random.usize(0..5)];
                        let align = if slices == 4 { 4 * SLICE } else { SLICE };
                        let stamp = thread << 40 | round << 20;
                        held.push(Run::obtain(&MANY, layout(slices * SLICE, align), stamp).unwrap());
                    }
                    if round % 100 == 0 {
                        MANY.purge();
                        MANY.reclaim(&mut |_| ());
                    }
                }
            });
        }
    });
    // A thread has its name a moment after it was made.
    until("purging", || MANY.usage().resident <= 4 * SLICE);
    until("the end of the thread", || purgers() == 0);
    let usage = MANY.usage();
    assert_eq!(usage.obtained, usage.unused);
    assert!(usage.resident <= 4 * SLICE, "{usage:?}");
    assert_eq!(MANY.reclaim(&mut |_| ()), usage.obtained);
}

/// What is asked for while everything else is being purged is neither refused nor costs a chunk
/// each time.
#[test]
fn who_asks_during_a_purge_gets_something() {
    let purge = Purge::at_once();
    let pool = RunSource::<_>::with_purge(Checked::new(), purge);
    drop(Run::obtain(&pool, layout(SLICE, 8), 0).unwrap());
    // Two chunks, and no more.
    pool.source().refuse_from.store(pool.source().requests.load(Relaxed), Relaxed);
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let pool = &pool;
            scope.spawn(move || {
                for round in 0..2_000 {
                    // Four threads with at most 16 slices each always fit.
                    let slices = 1 + (round + thread as usize) % 16;
                    // Fragments may be in the way of a long run, but there is always a slice.
                    match Run::obtain(pool, layout(slices * SLICE, 8), thread << 30) {
                        Ok(run) => drop(run),
                        Err(error) => assert!(slices > 1, "{error:?}"),
                    }
                }
            });
        }
    });
    assert_eq!(pool.usage().obtained, 4 * MIB);
    assert_eq!(pool.usage().unused, 4 * MIB);
}

/// A pool may be shared, and go to another thread.
const _: () = {
    const fn shared<T: Send + Sync>() {}
    shared::<RunSource>();
    shared::<RunSource<Checked, U65536>>();
};
