//! Sources made of sources, and of allocators.

use std::alloc::System;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::thread;

use crate::support::CheckingSource;
use crate::support::{conformance, layout};
use context_allocator::adapt::AllocatorSource;
use context_allocator::alloc::SizeClassAllocator;
use context_allocator::error::SourceError;
use context_allocator::size::{U2048, U4096, U8192, U65536, U131072};
use context_allocator::source::{
    CachingSource, CountingSource as Counting, FallbackSource, InlineRegion, LimitSource, OwnsRegions,
    RegionSource,
};
use context_allocator::testing::RefusingSource;
use context_allocator::{
    AllocError, Allocator, ArenaSource, BumpAllocator, Locked, MemorySource, MmapSource,
};
use typenum::{U0, U2};

type Arena = ArenaSource<MmapSource, U65536, U131072>;

fn arena() -> Arena {
    ArenaSource::new_in(MmapSource::new())
}

/// A source over `len` bytes that nobody else will use.
fn region(len: usize) -> RegionSource<'static> {
    RegionSource::new(Vec::leak(vec![MaybeUninit::uninit(); len]))
}

fn obtain<S: MemorySource>(source: &S, size: usize) -> Result<NonNull<[u8]>, SourceError> {
    source.obtain(layout(size, 8))
}

/// # Safety
/// As `release`, of a region that was obtained with that size by `obtain`.
unsafe fn release<S: MemorySource>(source: &S, region: NonNull<[u8]>, size: usize) {
    // SAFETY: The caller's promises.
    unsafe { source.release(region, layout(size, 8)) };
}

#[test]
fn limits_conform() {
    conformance::source(|| LimitSource::new(MmapSource::new(), usize::MAX), 1 << 20);
    conformance::source(|| LimitSource::new(arena(), usize::MAX), 65_536);
    conformance::forwarded_source(|| LimitSource::new(MmapSource::new(), usize::MAX), 1 << 16);
}

#[test]
fn counts_conform() {
    conformance::source(|| Counting::new(MmapSource::new()), 1 << 20);
    conformance::source(|| Counting::new(arena()), 65_536);
    conformance::forwarded_source(|| Counting::new(MmapSource::new()), 1 << 16);
}

#[test]
fn caches_conform() {
    conformance::source(|| CachingSource::new(MmapSource::new()), 1 << 20);
    conformance::source(|| CachingSource::<_, U2>::new_in(arena()), 65_536);
    conformance::source(|| CachingSource::<_, U0>::new_in(MmapSource::new()), 1 << 16);
    conformance::forwarded_source(|| CachingSource::<_, U2>::new_in(MmapSource::new()), 1 << 16);
}

#[test]
fn fallbacks_conform() {
    conformance::source(|| FallbackSource::new(region(10_000), MmapSource::new()), 1 << 20);
    conformance::forwarded_source(|| FallbackSource::new(region(10_000), MmapSource::new()), 1 << 16);
    conformance::source(
        || FallbackSource::new(region(1000), FallbackSource::new(region(2000), arena())),
        60_000,
    );
}

#[test]
fn refusals_conform() {
    conformance::source(|| RefusingSource::never(MmapSource::new()), 1 << 20);
    conformance::forwarded_source(|| RefusingSource::never(MmapSource::new()), 1 << 16);
}

#[test]
fn allocators_conform_as_sources() {
    conformance::source(|| AllocatorSource::of_global(&System), 1 << 20);
    conformance::source(
        || AllocatorSource::new(Locked::new(SizeClassAllocator::new(MmapSource::new()))),
        16_384,
    );
    conformance::source(|| AllocatorSource::new(BumpAllocator::new(MmapSource::new())), 65_536);
    conformance::forwarded_source(|| AllocatorSource::of_global(&System), 1 << 16);
}

#[test]
fn inline_regions_conform() {
    fn leaked() -> &'static InlineRegion<U65536> {
        Box::leak(Box::default())
    }
    conformance::source(leaked, 60_000);
    static MEMORY: InlineRegion<U8192> = InlineRegion::new();
    let one = layout(1, 64);
    let held = (&MEMORY).obtain(one).expect("the bytes are there");
    assert_eq!(held.len(), 8192);
    assert_eq!((&MEMORY).obtain(one), Err(SourceError::Exhausted));
    assert_eq!((&MEMORY).obtain(layout(8193, 1)), Err(SourceError::TooLarge));
    assert!((&MEMORY).owns(held.cast()));
    // SAFETY: The block has 8192 bytes.
    let last = unsafe { held.cast::<u8>().add(8191) };
    // SAFETY: As above; one past the end.
    let end = unsafe { held.cast::<u8>().add(8192) };
    assert!((&MEMORY).owns(last) && !(&MEMORY).owns(end));
    // SAFETY: Just obtained with this layout, and not used again.
    unsafe { (&MEMORY).release(held, one) };
    assert!((&MEMORY).obtain(one).is_ok());
}

#[test]
fn a_limit_holds_to_the_byte() {
    let limited = LimitSource::new(MmapSource::new(), 5 * 4096);
    let two = obtain(&limited, 4097).expect("two of five pages");
    assert_eq!((two.len(), limited.held()), (8192, 8192));
    let three = obtain(&limited, 12_288).expect("the other three");
    assert_eq!(limited.held(), limited.limit());
    assert_eq!(obtain(&limited, 1), Err(SourceError::LimitReached));
    // SAFETY: Just obtained with a size that this one lies above, and not used again.
    unsafe { release(&limited, two, 8000) };
    assert_eq!(limited.held(), 12_288);
    assert_eq!(obtain(&limited, 8193), Err(SourceError::LimitReached));
    limited.set_limit(4096);
    assert_eq!(obtain(&limited, 1), Err(SourceError::LimitReached));
    // SAFETY: As above.
    unsafe { release(&limited, three, 12_288) };
    assert_eq!(limited.held(), 0);
    obtain(&limited, 1).expect("a page is within the limit");
    assert_eq!(
        LimitSource::new(MmapSource::new(), usize::MAX).obtain(layout(isize::MAX as usize - 8, 1)),
        Err(SourceError::TooLarge)
    );
    let refusing = LimitSource::new(RefusingSource::from(MmapSource::new(), 0), 1 << 20);
    assert_eq!(obtain(&refusing, 1), Err(SourceError::Exhausted));
    assert_eq!(refusing.held(), 0, "what was refused is not held");
}

/// Threads that obtain and release at a limit never pass it, and nothing stays charged.
#[test]
fn a_limit_holds_between_threads() {
    let limited = LimitSource::new(CheckingSource::new(MmapSource::new()), 3 * 4096);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..2000 {
                    if let Ok(region) = obtain(&limited, 4096) {
                        // SAFETY: Just obtained with this size, and not used again.
                        unsafe { release(&limited, region, 4096) };
                    }
                }
            });
        }
    });
    let counts = limited.source().counts();
    assert!(counts.most_bytes <= 3 * 4096 && counts.obtained > 0, "{counts:?}");
    assert_eq!(limited.held(), 0);
    limited.source().assert_all_released();
}

#[test]
fn counts_are_those_of_the_index() {
    let source = Counting::new(CheckingSource::new(RefusingSource::once(MmapSource::new(), 2)));
    let mut held = Vec::new();
    for size in [1, 5000, 9, 100_000] {
        held.extend(obtain(&source, size).map(|region| (region, size)));
    }
    let (first, size) = held.swap_remove(0);
    // SAFETY: Obtained with this size above, and not used again.
    unsafe { release(&source, first, size) };
    let (counts, index) = (source.counts(), source.source().counts());
    assert_eq!((counts.obtained, counts.refused, counts.released), (3, 1, 1));
    assert_eq!((counts.bytes, counts.most_bytes), (index.bytes, index.most_bytes));
    assert_eq!(counts.bytes, 8192 + 102_400);
    for (region, size) in held {
        // SAFETY: As above.
        unsafe { release(&source, region, size) };
    }
    assert_eq!(source.counts().bytes, 0);
    source.source().assert_all_released();
}

#[test]
fn a_cache_keeps_the_latest_and_gives_them_again() {
    let source: CachingSource<_, U2> = CachingSource::new_in(CheckingSource::new(MmapSource::new()));
    let pages = |count: usize| obtain(&source, count * 4096).expect("memory");
    let (one, two, three) = (pages(1), pages(2), pages(3));
    for (region, count) in [(one, 1), (two, 2), (three, 3)] {
        // SAFETY: Obtained with this size above, and not used again.
        unsafe { release(&source, region, count * 4096) };
    }
    assert_eq!(source.cached_bytes(), 5 * 4096, "the oldest of three left two places");
    assert_eq!(source.source().counts().released, 1);
    assert_eq!(pages(3), three);
    assert_eq!(source.obtain(layout(5000, 8)).expect("memory"), two, "two pages for 5,000 bytes");
    assert_eq!(source.source().counts().obtained, 3);
    assert_eq!(pages(1).len(), 4096);
    assert_eq!(source.source().counts().obtained, 4, "a page was not there any more");
    // SAFETY: Obtained above.
    unsafe { release(&source, two, 5000) };
    let aligned = source.obtain(layout(8192, 1 << 30)).expect("memory");
    assert_ne!(aligned, two, "a region of the cache is not aligned to 1 GiB");
    let mut left = 0;
    assert_eq!(source.reclaim(&mut |region| left += region.len()), 8192);
    assert_eq!((left, source.cached_bytes()), (8192, 0));
}

/// Whoever had a region before, it goes back with the alignment that it was obtained with.
#[test]
fn a_cache_gives_regions_back_as_they_were_obtained() {
    let index = CheckingSource::new(AllocatorSource::of_global(&System));
    for aligns in [[8, 4096], [4096, 8]] {
        let source: CachingSource<_> = CachingSource::new(&index);
        for align in aligns {
            // So many, that some of those at a multiple of 8 are also at a multiple of 4096.
            let asked = layout(2048, align);
            let regions: Vec<_> = (0..16).map(|_| source.obtain(asked).expect("memory")).collect();
            for region in regions {
                // SAFETY: Obtained with this layout above, and not used again.
                unsafe { source.release(region, asked) };
            }
        }
        drop(source);
        index.assert_all_released();
    }
}

/// What the cache keeps counts against a limit behind it, and must not be what keeps others from
/// being served.
#[test]
fn a_cache_gives_everything_back_before_it_refuses() {
    let source: CachingSource<_> = CachingSource::new(LimitSource::new(MmapSource::new(), 4 * 4096));
    let small: Vec<_> = (0..4).map(|_| obtain(&source, 4096).expect("a page of four")).collect();
    assert_eq!(obtain(&source, 4096), Err(SourceError::LimitReached));
    for region in small {
        // SAFETY: Obtained with this size above, and not used again.
        unsafe { release(&source, region, 4096) };
    }
    assert_eq!(source.cached_bytes(), 4 * 4096);
    let large = obtain(&source, 4 * 4096).expect("the pages of the cache");
    assert_eq!((source.cached_bytes(), source.source().held()), (0, 4 * 4096));
    // SAFETY: As above.
    unsafe { release(&source, large, 4 * 4096) };
}

#[test]
fn a_cache_gives_everything_back_when_it_goes() {
    let index = CheckingSource::new(MmapSource::new());
    let source: CachingSource<_> = CachingSource::new(&index);
    for size in [10, 5000, 50_000] {
        let allocator = BumpAllocator::new(&source);
        allocator.allocate(layout(size, 8)).expect("memory");
    }
    assert!(index.counts().held > 0);
    drop(source);
    index.assert_all_released();
}

/// Allocators that come and go on threads share what the cache keeps.
#[test]
fn a_cache_serves_threads() {
    let source: CachingSource<_> = CachingSource::new(CheckingSource::new(MmapSource::new()));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..500 {
                    let allocator = BumpAllocator::new(&source);
                    allocator.allocate(layout(100, 8)).expect("memory");
                }
            });
        }
    });
    let counts = source.source().counts();
    assert!(counts.obtained <= 4 && counts.released == 0, "{counts:?}");
}

#[test]
fn regions_go_back_to_the_source_they_came_from() {
    let source = FallbackSource::new(region(10_000), CheckingSource::new(MmapSource::new()));
    let first = obtain(&source, 100).expect("the bytes are there");
    let second = obtain(&source, 100).expect("memory");
    assert!(source.first().owns(first.cast()) && !source.first().owns(second.cast()));
    assert_eq!(source.second().counts().held, 1);
    // SAFETY: Obtained with this size above, and not used again.
    unsafe { release(&source, first, 100) };
    assert_eq!(obtain(&source, 200), Ok(first), "the bytes are free again");
    // SAFETY: As above.
    unsafe { release(&source, second, 100) };
    source.second().assert_all_released();
    let neither = FallbackSource::new(region(100), region(200));
    assert_eq!(obtain(&neither, 300), Err(SourceError::TooLarge));
    let high = obtain(&neither, 150).expect("the second has room");
    assert!(neither.owns(high.cast()) && !neither.owns(first.cast()));
}

/// The second source's regions may be cut from one that somebody obtained from the first: they must
/// not go back there.
#[test]
fn what_the_second_cut_from_the_first_does_not_go_back_to_the_first() {
    let shared = region(10_000);
    let bump = BumpAllocator::new(&shared);
    let held = bump.allocate(layout(100, 8)).expect("the bytes are there");
    let source = FallbackSource::new(&shared, AllocatorSource::new(&bump));
    if let Ok(cut) = obtain(&source, 200) {
        // SAFETY: Obtained with this size above, and not used again.
        unsafe { release(&source, cut, 200) };
    }
    assert_eq!(obtain(&shared, 10), Err(SourceError::Exhausted), "the bump holds {held:?}");
    // SAFETY: Allocated above, and not used again.
    unsafe { bump.deallocate(held.cast(), layout(100, 8)) };
    let again = bump.allocate(layout(100, 8));
    assert_eq!(again, Ok(held), "the refusal gave the block back");
}

#[test]
fn errors_of_an_allocator_keep_their_reason() {
    let limited = AllocatorSource::new(BumpAllocator::new(LimitSource::new(MmapSource::new(), 1 << 16)));
    assert_eq!(obtain(&limited, 1 << 20), Err(SourceError::LimitReached));
    assert_eq!(limited.obtain(layout(isize::MAX as usize - 4096, 1)), Err(SourceError::TooLarge));
    let classes = SizeClassAllocator::new(RefusingSource::from(MmapSource::new(), 0));
    assert_eq!(obtain(&AllocatorSource::new(classes), 8), Err(SourceError::Exhausted));
}

/// A bump over blocks of a size-class allocator over a cache over a limit: whatever fails inside,
/// nothing is lost.
#[test]
fn a_stack_of_sources_loses_nothing() {
    let index = CheckingSource::new(MmapSource::new());
    let limited = LimitSource::new(&index, 1 << 20);
    let cache: CachingSource<_> = CachingSource::new(&limited);
    for _ in 0..10 {
        let inner = AllocatorSource::new(SizeClassAllocator::new(&cache));
        let outer = BumpAllocator::new(&inner);
        let mut served = 0;
        while outer.allocate(layout(2000, 16)).is_ok() {
            served += 1;
        }
        assert!(served > 100, "{served}");
        assert!(matches!(outer.allocate(layout(2000, 16)), Err(AllocError::Source(_))));
    }
    drop(cache);
    assert_eq!(limited.held(), 0);
    index.assert_all_released();
}

/// Each is `Send` and `Sync` where what it is made of is.
#[test]
fn sources_can_be_shared() {
    const fn shared<S: MemorySource + Send + Sync>() {}
    const {
        shared::<LimitSource<MmapSource>>();
        shared::<Counting<MmapSource>>();
        shared::<CachingSource<MmapSource>>();
        shared::<FallbackSource<RegionSource<'static>, MmapSource>>();
        shared::<RefusingSource<MmapSource>>();
        shared::<&'static InlineRegion<U4096>>();
    }
    let _: InlineRegion<U2048> = InlineRegion::default();
}
