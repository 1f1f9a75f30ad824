//! Requests with a least and a preferred length: each source answers with the best that it has,
//! through all that stands on it.

use std::alloc::System;
use std::mem::MaybeUninit;
use std::rc::Rc;
use std::sync::Arc;

use crate::support::layout;
use context_allocator::alloc::{LocalAllocator, Sharded};
use context_allocator::error::SourceError;
use context_allocator::size::{U32, U4096};
use context_allocator::source::{
    CachingSource, CountingSource, FallbackSource, LimitSource, Obtained, PooledSource, RecordingSource,
    RegionSource,
};
use context_allocator::switch::{NoTier, RefusingPolicy};
use context_allocator::testing::RefusingSource;
use context_allocator::{
    Allocator, ArenaSource, Builder, BumpAllocator, MemorySource, MmapSource,
    MultipleBinarySearchTreeAllocator, NonZeroLayout, Tiers,
};
use typenum::U1;

type Tree<S> = MultipleBinarySearchTreeAllocator<S, U32>;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// A source over `len` bytes that nobody else will use.
fn region(len: usize) -> RegionSource<'static> {
    RegionSource::new(Vec::leak(vec![MaybeUninit::uninit(); len]))
}

/// Checks that an allocator uses up the first source of its two before the second.
#[track_caller]
fn uses_the_first<A: LocalAllocator>(len: usize)
where
    A::WithSource<FallbackSource<RegionSource<'static>, CountingSource<MmapSource>>>: Allocator,
{
    let first = region(len);
    let source = FallbackSource::new(first, CountingSource::new(MmapSource::new()));
    let allocator = A::WithSource::new_in(source);
    let asked = layout(800, 8);
    let mut inside = 0;
    while allocator.source().second().counts().obtained == 0 {
        let block = allocator.allocate(asked).expect("memory");
        inside += usize::from(context_allocator::source::OwnsRegions::owns(
            allocator.source().first(),
            block.cast(),
        ));
    }
    assert!(inside * 1000 >= len - len / 4, "{inside} blocks of 800 bytes lie in {len} bytes");
}

#[test]
fn a_first_source_of_any_length_is_used_up() {
    for len in [4, 32, 63, 64, 65, 256, 400, 5000].map(|kib| kib * KIB) {
        uses_the_first::<BumpAllocator<MmapSource>>(len);
        uses_the_first::<Tree<MmapSource>>(len);
    }
}

/// Regions double up to a bound: so many pieces for so many bytes, to the last byte of the limit.
#[track_caller]
fn few_regions_fill_the_limit<A: Allocator>(
    allocator: A,
    source: &CountingSource<impl MemorySource>,
    limit: usize,
) {
    let mut blocks = 0;
    while allocator.allocate(layout(1000, 8)).is_ok() {
        blocks += 1;
    }
    let counts = source.counts();
    assert!(counts.bytes <= limit && counts.bytes + 64 * KIB > limit, "{counts:?}");
    assert!(blocks * 1008 > limit - limit / 16, "{blocks} blocks");
    assert!(counts.obtained <= 16 + limit / (4 * MIB), "{counts:?}");
    assert!(counts.refused <= 4, "{counts:?}");
}

#[test]
fn what_is_left_below_a_limit_comes_in_one_piece() {
    for limit in [5 * MIB + 12 * KIB, 60 * MIB, 100 * MIB + 4 * KIB] {
        let counted = || CountingSource::new(LimitSource::new(MmapSource::new(), limit));
        let source = counted();
        few_regions_fill_the_limit(BumpAllocator::new(&source), &source, limit);
        let source = counted();
        few_regions_fill_the_limit(Tree::new(&source), &source, limit);
        let source = counted();
        let wrapped = Rc::new(RefusingSource::never(CachingSource::new(&source)));
        few_regions_fill_the_limit(Tree::new(wrapped), &source, limit);
        let source = counted();
        few_regions_fill_the_limit(Sharded::<_, U1>::new_in(Tree::new(&source)), &source, limit);
    }
}

/// Over whole slices, as in a tier, below the limit of the source and below that of the heap.
mod tier {
    use super::*;

    type Source = CountingSource<LimitSource<MmapSource>>;

    const LIMIT: usize = 20 * MIB + 20 * KIB;

    context_allocator::switchable_allocator!(
        static ALLOC: Tiers<Tree<&'static Source>, NoTier, System, RefusingPolicy> = Builder::new()
            .coroutine_tier(Tree::new(&SOURCE))
            .without_thread_tier()
            .global_tier(System)
            .policy::<RefusingPolicy>()
            .build();
    );

    static SOURCE: Source = CountingSource::new(LimitSource::new(MmapSource::new(), LIMIT));

    #[test]
    fn heaps_fill_limits_with_few_regions() {
        for limit in [LIMIT, 3 * MIB + 5 * KIB] {
            let heap = ALLOC.heap_with_limit(limit).expect("memory");
            let before = SOURCE.counts().obtained;
            let mut blocks = 0;
            heap.enter(|| {
                while ALLOC.allocate(layout(1000, 8)).is_ok() {
                    blocks += 1;
                }
            });
            let regions = SOURCE.counts().obtained - before;
            assert!(blocks * 1008 > limit - limit / 16, "{blocks} blocks below {limit}");
            assert!(regions <= 16, "{regions} regions below {limit}");
            // SAFETY: No block is used any more.
            unsafe { heap.destroy() };
        }
    }
}

/// What comes through each source that stands on another, of 300,000 bytes that there are, for from
/// 5,000 to a mebibyte.
#[test]
fn the_whole_range_is_passed_on() {
    const LEFT: usize = 300_000 / 4096 * 4096;
    fn comes<S: MemorySource>(source: S) -> usize {
        let least = layout(5000, 8);
        let Obtained { region, zeroed } = source.obtain_between(least, MIB).expect("memory");
        assert!(zeroed, "maps are zero");
        let fits = layout(region.len(), 8);
        // SAFETY: Just obtained, and not used again; all of a region fits it.
        unsafe { source.release(region, fits) };
        let again = source.obtain_between(least, MIB).expect("what was released");
        assert_eq!(again.region.len(), region.len());
        // SAFETY: As above.
        unsafe { source.release(again.region, fits) };
        region.len()
    }
    let maps = || LimitSource::new(MmapSource::new(), 300_000);
    let limited = maps();
    assert_eq!(comes(&limited), LEFT);
    assert_eq!(limited.held(), 0);
    assert_eq!(comes(Rc::new(maps())), LEFT);
    assert_eq!(comes(Arc::new(maps())), LEFT);
    assert_eq!(comes(CountingSource::new(maps())), LEFT);
    assert_eq!(comes(RefusingSource::never(maps())), LEFT);
    assert_eq!(comes(LimitSource::new(maps(), MIB)), LEFT);
    assert_eq!(comes(FallbackSource::new(region(4000), maps())), LEFT);
    let cache = CachingSource::new(maps());
    let first = cache.obtain_between(layout(5000, 8), MIB).expect("memory");
    assert!(first.zeroed && first.region.len() == LEFT);
    let full = cache.obtain_between(layout(5000, 8), MIB);
    assert_eq!(full, Err(SourceError::LimitReached));
    let arena = ArenaSource::new(MmapSource::new());
    let block = arena.obtain_between(layout(5000, 8), MIB).expect("memory");
    assert_eq!(block.region.len(), 65_536);
    let small = ArenaSource::<_, U4096, U4096>::new_in(MmapSource::new());
    assert_eq!(small.obtain_between(layout(5000, 8), MIB), Err(SourceError::TooLarge));
}

/// Without a method of its own, a source is asked for half of the last length each time.
#[test]
fn the_default_halves() {
    struct Upto(usize, MmapSource);
    // SAFETY: The regions are the maps', passed on as they are.
    unsafe impl MemorySource for Upto {
        const MIN_ALIGN: usize = MmapSource::MIN_ALIGN;
        fn obtain(
            &self,
            layout: context_allocator::NonZeroLayout,
        ) -> Result<std::ptr::NonNull<[u8]>, SourceError> {
            if layout.size() > self.0 { Err(SourceError::Exhausted) } else { self.1.obtain(layout) }
        }
        unsafe fn release(&self, region: std::ptr::NonNull<[u8]>, layout: context_allocator::NonZeroLayout) {
            // SAFETY: The caller's promises; the maps gave the region.
            unsafe { self.1.release(region, layout) };
        }
    }
    let len = |upto: usize, least: usize, preferred: usize| {
        let source = CountingSource::new(Upto(upto, MmapSource::new()));
        let obtained =
            source.obtain_between(layout(least, 8), preferred).map(|obtained| obtained.region.len());
        (obtained, source.counts().obtained)
    };
    assert_eq!(len(MIB, 100, 256 * KIB), (Ok(256 * KIB), 1));
    assert_eq!(len(100 * KIB, 100, 256 * KIB), (Ok(64 * KIB), 1));
    assert_eq!(len(4096, 100, 256 * KIB), (Ok(4096), 1));
    assert_eq!(len(5000, 8192, 256 * KIB), (Err(SourceError::Exhausted), 0));
    assert_eq!(len(MIB, 100, usize::MAX), (Ok(len(MIB, 100, usize::MAX).0.expect("memory")), 1));
}

/// A length need not be a multiple of the alignment: a request that is aligned far beyond its size
/// gets the preferred length.
#[test]
fn a_large_alignment_does_not_shorten_a_region() {
    fn check<S: MemorySource>(source: &S) {
        let least = layout(4096, 1 << 20);
        let region = source.obtain_between(least, 65536).expect("memory").region;
        assert!(region.len() >= 65536 && region.addr().get().is_multiple_of(1 << 20), "{region:?}");
        let fits = layout(region.len(), 1 << 20);
        // SAFETY: Just obtained, and used by nobody.
        unsafe { source.release(region, fits) };
    }
    check(&MmapSource::new());
    check(&CountingSource::new(MmapSource::new()));
    check(&LimitSource::new(MmapSource::new(), 100_000));
    check(&CachingSource::<_, U32>::new_in(MmapSource::new()));
    check(&&LimitSource::new(CountingSource::new(MmapSource::new()), 70_000));
}

/// As much as there is may be asked for, whatever the alignment.
#[test]
fn all_that_there_is_may_be_preferred() {
    fn check<S: MemorySource>(source: &S, align: usize) {
        let obtained = source.obtain_between(layout(1000, align), usize::MAX).expect("memory");
        let fits = NonZeroLayout::from_size_align(obtained.region.len(), align);
        // A region may be longer than a layout with that alignment.
        let fits = fits.unwrap_or_else(|_| layout(1000, align));
        // SAFETY: Just obtained, and used by nobody.
        unsafe { source.release(obtained.region, fits) };
    }
    for align in [1, 8, 65536, 131_072, 16 << 20] {
        check(&MmapSource::new(), align);
        check(&LimitSource::new(MmapSource::new(), 1 << 30), align);
        check(&CountingSource::new(MmapSource::new()), align);
        check(&RecordingSource::new(MmapSource::new()), align);
    }
    check(&PooledSource::new(), 131_072);
}
