//! A source that knows the regions of another.
//!
//! ```text
//!   table, a region of the same source     +-------+-------+-------+- - - - - -+
//!   sorted by address, each once           | range | range | range |   room    |
//!                                          +-------+-------+-------+- - - - - -+
//!                                          0                    len       capacity
//! ```
//!
//! Always: each region that is held of this source is in the table, and nothing else, but for one
//! that is being remapped, for which a place is reserved. The source behind is never called under
//! the table's lock.

use core::fmt;
use core::ptr::NonNull;

use super::through::{pass_on_decommit, pass_on_kept};
use super::{Decommit, MemorySource, Obtained, OwnsRegions, Remapped};
use crate::error::SourceError;
use crate::layout::NonZeroLayout;
use crate::misuse::end_process;
use crate::ptr;
use crate::sync::{Guarded, const_fn};

/// A source that records the regions of another, so that it [knows](OwnsRegions) them.
///
/// For near memory first, and memory from anywhere when that is used up: the first source of a
/// [`FallbackSource`](crate::source::FallbackSource) must know its regions, which a source of
/// memory maps alone does not.
///
/// The regions are recorded in a table that is itself a region of the source, of whole KiB; it
/// doubles when it is full. To obtain and to release take a lock, steps in proportion to the
/// logarithm of the number of regions, and a move of 16 bytes for each region above. The table is
/// released with this source. It has 16 bytes for each region and is no longer than the longest
/// region of the source, so that over an arena of blocks of 64 KiB at most 4,096 regions are
/// recorded; beyond that the source refuses. A region that is released though it is not held ends
/// the process.
///
/// # Examples
/// ```
/// use context_allocator::{Allocator, BumpAllocator, MmapSource, NonZeroLayout};
/// use context_allocator::source::{FallbackSource, LimitSource, NumaPolicy, RecordingSource};
///
/// let policy = NumaPolicy::preferred(MmapSource::current_node()?).or_default();
/// let near = LimitSource::new(MmapSource::builder().numa(policy).build(), 1 << 20);
/// let source = FallbackSource::new(RecordingSource::new(near), MmapSource::new());
/// let allocator = BumpAllocator::new(source);
/// let quarter = NonZeroLayout::from_size_align(1 << 18, 8)?;
/// for _ in 0..8 {
///     allocator.allocate(quarter)?;
/// }
/// assert!(allocator.source().first().regions() > 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct RecordingSource<S: MemorySource> {
    source: S,
    table: Guarded<Table>,
}

/// Where a region starts and how long it is.
#[derive(Clone, Copy, Debug)]
struct Range {
    start: usize,
    len: usize,
}

/// What the lock guards: `len` ranges, by address, with room for `capacity`, of which `reserved`
/// are promised.
struct Table {
    ranges: NonNull<Range>,
    region_len: usize,
    len: usize,
    capacity: usize,
    reserved: usize,
}

// SAFETY: The table belongs to the source, not to a thread.
unsafe impl Send for Table {}

/// The smallest table in bytes.
const FIRST: usize = 1024;
const RANGE: usize = size_of::<Range>();

/// The layout that a table of `bytes` bytes is asked for with.
fn layout_of(bytes: usize) -> Result<NonZeroLayout, SourceError> {
    Ok(NonZeroLayout::from_size_align(bytes, align_of::<Range>())?)
}

impl Table {
    const EMPTY: Self = Self { ranges: NonNull::dangling(), region_len: 0, len: 0, capacity: 0, reserved: 0 };

    /// A table in a region, with nothing in it.
    const fn new(region: NonNull<[u8]>) -> Self {
        let region_len = region.len();
        Self { ranges: region.cast(), region_len, len: 0, capacity: region_len / RANGE, reserved: 0 }
    }

    fn ranges(&self) -> &[Range] {
        // SAFETY: The first `len` places are filled, in memory that only this table uses.
        unsafe { NonNull::slice_from_raw_parts(self.ranges, self.len).as_ref() }
    }

    fn has_room(&self) -> bool {
        self.len + self.reserved < self.capacity
    }

    /// Where in the table the range is, or would be, that starts at an address.
    fn place(&self, start: usize) -> Result<usize, usize> {
        self.ranges().binary_search_by_key(&start, |range| range.start)
    }

    fn at(&self, place: usize) -> *mut Range {
        ptr::up(self.ranges.as_ptr(), place * RANGE)
    }

    /// Enters a range that is not in; there is room.
    fn insert(&mut self, range: Range) {
        debug_assert!(self.len < self.capacity);
        let (Ok(place) | Err(place)) = self.place(range.start);
        let (from, to) = (self.at(place), self.at(place + 1));
        // SAFETY: The ranges from `place` on are filled, and there is room for one more behind
        // them.
        unsafe { from.copy_to(to, self.len - place) };
        // SAFETY: The place is in the table, and what was there has moved up.
        unsafe { from.write(range) };
        self.len += 1;
    }

    /// Takes out the range that starts at an address.
    fn remove(&mut self, start: usize) -> Option<Range> {
        let place = self.place(start).ok()?;
        let range = *self.ranges().get(place)?;
        let (to, from) = (self.at(place), self.at(place + 1));
        // SAFETY: The ranges from `place + 1` on are filled.
        unsafe { from.copy_to(to, self.len - place - 1) };
        self.len -= 1;
        Some(range)
    }

    fn covers(&self, address: usize) -> bool {
        let above = self.ranges().partition_point(|range| range.start <= address);
        let below = above.checked_sub(1).and_then(|below| self.ranges().get(below));
        below.is_some_and(|range| address - range.start < range.len)
    }

    /// Moves everything to a larger table; returns what this one was.
    fn move_to(&mut self, mut larger: Self) -> Self {
        // SAFETY: The larger one has room for all ranges, and is another region.
        unsafe { larger.ranges.copy_from_nonoverlapping(self.ranges, self.len) };
        (larger.len, larger.reserved) = (self.len, self.reserved);
        core::mem::replace(self, larger)
    }
}

impl<S: MemorySource> RecordingSource<S> {
    const_fn! {
        /// Records the regions that `source` gives from now on.
        pub fn new(source: S) -> Self {
            Self { source, table: Guarded::new(Table::EMPTY) }
        }
    }

    /// How many regions are held at this moment.
    pub fn regions(&self) -> usize {
        self.table.lock().len
    }

    /// The source behind it.
    pub const fn source(&self) -> &S {
        &self.source
    }

    /// Enters a region that was just obtained, or gives it back if the table cannot grow.
    fn record(&self, region: NonNull<[u8]>, asked: NonZeroLayout) -> Result<(), SourceError> {
        let range = Range { start: region.addr().get(), len: region.len() };
        let outcome = self.with_room(|table| table.insert(range));
        if outcome.is_err() {
            // SAFETY: Just obtained, with a layout that fits; nobody has seen it.
            unsafe { self.source.release(region, asked) };
        }
        outcome
    }

    /// Runs `f` with a table that has room for one more.
    fn with_room(&self, f: impl FnOnce(&mut Table)) -> Result<(), SourceError> {
        let mut spare = Table::EMPTY;
        loop {
            let mut table = self.table.lock();
            if !table.has_room() && spare.capacity > table.capacity {
                spare = table.move_to(spare);
            }
            if table.has_room() {
                f(&mut table);
                drop(table);
                self.release_table(&spare);
                return Ok(());
            }
            let wanted = (table.region_len * 2).max(FIRST);
            drop(table);
            self.release_table(&spare);
            // One more range than there is room for will do, where memory is short.
            let least = layout_of(wanted.min(wanted / 2 + FIRST))?;
            spare = Table::new(self.source.obtain_between(least, wanted)?.region);
        }
    }

    /// Releases the memory of a table that is not used any more.
    fn release_table(&self, table: &Table) {
        if table.region_len > 0
            && let Ok(layout) = layout_of(table.region_len)
        {
            // SAFETY: The table's region was obtained with that alignment, all of it fits, and
            // nobody uses it.
            unsafe { self.source.release(ptr::bytes(table.ranges.cast(), table.region_len), layout) };
        }
    }

    /// Takes a region that is held out of the table.
    fn strike(&self, table: &mut Table, start: usize) -> Range {
        match table.remove(start) {
            Some(range) => range,
            None => end_process("a region was released that is not held of this source", start),
        }
    }
}

// SAFETY: Regions are those of the source behind, passed on as they are. It gives up `BLOCK`: the
// table may lie in a slice that has blocks.
unsafe impl<S: MemorySource> MemorySource for RecordingSource<S> {
    const ZEROED: bool = S::ZEROED;
    const MIN_ALIGN: usize = S::MIN_ALIGN;
    const MAX_REGION: usize = S::MAX_REGION;
    const SHARES_SLICES: bool = S::SHARES_SLICES || S::BLOCK != 0;

    fn obtain(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, SourceError> {
        let region = self.source.obtain(layout)?;
        self.record(region, layout)?;
        Ok(region)
    }

    fn obtain_between(&self, least: NonZeroLayout, preferred: usize) -> Result<Obtained, SourceError> {
        let obtained = self.source.obtain_between(least, preferred)?;
        self.record(obtained.region, NonZeroLayout::of_region(obtained.region.len(), least.align())?)?;
        Ok(obtained)
    }

    unsafe fn release(&self, region: NonNull<[u8]>, layout: NonZeroLayout) {
        // The table comes first: once released, the same address may be obtained on another thread.
        self.strike(&mut self.table.lock(), region.addr().get());
        // SAFETY: The caller's promises; every region came from the source behind.
        unsafe { self.source.release(region, layout) };
    }

    unsafe fn remap(
        &self,
        region: NonNull<[u8]>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<Remapped, SourceError> {
        let mut table = self.table.lock();
        let range = self.strike(&mut table, region.addr().get());
        table.reserved += 1;
        drop(table);
        // SAFETY: The caller's promises; the region came from the source behind.
        let remapped = unsafe { self.source.remap(region, old, new) };
        let range = match remapped {
            Ok(Remapped { region, .. }) => Range { start: region.addr().get(), len: region.len() },
            Err(_) => range,
        };
        let mut table = self.table.lock();
        table.reserved -= 1;
        table.insert(range);
        remapped
    }

    pass_on_kept!(source);

    unsafe fn before_fork(&self) {
        self.table.hold_for_fork();
        // SAFETY: The caller's promises, for the source behind.
        unsafe { self.source.before_fork() };
    }

    unsafe fn after_fork(&self) {
        // SAFETY: The call that the caller promises went to the source behind.
        unsafe { self.source.after_fork() };
        // SAFETY: The call that the caller promises held the lock.
        unsafe { self.table.release_after_fork() };
    }
}

// SAFETY: The table has the regions that are held, and no others.
unsafe impl<S: MemorySource> OwnsRegions for RecordingSource<S> {
    fn owns(&self, address: NonNull<u8>) -> bool {
        self.table.lock().covers(address.addr().get())
    }
}

// SAFETY: The source behind holds the regions; one that it makes is recorded.
unsafe impl<S: Decommit> Decommit for RecordingSource<S> {
    pass_on_decommit!(self => self.source);

    unsafe fn take_out(
        &self,
        range: NonNull<[u8]>,
        new: NonZeroLayout,
    ) -> Result<NonNull<[u8]>, SourceError> {
        self.with_room(|table| table.reserved += 1)?;
        // SAFETY: The source behind holds the region; the caller promises the rest.
        let taken = unsafe { self.source.take_out(range, new) };
        let mut table = self.table.lock();
        table.reserved -= 1;
        if let Ok(region) = taken {
            table.insert(Range { start: region.addr().get(), len: region.len() });
        }
        taken
    }
}

impl<S: MemorySource + Default> Default for RecordingSource<S> {
    fn default() -> Self {
        Self::new(S::default())
    }
}

impl<S: MemorySource> Drop for RecordingSource<S> {
    /// Releases the table.
    fn drop(&mut self) {
        let table = core::mem::replace(&mut *self.table.lock(), Table::EMPTY);
        self.release_table(&table);
    }
}

impl<S: MemorySource + fmt::Debug> fmt::Debug for RecordingSource<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordingSource")
            .field("source", &self.source)
            .field("regions", &self.regions())
            .finish()
    }
}
