//! `Sharded`: the conformance suite, the model, a source that refuses, and what it promises of
//! locks.

use std::ptr::NonNull;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Condvar, Mutex, mpsc};
use std::thread;

use crate::support::CheckingSource;
use crate::support::conformance;
use crate::support::ledger::{Held, Ledger, Taking, Way};
use crate::support::model::{self, Profile};
use crate::support::{fault, layout};
use context_allocator::alloc::{LocalAllocator, ShardCount, Sharded, SizeClassAllocator};
use context_allocator::error::SourceError;
use context_allocator::lock::{RawLock, SpinFutexLock};
use context_allocator::size::U262144;
use context_allocator::source::{CachingSource, LimitSource, PooledSource};
use context_allocator::{
    AllocError, Allocator, ArenaSource, BitSetAllocator, BumpAllocator, MemorySource, MmapAllocator,
    MmapSource, MultipleBinarySearchTreeAllocator, NonZeroLayout, SlabAllocator,
};
use typenum::{U1, U2, U4, U64};

type Counted<'a, A, N> = Sharded<
    <A as LocalAllocator>::WithSource<&'a CheckingSource<MmapSource>>,
    N,
    MmapAllocator<&'a CheckingSource<MmapSource>>,
>;

/// Shards like `A` and large blocks, all from one source.
fn counted<A: LocalAllocator, N: ShardCount>(source: &CheckingSource<MmapSource>) -> Counted<'_, A, N> {
    Sharded::with_large(A::WithSource::new_in(source), MmapAllocator::new_in(source))
}

fn fill(ledger: &mut Ledger<'_>, layouts: impl Iterator<Item = NonZeroLayout>) {
    for layout in layouts {
        ledger.allocate(layout).expect("there is memory");
    }
}

const _: () = {
    const fn sent_and_shared<T: Send + Sync>() {}
    sent_and_shared::<Sharded<SizeClassAllocator<MmapSource>>>();
    sent_and_shared::<
        Sharded<BumpAllocator<ArenaSource<MmapSource>>, U4, MmapAllocator<CachingSource<MmapSource>>>,
    >();
};

#[test]
fn sharded_conforms() {
    fn conforms<A: LocalAllocator<Source = MmapSource>, N: ShardCount>() {
        conformance::allocator(|| Sharded::<A, N>::new_in(A::new_in(MmapSource::new())));
    }
    conforms::<SizeClassAllocator<MmapSource>, U1>();
    conforms::<SizeClassAllocator<MmapSource>, U64>();
    conforms::<SlabAllocator<MmapSource>, U4>();
    conforms::<BumpAllocator<MmapSource>, U4>();
    conforms::<BitSetAllocator<MmapSource>, U2>();
    conforms::<MultipleBinarySearchTreeAllocator<MmapSource>, U4>();
    conformance::allocator(|| {
        Sharded::<SlabAllocator<PooledSource>, U2>::new_in(SlabAllocator::new(PooledSource::new()))
    });
    conformance::forwarded_allocator(|| {
        Sharded::<SizeClassAllocator<MmapSource>>::new(SizeClassAllocator::new(MmapSource::new()))
    });
    conformance::allocator(|| {
        let arena = ArenaSource::<_, U262144>::new_in(MmapSource::new());
        let large = MmapAllocator::new_in(CachingSource::new(MmapSource::new()));
        Sharded::<_, U4, _>::with_large(SizeClassAllocator::new(arena), large)
    });
}

#[test]
fn sharded_against_the_model() {
    fn model_of<A: LocalAllocator>(profile: Profile) {
        let source = CheckingSource::new(MmapSource::new());
        let allocator = counted::<A, U4>(&source);
        model::run(&allocator, profile);
        source.assert_sound();
        drop(allocator);
        source.assert_all_released();
    }
    model_of::<SizeClassAllocator<MmapSource>>(Profile::SMALL);
    model_of::<SizeClassAllocator<MmapSource>>(Profile::MIXED.operations(400_000));
    model_of::<SizeClassAllocator<MmapSource>>(Profile::LARGE);
    model_of::<SlabAllocator<MmapSource>>(Profile::SMALL);
    model_of::<SlabAllocator<MmapSource>>(Profile::MIXED.operations(200_000));
    model_of::<MultipleBinarySearchTreeAllocator<MmapSource>>(Profile::MIXED.operations(200_000));
}

#[test]
fn sharded_against_the_model_on_eight_threads() {
    fn on_threads<A: LocalAllocator, N: ShardCount>() {
        let source = CheckingSource::new(MmapSource::new());
        let allocator = counted::<A, N>(&source);
        thread::scope(|scope| {
            for seed in 0..8 {
                let allocator = &allocator;
                scope.spawn(move || model::run(allocator, Profile::SMALL.operations(100_000).seed(seed)));
            }
        });
        drop(allocator);
        source.assert_all_released();
    }
    on_threads::<SizeClassAllocator<MmapSource>, U1>();
    on_threads::<SizeClassAllocator<MmapSource>, U2>();
    on_threads::<SlabAllocator<MmapSource>, U2>();
    on_threads::<SlabAllocator<MmapSource>, U64>();
}

/// Each thread frees and resizes what another allocated, all at once, with more threads than
/// shards.
#[test]
fn blocks_pass_between_threads() {
    pass_between_threads::<SizeClassAllocator<MmapSource>>();
    pass_between_threads::<SlabAllocator<MmapSource>>();
}

fn pass_between_threads<A: LocalAllocator>() {
    let source = CheckingSource::new(MmapSource::new());
    let allocator = counted::<A, U2>(&source);
    let mut hands: Vec<Vec<Held>> = (0..6).map(|_| Vec::new()).collect();
    let mut held_bytes = 0;
    for round in 0..40 {
        hands.rotate_left(1);
        hands = thread::scope(|scope| {
            let work = hands.into_iter().map(|hand| {
                let allocator = &allocator;
                scope.spawn(move || {
                    let mut ledger = Ledger::new(allocator);
                    hand.into_iter().for_each(|held| ledger.put(held));
                    let addresses: Vec<usize> = ledger.iter().map(Held::address).collect();
                    for (number, address) in addresses.into_iter().enumerate() {
                        let old = ledger.get(address).layout();
                        let (new, way) = match (number + round) % 4 {
                            0 | 1 => {
                                ledger.free(address);
                                continue;
                            }
                            2 => (old.size() + 40, Way::Grow),
                            _ => (1, Way::Shrink),
                        };
                        ledger.resize(address, layout(new, 8), way).expect("there is memory");
                    }
                    // Some of them are large.
                    for size in (1..400).chain([40_000, 100_000]) {
                        ledger.allocate(layout(size, 8)).expect("there is memory");
                    }
                    ledger.take_all()
                })
            });
            let running: Vec<_> = work.collect();
            running.into_iter().map(|thread| thread.join().expect("no check failed")).collect()
        });
        // The same work every time: were freed blocks lost, more and more memory would be held.
        if round == 20 {
            held_bytes = source.counts().bytes;
        }
    }
    let end = source.counts().bytes;
    assert!(
        end <= held_bytes + held_bytes / 4,
        "{held_bytes} bytes after half of the rounds, {end} after all"
    );
    let mut ledger = Ledger::new(&allocator);
    hands.into_iter().flatten().for_each(|held| ledger.put(held));
    assert!(ledger.len() > 1000);
    ledger.free_all();
    drop(allocator);
    source.assert_all_released();
}

#[test]
fn every_refusal_is_survived() {
    let requests = fault::every_request(|source| {
        let shards = SizeClassAllocator::new(&**source);
        let allocator = Sharded::<_, U2, _>::with_large(shards, MmapAllocator::new_in(&**source));
        fault::work(&allocator, 200 * 1024);
        drop(allocator);
        source.assert_sound();
    });
    assert!(requests >= 3);
}

/// Where the border between shards and large blocks lies, and that what is resized across it moves.
#[test]
fn blocks_cross_the_border_of_what_is_large() {
    let source = CheckingSource::new(MmapSource::new());
    let allocator = counted::<SizeClassAllocator<MmapSource>, U2>(&source);
    let largest = Counted::<SizeClassAllocator<MmapSource>, U2>::LARGEST;
    assert!((16 * 1024..=256 * 1024).contains(&largest));
    let mut ledger = Ledger::new(&allocator);
    ledger.allocate(layout(1, 1)).expect("there is memory");
    let regions = source.counts().held;
    let at_most = ledger.allocate(layout(largest, 8)).expect("there is memory");
    assert!(ledger.get(at_most).len() <= largest, "a block of a shard must not be said to be a large one");
    let beyond = ledger.allocate(layout(largest + 1, 8)).expect("there is memory");
    assert!(source.counts().held > regions, "a large block has a region of its own");
    let held = source.counts().held;
    let small = ledger.resize(beyond, layout(100, 8), Way::Shrink).expect("there is memory");
    assert!(source.counts().held < held, "its region went");
    let aligned = layout(100, largest * 2);
    let large = ledger.resize(small, aligned, Way::GrowZeroed).expect("there is memory");
    assert_eq!(source.counts().held, held, "an alignment that shards do not serve makes a block large");
    let larger = ledger.resize(large, layout(3 << 20, 8), Way::GrowZeroed).expect("there is memory");
    ledger.resize(larger, layout(2 << 20, 8), Way::Shrink).expect("there is memory");
    ledger.resize(at_most, layout(largest * 2, 8), Way::GrowZeroed).expect("there is memory");
    ledger.free_all();
    drop(allocator);
    source.assert_all_released();
}

/// The largest of a bit-set is not a multiple of its block: the length returned must not be taken
/// for a large one's.
#[test]
fn the_length_returned_is_a_length_to_free_with() {
    fn freed_as_returned<A: LocalAllocator>() {
        let source = CheckingSource::new(MmapSource::new());
        let allocator = counted::<A, U1>(&source);
        let largest = Counted::<A, U1>::LARGEST;
        for size in (largest - 100..=largest).chain([1, largest / 2 + 1]) {
            let block = allocator.allocate(layout(size, 8)).expect("there is memory");
            let returned = layout(block.len(), 8);
            // SAFETY: Just allocated, and the length returned fits.
            unsafe { allocator.deallocate(block.cast(), returned) };
        }
        drop(allocator);
        source.assert_all_released();
    }
    freed_as_returned::<SizeClassAllocator<MmapSource>>();
    freed_as_returned::<SlabAllocator<MmapSource>>();
    freed_as_returned::<BitSetAllocator<MmapSource>>();
    freed_as_returned::<BumpAllocator<MmapSource>>();
    freed_as_returned::<MultipleBinarySearchTreeAllocator<MmapSource>>();
}

/// How often a thread waited for some lock of [`Noticing`].
static WAITS: AtomicUsize = AtomicUsize::new(0);

/// A lock that notices when somebody waits for it.
struct Noticing(SpinFutexLock);

// SAFETY: It is the lock inside.
unsafe impl RawLock for Noticing {
    #[allow(clippy::declare_interior_mutable_const, reason = "the constant is only an initialiser")]
    const FREE: Self = Self(SpinFutexLock::FREE);

    fn lock(&self) {
        WAITS.fetch_add(1, Relaxed);
        self.0.lock();
    }

    fn try_lock(&self) -> bool {
        self.0.try_lock()
    }

    unsafe fn unlock(&self) {
        // SAFETY: The caller's promise.
        unsafe { self.0.unlock() };
    }
}

/// A source in which a thread can be made to stay: it then holds the lock of a shard.
struct Gate {
    source: CheckingSource<MmapSource>,
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(PartialEq, Eq)]
enum GateState {
    Open,
    /// The next one who obtains stays.
    Closing,
    /// Somebody is inside.
    Closed,
}

impl Gate {
    fn new() -> Self {
        let source = CheckingSource::new(MmapSource::new());
        Self { source, state: Mutex::new(GateState::Open), changed: Condvar::new() }
    }

    fn set(&self, state: GateState) {
        *self.state.lock().unwrap() = state;
        self.changed.notify_all();
    }

    fn wait_for(&self, state: GateState) {
        let held = self.state.lock().unwrap();
        drop(self.changed.wait_while(held, |held| *held != state).unwrap());
    }
}

// SAFETY: It is the source inside, reached now or later.
unsafe impl MemorySource for Gate {
    fn obtain(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, SourceError> {
        let closing = *self.state.lock().unwrap() == GateState::Closing;
        if closing {
            self.set(GateState::Closed);
            self.wait_for(GateState::Open);
        }
        self.source.obtain(layout)
    }

    unsafe fn release(&self, region: NonNull<[u8]>, layout: NonZeroLayout) {
        // SAFETY: The caller's promises.
        unsafe { self.source.release(region, layout) };
    }
}

/// A thread stays in its shard, one of two. Another frees and resizes blocks of that shard, and
/// allocates, without waiting; what it freed is used again.
#[test]
fn nobody_waits_for_a_shard_that_is_taken() {
    let gate = Gate::new();
    let allocator: Sharded<_, U2, MmapAllocator<PooledSource>, Noticing> =
        Sharded::new_in(SizeClassAllocator::new(&gate));
    let (count, size) = (500, layout(1000, 8));
    let (give, take) = mpsc::channel();
    thread::scope(|scope| {
        let stuck = scope.spawn(|| {
            let mut ledger = Ledger::new(&allocator);
            fill(&mut ledger, (0..count).map(|_| size));
            give.send(ledger.take_all()).unwrap();
            gate.set(GateState::Closing);
            // Until a region is needed, where this thread stays with the lock taken.
            while *gate.state.lock().unwrap() == GateState::Closing {
                ledger.allocate(size).expect("there is memory");
            }
            ledger.free_all();
            // All of the first blocks are there again.
            let before = gate.source.counts().obtained;
            fill(&mut ledger, (0..count).map(|_| size));
            assert_eq!(gate.source.counts().obtained, before, "what was freed meanwhile is lost");
            ledger.free_all();
        });
        let mut ledger = Ledger::new(&allocator);
        take.recv().unwrap().into_iter().for_each(|held| ledger.put(held));
        let blocks: Vec<usize> = ledger.iter().map(Held::address).collect();
        gate.wait_for(GateState::Closed);
        let waited = WAITS.load(Relaxed);
        for (number, block) in blocks.into_iter().enumerate() {
            match number % 8 {
                0 => drop(ledger.resize(block, layout(5000, 8), Way::Grow).expect("there is memory")),
                1 => drop(ledger.resize(block, layout(1001, 8), Way::Grow).expect("there is memory")),
                2 => drop(ledger.resize(block, layout(10, 8), Way::Shrink).expect("there is memory")),
                _ => ledger.free(block),
            }
            ledger.allocate(layout(64, 8)).expect("there is memory");
        }
        assert_eq!(WAITS.load(Relaxed), waited, "somebody waited");
        gate.set(GateState::Open);
        stuck.join().expect("no check failed");
        ledger.free_all();
    });
    drop(allocator);
    gate.source.assert_all_released();
}

/// What one shard cannot serve for want of memory, another one may.
#[test]
fn memory_that_is_free_in_any_shard_is_found() {
    let limited = LimitSource::new(MmapSource::new(), 64 * 1024);
    let allocator = Sharded::<_, U4>::new_in(SizeClassAllocator::new(&limited));
    let size = layout(64, 8);
    let mut ledger = Ledger::new(&allocator);
    let blocks: Vec<usize> = std::iter::from_fn(|| ledger.allocate(size).ok()).collect();
    assert!(blocks.len() > 500);
    let refused = ledger.allocate(size);
    assert!(matches!(refused, Err(AllocError::Source(SourceError::LimitReached))), "{refused:?}");
    blocks[..100].iter().for_each(|&block| ledger.free(block));
    for _ in 0..4 {
        // Each is at home in another shard than the last one; the only region is that of one shard.
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut ledger = Ledger::new(&allocator);
                for _ in 0..100 {
                    ledger.allocate(size).expect("some shard has memory");
                }
                assert!(ledger.allocate(size).is_err());
                ledger.free_all();
            });
        });
    }
    ledger.free_all();
}

/// It may be moved while its blocks are in use, and holds nothing before the first one.
#[test]
fn it_may_be_moved_and_begins_with_nothing() {
    let source = CheckingSource::new(MmapSource::new());
    let first = counted::<SizeClassAllocator<MmapSource>, U4>(&source);
    assert_eq!(source.counts().obtained, 0);
    let held = {
        let mut ledger = Ledger::new(&first);
        fill(&mut ledger, (1..2000).map(|size| layout(size, 8)));
        ledger.take_all()
    };
    thread::scope(|scope| {
        scope.spawn(move || {
            let moved = Box::new(first);
            let mut ledger = Ledger::new(&*moved);
            held.into_iter().for_each(|held| ledger.put(held));
            fill(&mut ledger, (1..2000).map(|size| layout(size, 8)));
            ledger.free_all();
        });
    });
    source.assert_all_released();
}

/// Two of them know their own blocks, also where one stands on the other's memory.
#[test]
fn a_sharded_on_the_memory_of_another() {
    use context_allocator::adapt::AllocatorSource;
    let outer = Sharded::<_, U2>::new_in(SizeClassAllocator::new(MmapSource::new()));
    let arena = ArenaSource::new(AllocatorSource::new(&outer));
    let inner = Sharded::<_, U2>::new_in(SizeClassAllocator::new(arena));
    let (mut first, mut second) = (Ledger::new(&outer), Ledger::new(&inner));
    for size in 1..3000 {
        first.allocate(layout(size, 8)).expect("there is memory");
        second.allocate(layout(size, 8)).expect("there is memory");
    }
    first.free_all();
    second.free_all();
}
