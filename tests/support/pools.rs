//! Pools of slices: a source under them that checks and refuses, regions that check themselves, and
//! what the kernel says.

use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use context_allocator::error::SourceError;
use context_allocator::size::BlockSize;
use context_allocator::source::SLICE;
use context_allocator::source::{Decommit, Obtained, Remapped, RunSource};
use context_allocator::{MemorySource, MmapSource, NonZeroLayout};

use super::layout;
use super::pattern::bytes;

/// Memory maps that are counted, and that can be told to refuse.
#[derive(Debug, Default)]
pub struct Checked {
    pub maps: MmapSource,
    pub held: Mutex<BTreeMap<usize, usize>>,
    pub requests: AtomicUsize,
    /// Requests from this one on are refused.
    pub refuse_from: AtomicUsize,
    pub refuse_decommit: AtomicBool,
    pub decommits: AtomicUsize,
    pub decommitted: AtomicUsize,
}

impl Checked {
    pub fn new() -> Self {
        Self { refuse_from: AtomicUsize::new(usize::MAX), ..Self::default() }
    }

    pub fn held(&self) -> usize {
        self.held.lock().unwrap().values().sum()
    }

    pub fn refuses(&self) -> bool {
        self.requests.fetch_add(1, Relaxed) >= self.refuse_from.load(Relaxed)
    }
}

// SAFETY: Every call goes to the memory maps.
unsafe impl MemorySource for Checked {
    const ZEROED: bool = true;
    const MIN_ALIGN: usize = 4096;

    fn obtain(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, SourceError> {
        if self.refuses() {
            return Err(SourceError::Exhausted);
        }
        let region = self.maps.obtain(layout)?;
        self.held.lock().unwrap().insert(region.cast::<u8>().addr().get(), region.len());
        Ok(region)
    }

    unsafe fn release(&self, region: NonNull<[u8]>, layout: NonZeroLayout) {
        let len = self.held.lock().unwrap().remove(&region.cast::<u8>().addr().get());
        assert!(
            len.is_some_and(|len| region.len() <= len && layout.size() <= len),
            "no region of this source"
        );
        // SAFETY: The caller's promises.
        unsafe { self.maps.release(region, layout) };
    }

    unsafe fn remap(
        &self,
        region: NonNull<[u8]>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<Remapped, SourceError> {
        if self.refuses() {
            return Err(SourceError::Exhausted);
        }
        let mut held = self.held.lock().unwrap();
        // SAFETY: The caller's promises.
        let moved = unsafe { self.maps.remap(region, old, new) }?;
        assert!(held.remove(&region.cast::<u8>().addr().get()).is_some());
        held.insert(moved.region.cast::<u8>().addr().get(), moved.region.len());
        Ok(moved)
    }
}

// SAFETY: Every call goes to the memory maps.
unsafe impl Decommit for Checked {
    fn decommit_unit(&self) -> usize {
        self.maps.decommit_unit()
    }

    unsafe fn decommit(&self, range: NonNull<[u8]>) -> Result<(), SourceError> {
        self.decommits.fetch_add(1, Relaxed);
        if self.refuse_decommit.load(Relaxed) {
            return Err(SourceError::Unsupported);
        }
        let (start, len) = (range.cast::<u8>().addr().get(), range.len());
        let held = self.held.lock().unwrap();
        let region = held.range(..=start).next_back().expect("some region begins before");
        assert!(start + len <= region.0 + region.1, "decommits part of no region");
        self.decommitted.fetch_add(len, Relaxed);
        // SAFETY: The caller's promises.
        unsafe { self.maps.decommit(range) }
    }

    unsafe fn take_out(
        &self,
        range: NonNull<[u8]>,
        new: NonZeroLayout,
    ) -> Result<NonNull<[u8]>, SourceError> {
        if self.refuses() {
            return Err(SourceError::Exhausted);
        }
        // SAFETY: The caller's promises.
        let region = unsafe { self.maps.take_out(range, new) }?;
        // SAFETY: The range is held, and nobody else's.
        let left = unsafe { bytes(range.cast(), range.len()) };
        assert!(left.iter().all(|&byte| byte == 0));
        self.held.lock().unwrap().insert(region.cast::<u8>().addr().get(), region.len());
        Ok(region)
    }

    unsafe fn decommit_lazily(&self, range: NonNull<[u8]>) -> Result<(), SourceError> {
        // SAFETY: The caller's promises.
        unsafe { self.maps.decommit_lazily(range) }
    }
}

/// A region of a pool that is released when it is dropped; both ends of each slice are written.
pub struct Run<'a, S: Decommit, C: BlockSize> {
    pub pool: &'a RunSource<S, C>,
    pub layout: NonZeroLayout,
    pub region: NonNull<[u8]>,
    pub stamp: u64,
}

impl<'a, S: Decommit, C: BlockSize> Run<'a, S, C> {
    pub fn obtain(pool: &'a RunSource<S, C>, layout: NonZeroLayout, stamp: u64) -> Result<Self, SourceError> {
        let Obtained { region, zeroed } = pool.obtain_between(layout, layout.size())?;
        assert_eq!(region.len(), layout.size().next_multiple_of(SLICE));
        assert!(region.cast::<u8>().addr().get().is_multiple_of(layout.align().max(SLICE)));
        if zeroed {
            // SAFETY: Just obtained; zeroed memory is initialised.
            let contents = unsafe { bytes(region.cast(), region.len()) };
            assert!(contents.iter().all(|&byte| byte == 0), "a region said to be zero is not");
        }
        let run = Self { pool, layout, region, stamp };
        run.write_from(0);
        Ok(run)
    }

    pub fn slices(&self) -> usize {
        self.region.len() / SLICE
    }

    pub fn start(&self) -> usize {
        self.region.cast::<u8>().addr().get()
    }

    pub fn ends(&self, slice: usize) -> [NonNull<u64>; 2] {
        [slice * SLICE, (slice + 1) * SLICE - 8]
            // SAFETY: The word lies in the region.
            .map(|offset| unsafe { self.region.cast::<u8>().add(offset) }.cast())
    }

    pub fn write_from(&self, slice: usize) {
        for slice in slice..self.slices() {
            for word in self.ends(slice) {
                // SAFETY: The word lies in the region, which is held.
                unsafe { word.write_volatile(self.stamp + slice as u64) };
            }
        }
    }

    pub fn check(&self, slices: usize) {
        for slice in 0..slices {
            for word in self.ends(slice) {
                // SAFETY: The word lies in the region, which is held, and was written.
                assert_eq!(unsafe { word.read_volatile() }, self.stamp + slice as u64);
            }
        }
    }

    pub fn resize(&mut self, new: NonZeroLayout) -> Result<(), SourceError> {
        let old = self.slices();
        // SAFETY: The region is held with this layout, and is this one's alone.
        let moved = unsafe { self.pool.remap(self.region, self.layout, new) }?;
        self.region = moved.region;
        self.layout = new;
        assert_eq!(moved.kept, old.min(self.slices()) * SLICE);
        self.check(old.min(self.slices()));
        self.write_from(old);
        Ok(())
    }
}

impl<S: Decommit, C: BlockSize> Drop for Run<'_, S, C> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.check(self.slices());
        }
        // SAFETY: The region is held with this layout, and this is its end.
        unsafe { self.pool.release(self.region, self.layout) };
    }
}

/// Pools with a thread are looked at one at a time.
pub fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many threads of pools there are.
pub fn purgers() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").expect("proc is there");
    tasks
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .filter(|name| name.trim() == "slice-purger")
        .count()
}

/// Waits for something, for at most ten seconds; how long it took.
pub fn until(what: &str, mut done: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(10), "{what} does not happen");
        sleep(Duration::from_millis(2));
    }
    start.elapsed()
}

/// How many bytes of a range have memory, as the kernel sees it.
pub fn resident(start: usize, len: usize) -> usize {
    let mut pages = vec![0_u8; len.div_ceil(4096)];
    let start = std::ptr::without_provenance_mut(start);
    // SAFETY: The kernel looks at its index of the range, and writes a byte for each page.
    let outcome = unsafe { libc::mincore(start, len, pages.as_mut_ptr()) };
    assert_eq!(outcome, 0);
    pages.iter().filter(|&&page| page & 1 == 1).count() * 4096
}

/// Takes that many slices, writes to every page, and gives them back; where they were.
pub fn use_slices<S: Decommit>(pool: &RunSource<S>, slices: usize) -> usize {
    let run = Run::obtain(pool, layout(slices * SLICE, 1), 0).unwrap();
    // SAFETY: The region is held.
    unsafe { run.region.cast::<u8>().write_bytes(1, slices * SLICE) };
    run.write_from(0);
    assert_eq!(resident(run.start(), slices * SLICE), slices * SLICE);
    run.start()
}
