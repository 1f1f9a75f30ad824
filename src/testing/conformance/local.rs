//! The contract of `LocalAllocator`, over a source that counts.

use std::ptr::NonNull;
use std::thread;

use crate::alloc::{Allocator, LocalAllocator};
use crate::error::SourceError;
use crate::layout::NonZeroLayout;
use crate::source::{MemorySource, MmapSource};

use super::{alignments, allocator, sizes};
use crate::testing::CheckingSource;
use crate::testing::ledger::Ledger;
use crate::testing::{fault, layout};

/// The allocator under test over the suite's source.
type Over<'a, A> = <A as LocalAllocator>::WithSource<&'a CheckingSource<MmapSource>>;

/// Tests that `A`, rebuilt over the suite's own sources, is what a tier needs, and everything that
/// [`allocator`] tests.
pub fn local_allocator<A: LocalAllocator>() {
    allocator(|| A::WithSource::<MmapSource>::new_in(MmapSource::new()));
    lazy::<A>();
    dropping_releases::<A>();
    recycling::<A>();
    blocks_lie_in_regions::<A>();
    largest::<A>();
    reuse::<A>();
    sent::<A>();
    refused::<A>();
}

/// Runs `test` on a new allocator over a counting source, and checks that all is released in the
/// end.
fn counted<A: LocalAllocator>(test: impl FnOnce(Over<'_, A>, &CheckingSource<MmapSource>)) {
    let source = CheckingSource::new(MmapSource::new());
    test(Over::<A>::new_in(&source), &source);
    source.assert_all_released();
}

fn lazy<A: LocalAllocator>() {
    counted::<A>(|allocator, source| {
        assert_eq!(source.counts().obtained, 0, "a new allocator obtained something");
        for size in [1, 100, 4096] {
            assert_eq!(allocator.allocate_at_hand(layout(size, 8)), None, "a block out of nothing");
        }
        drop(allocator);
        assert_eq!(source.counts().obtained, 0);
    });
    counted::<A>(|mut allocator, source| {
        allocator.recycle();
        assert_eq!(source.counts().obtained, 0, "recycling obtained something");
        Ledger::new(&allocator).allocate(layout(1, 1)).expect("the first block");
        assert!(source.counts().obtained > 0);
    });
}

fn dropping_releases<A: LocalAllocator>() {
    counted::<A>(|allocator, source| {
        fill(&allocator, source);
        // The blocks are still allocated.
        drop(allocator);
        source.assert_all_released();
    });
}

fn recycling<A: LocalAllocator>() {
    counted::<A>(|mut allocator, source| {
        for _ in 0..5 {
            fill(&allocator, source);
            allocator.recycle();
            source.assert_sound();
            assert!(source.counts().held <= 1, "a recycled allocator holds {:?}", source.counts());
            allocator.recycle();
            assert!(source.counts().held <= 1);
        }
        // Recycling with one region at most, several times, neither obtains nor leaks.
        for _ in 0..100 {
            Ledger::new(&allocator).allocate(layout(64, 8)).expect("a block after recycling");
            let held = source.counts().held;
            allocator.recycle();
            assert!(source.counts().held <= held.min(1));
        }
    });
}

/// Allocates until several regions are held, and leaves the blocks.
fn fill(allocator: &dyn Allocator, source: &CheckingSource<MmapSource>) {
    let mut ledger = Ledger::new(allocator);
    for _ in 0..10_000 {
        if source.counts().held >= 3 {
            break;
        }
        ledger.allocate(layout(4096, 8)).expect("the allocator serves this");
    }
    assert!(source.counts().held >= 3, "the allocator does not grow");
    ledger.verify();
}

fn blocks_lie_in_regions<A: LocalAllocator>() {
    counted::<A>(|allocator, source| {
        let mut ledger = Ledger::new(&allocator);
        for align in alignments() {
            for size in sizes(A::LARGEST.min(8192)) {
                ledger.allocate(layout(size, align)).expect("the allocator serves every size");
            }
        }
        for held in ledger.iter() {
            assert!(source.holds(held.address(), held.len()), "{held:?} does not lie in one region");
            if A::REUSES_BLOCKS {
                assert!(held.len() >= 16 && held.address().is_multiple_of(8), "{held:?} holds no link");
            }
        }
        ledger.free_all();
    });
}

fn largest<A: LocalAllocator>() {
    const GRANTED: usize = 4 << 20;
    counted::<A>(|allocator, _| {
        let mut ledger = Ledger::new(&allocator);
        let largest = A::LARGEST.min(GRANTED);
        ledger.allocate(layout(largest, 8)).expect("the largest size is served");
        ledger.allocate(layout(1, largest)).expect("the largest alignment is served");
        ledger.allocate(layout(largest, largest)).expect("the largest size and alignment are served");
        if let Some(beyond) = A::LARGEST.checked_add(1).filter(|&beyond| beyond <= GRANTED) {
            assert!(ledger.allocate(layout(beyond, 8)).is_err(), "LARGEST is not the largest size");
        }
        ledger.free_all();
    });
}

/// What `REUSES_BLOCKS` says, measured: the same block over and over needs no more memory.
fn reuse<A: LocalAllocator>() {
    if !A::REUSES_BLOCKS {
        return;
    }
    counted::<A>(|allocator, source| {
        let mut ledger = Ledger::new(&allocator);
        let mut cycle = || {
            for size in [1, 40, 600, 5000] {
                let first = ledger.allocate(layout(size, 8)).expect("the allocator serves every size");
                let second = ledger.allocate(layout(size, 8)).expect("the allocator serves every size");
                // The oldest first, which is the order that a stack could not reuse.
                ledger.free(first);
                ledger.free(second);
            }
            source.counts().bytes
        };
        let bytes = cycle();
        for _ in 0..2_000 {
            assert_eq!(cycle(), bytes, "freed blocks are not used again");
        }
    });
}

/// It may be used on one thread, then on another.
fn sent<A: LocalAllocator>() {
    counted::<A>(|allocator, _| {
        let blocks = {
            let mut ledger = Ledger::new(&allocator);
            for size in sizes(2000) {
                ledger.allocate(layout(size, 8)).expect("the allocator serves every size");
            }
            ledger.take_all()
        };
        thread::scope(|scope| {
            scope.spawn(move || {
                let mut ledger = Ledger::new(&allocator);
                blocks.into_iter().for_each(|held| ledger.put(held));
                ledger.allocate(layout(100, 8)).expect("the allocator serves this on another thread");
                ledger.free_all();
            });
        });
    });
}

/// A source that refuses does no harm, at whatever request.
fn refused<A: LocalAllocator>() {
    let requests = fault::every_request(|source| {
        let mut allocator = A::WithSource::<&fault::FaultySource>::new_in(&**source);
        let errors = fault::work(&allocator, A::LARGEST.min(64 * 1024));
        assert!(errors == 0 || source.counts().refused > 0, "an error without a cause");
        allocator.recycle();
        source.assert_sound();
        assert!(source.counts().held <= 1);
        fault::work(&allocator, A::LARGEST.min(1024));
    });
    assert!(requests >= 2, "the workload needs one region only");
    let exhausted = CheckingSource::new(NoSource);
    let allocator = A::WithSource::<&CheckingSource<NoSource>>::new_in(&exhausted);
    assert!(fault::work(&allocator, 1024) > 0);
    assert!(exhausted.counts().refused > 0);
}

/// A source of nothing.
struct NoSource;

// SAFETY: It returns no region.
unsafe impl MemorySource for NoSource {
    fn obtain(&self, _: NonZeroLayout) -> Result<NonNull<[u8]>, SourceError> {
        Err(SourceError::Exhausted)
    }

    unsafe fn release(&self, _: NonNull<[u8]>, _: NonZeroLayout) {}
}
