//! A source around another forwards every capability of it: each method is the method of the same
//! name, not its default body.

use std::cell::RefCell;
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::Arc;

use crate::support::layout;
use context_allocator::adapt::AllocatorSource;
use context_allocator::alloc::AdjoiningSource;
use context_allocator::error::SourceError;
use context_allocator::size::{U4096, U65536};
use context_allocator::source::{
    CachingSource, CountingSource, Decommit, FallbackSource, LimitSource, Obtained, OwnsRegions,
    PooledSource, RecordingSource, RegionSource, Remapped, RunSource,
};
use context_allocator::testing::RefusingSource;
use context_allocator::{ArenaSource, BumpAllocator, MemorySource, MmapSource, NonZeroLayout};

/// A source of maps that writes down which methods are called.
#[derive(Default)]
struct Calls {
    names: RefCell<Vec<&'static str>>,
    maps: RecordingSource<MmapSource>,
}

impl Calls {
    fn note(&self, name: &'static str) {
        self.names.borrow_mut().push(name);
    }

    fn taken(&self) -> Vec<&'static str> {
        self.names.take()
    }
}

// SAFETY: Each method is that of the maps.
unsafe impl MemorySource for Calls {
    const ZEROED: bool = MmapSource::ZEROED;
    const MIN_ALIGN: usize = MmapSource::MIN_ALIGN;

    fn obtain(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, SourceError> {
        self.note("obtain");
        self.maps.obtain(layout)
    }

    fn obtain_between(&self, least: NonZeroLayout, preferred: usize) -> Result<Obtained, SourceError> {
        self.note("obtain_between");
        self.maps.obtain_between(least, preferred)
    }

    unsafe fn release(&self, region: NonNull<[u8]>, layout: NonZeroLayout) {
        self.note("release");
        // SAFETY: The caller's promises.
        unsafe { self.maps.release(region, layout) };
    }

    unsafe fn remap(
        &self,
        region: NonNull<[u8]>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<Remapped, SourceError> {
        self.note("remap");
        // SAFETY: The caller's promises.
        unsafe { self.maps.remap(region, old, new) }
    }

    fn reclaim(&self, leaving: &mut dyn FnMut(NonNull<[u8]>)) -> usize {
        self.note("reclaim");
        self.maps.reclaim(leaving)
    }

    unsafe fn before_fork(&self) {
        self.note("before_fork");
    }

    unsafe fn after_fork(&self) {
        self.note("after_fork");
    }
}

// SAFETY: The maps tell their own.
unsafe impl OwnsRegions for Calls {
    fn owns(&self, address: NonNull<u8>) -> bool {
        self.maps.owns(address)
    }
}

// SAFETY: Each method is that of the maps.
unsafe impl Decommit for Calls {
    fn decommit_unit(&self) -> usize {
        self.note("decommit_unit");
        self.maps.decommit_unit()
    }

    unsafe fn decommit(&self, range: NonNull<[u8]>) -> Result<(), SourceError> {
        self.note("decommit");
        // SAFETY: The caller's promises.
        unsafe { self.maps.decommit(range) }
    }

    unsafe fn decommit_lazily(&self, range: NonNull<[u8]>) -> Result<(), SourceError> {
        self.note("decommit_lazily");
        // SAFETY: The caller's promises.
        unsafe { self.maps.decommit_lazily(range) }
    }

    unsafe fn take_out(
        &self,
        range: NonNull<[u8]>,
        new: NonZeroLayout,
    ) -> Result<NonNull<[u8]>, SourceError> {
        self.note("take_out");
        // SAFETY: The caller's promises.
        unsafe { self.maps.take_out(range, new) }
    }
}

/// Writes one byte in each page.
fn dirty(region: NonNull<[u8]>) {
    for at in (0..region.len()).step_by(4096) {
        let place = region.cast::<u8>().as_ptr().wrapping_add(at);
        // SAFETY: The region is held and has that many bytes.
        unsafe { place.write(7) };
    }
}

fn byte(region: NonNull<[u8]>, at: usize) -> u8 {
    assert!(at < region.len());
    let place = region.cast::<u8>().as_ptr().wrapping_add(at);
    // SAFETY: The region is held, written or zero, and has that many bytes.
    unsafe { place.read() }
}

/// Uses every method once, but for those that only some sources have.
fn regions<S: MemorySource + OwnsRegions>(source: &S) -> (NonNull<[u8]>, NonZeroLayout) {
    let Obtained { region, .. } = source.obtain_between(layout(5000, 8), 20_000).expect("memory");
    assert!(source.owns(region.cast()));
    let outside = NonNull::from(&0_u8);
    assert!(!source.owns(outside));
    let asked = layout(region.len(), 8);
    dirty(region);
    // SAFETY: The region is held, and all of it fits.
    let Remapped { region, kept, zeroed } =
        unsafe { source.remap(region, asked, layout(100_000, 8)) }.expect("maps are remapped");
    assert!(region.len() >= 100_000 && kept >= asked.size() && zeroed && source.owns(region.cast()));
    assert_eq!((byte(region, 4096), byte(region, kept), byte(region, 99_999)), (7, 0, 0));
    let asked = layout(100_000, 8);
    dirty(region);
    // SAFETY: The region is held, and was asked for with this layout last.
    let smaller = unsafe { source.remap(region, asked, layout(9000, 8)) }.expect("maps are remapped");
    assert!(smaller.kept >= 9000 && byte(smaller.region, 8192) == 7);
    (smaller.region, layout(9000, 8))
}

fn pages<S: Decommit>(source: &S, region: NonNull<[u8]>) {
    let page = NonNull::slice_from_raw_parts(region.cast::<u8>(), source.decommit_unit());
    // SAFETY: The page is part of a region that is held, and not needed.
    unsafe { source.decommit(page) }.expect("maps are decommitted");
    assert_eq!(byte(region, 0), 0);
    // SAFETY: As above.
    unsafe { source.decommit_lazily(page) }.expect("maps are decommitted");
    // SAFETY: The page is part of a region that is held.
    unsafe { region.cast::<u8>().write(9) };
}

fn hooks<S: MemorySource>(source: &S) {
    source.reclaim(&mut |_| ());
    // SAFETY: The call that follows is the other one.
    unsafe { source.before_fork() };
    // SAFETY: This thread just called `before_fork`.
    unsafe { source.after_fork() };
}

/// Every method of a source that gives the regions of `calls` as they are.
#[track_caller]
fn forwards<S: Decommit + OwnsRegions>(calls: &Calls, source: S) {
    calls.taken();
    assert_eq!((S::ZEROED || !Calls::ZEROED, S::SHARES_SLICES), (true, Calls::SHARES_SLICES));
    forwards_all_but_zeros(calls, &source);
    drop(source);
    assert_eq!(calls.maps.regions(), 0, "a region was not released");
}

#[track_caller]
fn forwards_all_but_zeros<S: Decommit + OwnsRegions>(calls: &Calls, source: &S) {
    assert_eq!((S::MIN_ALIGN, S::BLOCK), (Calls::MIN_ALIGN, Calls::BLOCK));
    let (region, asked) = regions(source);
    let called = calls.taken();
    assert!(called.contains(&"obtain_between") && !called.contains(&"obtain"), "{called:?}");
    assert_eq!(called.iter().filter(|&&name| name == "remap").count(), 2, "{called:?}");
    pages(source, region);
    assert_eq!(calls.taken(), ["decommit_unit", "decommit", "decommit_lazily"]);
    let page = NonNull::slice_from_raw_parts(region.cast::<u8>(), 4096);
    // SAFETY: The page is part of a region that is held.
    let taken = unsafe { source.take_out(page, layout(50_000, 8)) };
    assert!(calls.taken().contains(&"take_out"));
    // Kernels before Linux 5.7 cannot.
    if let Ok(taken) = taken {
        assert!(source.owns(taken.cast()) && byte(taken, 0) == 9 && byte(region, 0) == 0);
        // SAFETY: Just made with this layout, and not used again.
        unsafe { source.release(taken, layout(50_000, 8)) };
    }
    // SAFETY: Remapped to this layout, and not used again.
    unsafe { source.release(region, asked) };
    calls.taken();
    hooks(source);
    let hooked: Vec<_> = calls.taken().into_iter().filter(|&name| name != "release").collect();
    assert_eq!(hooked, ["reclaim", "before_fork", "after_fork"]);
}

#[test]
fn sources_forward_every_method() {
    let calls = &Calls::default();
    forwards(calls, calls);
    forwards(calls, Rc::new(calls));
    #[allow(clippy::arc_with_non_send_sync, reason = "one thread is enough to see the calls")]
    forwards(calls, Arc::new(calls));
    forwards(calls, LimitSource::new(calls, usize::MAX));
    forwards(calls, CountingSource::new(calls));
    forwards(calls, RefusingSource::never(calls));
    forwards(calls, RecordingSource::new(calls));
    let cache = CachingSource::new(calls);
    forwards_all_but_zeros(calls, &cache);
    drop(cache);
    assert_eq!(calls.maps.regions(), 0);
}

#[test]
fn a_fallback_forwards_to_the_source_of_the_region() {
    let calls = &Calls::default();
    let nothing = || RecordingSource::new(RefusingSource::from(MmapSource::new(), 0));
    forwards(calls, FallbackSource::new(calls, nothing()));
    forwards(calls, FallbackSource::new(nothing(), calls));
}

#[test]
fn counts_and_limits_are_right_whatever_the_method() {
    let calls = &Calls::default();
    let limit = LimitSource::new(CountingSource::new(calls), 300_000);
    forwards_all_but_zeros(calls, &limit);
    assert_eq!((limit.held(), limit.source().counts().bytes), (0, 0));
    let most = limit.source().counts().most_bytes;
    assert!((102_400..=170_000).contains(&most), "{most}");
    let region = limit.obtain(layout(4096, 8)).expect("memory");
    // SAFETY: The region is held, and was asked for with this layout.
    let beyond = unsafe { limit.remap(region, layout(4096, 8), layout(400_000, 8)) };
    assert_eq!(beyond, Err(SourceError::LimitReached));
    // SAFETY: As above.
    let beyond = unsafe { limit.take_out(region, layout(400_000, 8)) };
    assert_eq!(beyond, Err(SourceError::LimitReached));
    assert_eq!(limit.held(), 4096);
    // SAFETY: As above, and not used again.
    unsafe { limit.release(region, layout(4096, 8)) };
    assert_eq!(limit.held(), 0);
}

/// Sources that cut blocks out of regions know them, and give up pages in them.
#[test]
fn sources_of_blocks_own_and_decommit() {
    let calls = &Calls::default();
    let cuts = |source: &dyn Fn(&Calls)| {
        source(calls);
        assert_eq!(calls.maps.regions(), 0, "a region was not released");
    };
    fn blocks<S: Decommit + OwnsRegions>(calls: &Calls, source: &S) {
        let asked = layout(4096, 8);
        let region = source.obtain(asked).expect("memory");
        assert!(source.owns(region.cast()) && !source.owns(NonNull::from(&0_u8)));
        dirty(region);
        calls.taken();
        pages(source, region);
        assert_eq!(calls.taken(), ["decommit_unit", "decommit", "decommit_lazily"]);
        // SAFETY: Just obtained with this layout, and not used again.
        unsafe { source.release(region, asked) };
        calls.taken();
        hooks(source);
        let hooked = calls.taken();
        assert!(
            ["reclaim", "before_fork", "after_fork"].iter().all(|name| hooked.contains(name)),
            "{hooked:?}"
        );
    }
    cuts(&|calls| blocks(calls, &ArenaSource::<_, U4096, U65536>::new_in(calls)));
    cuts(&|calls| blocks(calls, &RunSource::new(calls)));
    let pool = PooledSource::new();
    let region = pool.obtain(layout(65_536, 8)).expect("memory");
    dirty(region);
    pages(&pool, region);
    // SAFETY: Just obtained with this layout, and not used again.
    unsafe { pool.release(region, layout(65_536, 8)) };
    let bumped = AllocatorSource::new(BumpAllocator::new(calls));
    let region = bumped.obtain(layout(100, 8)).expect("memory");
    assert!(bumped.owns(region.cast()) && !bumped.owns(NonNull::from(&0_u8)));
}

/// Near memory first: maps with a limit, and arenas of them, know their regions once they are
/// recorded.
#[test]
fn near_maps_come_first() {
    let near = RecordingSource::new(LimitSource::new(MmapSource::new(), 100_000));
    let source = FallbackSource::new(near, CountingSource::new(MmapSource::new()));
    let asked = layout(4096, 8);
    let held: Vec<_> = (0..100).map(|_| source.obtain(asked).expect("memory")).collect();
    let inside = held.iter().filter(|region| source.first().owns(region.cast())).count();
    // The table takes a page of the 24.
    assert_eq!((inside, source.first().regions(), source.second().counts().obtained), (23, 23, 77));
    for region in held {
        // SAFETY: Obtained with this layout above, and not used again.
        unsafe { source.release(region, asked) };
    }
    assert_eq!((source.first().regions(), source.second().counts().bytes), (0, 0));
    let near = ArenaSource::<_, U4096, U65536>::new_in(RecordingSource::new(LimitSource::new(
        MmapSource::new(),
        150_000,
    )));
    let source = FallbackSource::new(near, CountingSource::new(MmapSource::new()));
    let held: Vec<_> = (0..100).map(|_| source.obtain(asked).expect("memory")).collect();
    assert_eq!(source.second().counts().obtained, 100 - 32);
    for region in held {
        // SAFETY: Obtained with this layout above, and not used again.
        unsafe { source.release(region, asked) };
    }
    assert_eq!(source.second().counts().bytes, 0);
}

/// The table grows, shrinks and moves with thousands of regions, on several threads, and is
/// released.
#[test]
fn a_table_of_many_regions() {
    let source = RecordingSource::new(LimitSource::new(MmapSource::new(), usize::MAX));
    let asked = layout(4096, 8);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let source = &source;
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(thread);
                let mut held = Vec::new();
                for _ in 0..3000 {
                    if random.u8(..) < 100 && !held.is_empty() {
                        let region: NonNull<[u8]> = held.swap_remove(random.usize(..held.len()));
                        assert!(source.owns(region.cast()));
                        // SAFETY: Obtained with this layout below, and not used again.
                        unsafe { source.release(region, asked) };
                    } else {
                        held.push(source.obtain(asked).expect("memory"));
                    }
                }
                for region in held {
                    assert!(source.owns(region.cast()));
                    // SAFETY: Obtained with this layout above, and not used again.
                    unsafe { source.release(region, asked) };
                }
            });
        }
    });
    assert_eq!(source.regions(), 0);
    assert!(source.source().held() <= 1 << 18, "the table takes {} bytes", source.source().held());
}

#[test]
fn recorded_sources_conform() {
    crate::support::conformance::source(|| RecordingSource::new(MmapSource::new()), 1 << 20);
    crate::support::conformance::forwarded_source(|| RecordingSource::new(MmapSource::new()), 1 << 16);
    let arena = || RecordingSource::new(ArenaSource::new(MmapSource::new()));
    crate::support::conformance::source(arena, 65_536);
    // The only region there is: none is left for the table.
    let region = RegionSource::new(Vec::leak(vec![std::mem::MaybeUninit::uninit(); 5000]));
    let recorded = RecordingSource::new(&region);
    assert!(recorded.obtain(layout(100, 8)).is_err());
    assert!(region.obtain(layout(100, 8)).is_ok(), "what could not be recorded was given back");
}

const fn adjoins<S: AdjoiningSource>() {}

const _: () = {
    adjoins::<&MmapSource>();
    adjoins::<Rc<MmapSource>>();
    adjoins::<Arc<MmapSource>>();
    adjoins::<LimitSource<MmapSource>>();
    adjoins::<CountingSource<MmapSource>>();
    adjoins::<CachingSource<MmapSource>>();
    adjoins::<RefusingSource<MmapSource>>();
    adjoins::<RecordingSource<MmapSource>>();
};
