//! Objects too large for a tier's allocator.
//!
//! Each has a region of whole slices of its own, from [`Policy::LARGE`](super::Policy::LARGE), and counts as a block of the heap that made it:
//!
//! ```text
//!   region (whole slices)
//!   +--------+- - -+---------------------------+
//!   | record |     |          object           |
//!   +--------+- - -+---------------------------+
//!   0        64    a multiple of the alignment
//! ```
//!
//! The owner map's entry of the slice in which the object starts leads to the record; further slices have none. The records of a heap form a list, so that
//! destroying a heap finds them.
//!
//! Regions up to 4 MiB that objects leave are kept for the next ones of their class, up to
//! [`Policy::LARGE_CACHE`](super::Policy::LARGE_CACHE) bytes in all: their pages are there already, which costs more to get than
//! anything else here. Classes are whole numbers of slices, four to a doubling beyond eight. Lists and cache are under one lock.

use core::cell::Cell;
use core::ptr::{NonNull, null_mut};

use super::control::Shared;
use super::owner_map::{Entry, OwnerMap};
use crate::source::SLICE;
use crate::sync::Guarded;
use crate::{MemorySource, NonZeroLayout, SourceError, ptr};

/// What the region of a large object begins with.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Record {
    pub(crate) control: NonNull<Shared>,
    next: Cell<*mut Record>,
    previous: Cell<*mut Record>,
    /// Length of the region in bytes.
    region: usize,
    /// Alignment of the region in bytes.
    align: usize,
    /// Bytes from the region's start to the object.
    offset: usize,
    /// Bytes charged to the heap.
    charged: usize,
    /// Whether the object's bytes were zero when it was made.
    pub(crate) zeroed: bool,
}

const RECORD: usize = size_of::<Record>();

impl Record {
    /// Bytes from the object's start to the end of the region.
    pub(crate) fn capacity(&self) -> usize {
        self.region - self.offset
    }
}

/// What large objects are made of: a source, the map to enter them in, and how many bytes of what they leave may be kept.
pub(crate) struct LargeMemory<S: 'static> {
    pub(crate) source: &'static S,
    pub(crate) owners: &'static OwnerMap,
    pub(crate) keep: usize,
}

/// The lists of large objects, and the regions that wait for the next ones.
#[derive(Debug)]
pub(crate) struct LargeObjects {
    cache: Guarded<Cache>,
}

/// Regions that no object lies in, linked through their records' `next`, by class.
#[derive(Debug)]
struct Cache {
    bins: [*mut Record; BINS],
    bytes: usize,
}

// SAFETY: The regions in the cache belong to it, not to a thread.
unsafe impl Send for Cache {}

/// The largest class, in slices.
const LARGEST_CLASS: usize = 64;
/// One class for each number of slices up to this, then four for each doubling.
const FINE_CLASSES: usize = 8;
const BINS: usize = FINE_CLASSES + 4 * (LARGEST_CLASS / FINE_CLASSES).ilog2() as usize;

/// The class for `slices` slices: its bin, and how many slices its regions have.
const fn class(slices: usize) -> Option<(usize, usize)> {
    if slices <= FINE_CLASSES {
        return Some((slices - 1, slices));
    }
    if slices > LARGEST_CLASS {
        return None;
    }
    // `slices` lies above 2^top and at most at twice that, in one of four steps.
    let top = (slices - 1).ilog2();
    let step = 1 << (top - 2);
    let steps = (slices - (1 << top)).div_ceil(step);
    Some((FINE_CLASSES + 4 * (top as usize - 3) + steps - 1, (1 << top) + steps * step))
}

impl LargeObjects {
    crate::sync::const_fn! {
        pub(crate) fn new() -> Self {
            Self { cache: Guarded::new(Cache { bins: [null_mut(); BINS], bytes: 0 }) }
        }
    }

    /// Makes a large object for a heap.
    pub(crate) fn obtain<S: MemorySource>(
        &self,
        memory: &LargeMemory<S>,
        heap: NonNull<Shared>,
        layout: NonZeroLayout,
    ) -> Result<NonNull<u8>, SourceError> {
        // SAFETY: A control block is never unmapped.
        let shared = unsafe { heap.as_ref() };
        let offset = layout.align().max(RECORD);
        let size = layout.size().checked_add(offset).ok_or(SourceError::TooLarge)?;
        let mut whole = size.checked_next_multiple_of(SLICE).ok_or(SourceError::TooLarge)?;
        let align = layout.align().max(SLICE);
        let class = if align == SLICE { class(whole / SLICE) } else { None };
        if let Some((_, slices)) = class {
            whole = slices * SLICE;
        }
        let asked = NonZeroLayout::from_size_align(whole, align)?;
        if !shared.charge(whole) {
            return Err(SourceError::LimitReached);
        }
        let cached = class.and_then(|(bin, _)| self.cache.lock().pop(bin));
        let (start, region) = match cached {
            Some((start, region)) => (start, region),
            None => {
                let region = memory.source.obtain(asked).inspect_err(|_| shared.refund(whole))?;
                (region.cast::<u8>(), region.len())
            }
        };
        let record = start.cast::<Record>();
        let object = ptr::up(start.as_ptr(), offset);
        if let Err(error) = memory.owners.enter(slice_of(object), Entry::large(record)) {
            shared.refund(whole);
            // SAFETY: Just obtained with this layout, or taken from the cache; nobody else knows of it.
            unsafe { memory.source.release(ptr::bytes(start, region), asked) };
            return Err(error);
        }
        let cache = self.cache.lock();
        let next = shared.large.get();
        let new = Record {
            control: heap,
            next: Cell::new(next),
            previous: Cell::new(null_mut()),
            region,
            align,
            offset,
            charged: whole,
            zeroed: S::ZEROED && cached.is_none(),
        };
        // SAFETY: The region is ours and begins with room for the record.
        unsafe { record.write(new) };
        if let Some(next) = NonNull::new(next) {
            // SAFETY: What is on the list is a record, whose links are used only under the lock, which is held.
            unsafe { next.as_ref() }.previous.set(record.as_ptr());
        }
        shared.large.set(record.as_ptr());
        drop(cache);
        NonNull::new(object).ok_or(SourceError::AddressOutOfRange)
    }

    /// Gives a large object back; the caller counts it. Its region may be kept.
    ///
    /// # Safety
    /// The record is that of an object which nobody uses any more.
    pub(crate) unsafe fn release<S: MemorySource>(&self, memory: &LargeMemory<S>, record: NonNull<Record>) {
        let (control, offset, charged) = {
            // SAFETY: The record is alive until its region is released below; all but its links is never changed.
            let record = unsafe { record.as_ref() };
            (record.control, record.offset, record.charged)
        };
        memory.owners.leave(slice_of(ptr::up(record.as_ptr(), offset)));
        // SAFETY: A control block is never unmapped.
        let shared = unsafe { control.as_ref() };
        shared.refund(charged);
        let mut cache = self.cache.lock();
        let (next, previous) = {
            // SAFETY: The record is alive; its links are used only under the lock, which is held.
            let record = unsafe { record.as_ref() };
            (record.next.get(), record.previous.get())
        };
        match NonNull::new(previous) {
            // SAFETY: The neighbours of a record on the list are records on the list.
            Some(previous) => unsafe { previous.as_ref() }.next.set(next),
            None => shared.large.set(next),
        }
        if let Some(next) = NonNull::new(next) {
            // SAFETY: As above.
            unsafe { next.as_ref() }.previous.set(previous);
        }
        // SAFETY: The record is off the list, and its object is not used any more.
        let kept = unsafe { cache.push(record, memory.keep) };
        drop(cache);
        if !kept {
            // SAFETY: The record is off the list and not in the cache.
            unsafe { release_region(memory.source, record) };
        }
    }

    /// Gives the regions in the cache back to their source; gives the number of their bytes.
    pub(crate) fn trim<S: MemorySource>(&self, memory: &LargeMemory<S>) -> usize {
        let mut bytes = 0;
        for bin in 0..BINS {
            loop {
                let popped = self.cache.lock().pop(bin);
                let Some((start, region)) = popped else { break };
                bytes += region;
                // SAFETY: The region was in the cache, so its record is whole, on no list, and nobody uses it.
                unsafe { release_region(memory.source, start.cast()) };
            }
        }
        bytes
    }

    /// Bytes of the regions in the cache.
    pub(crate) fn cached(&self) -> usize {
        self.cache.lock().bytes
    }

    /// Gives all large objects of a heap back.
    ///
    /// # Safety
    /// Nobody uses any of them, nor frees one meanwhile.
    pub(crate) unsafe fn release_all<S: MemorySource>(&self, memory: &LargeMemory<S>, shared: &Shared) {
        loop {
            let cache = self.cache.lock();
            let first = NonNull::new(shared.large.get());
            drop(cache);
            let Some(record) = first else { return };
            // SAFETY: The record is on the heap's list, and the caller promises that nobody uses its object.
            unsafe { self.release(memory, record) };
        }
    }

    pub(crate) fn before_fork(&self) {
        self.cache.hold_for_fork();
    }

    /// # Safety
    /// As [`Guarded::release_after_fork`].
    pub(crate) unsafe fn after_fork(&self) {
        // SAFETY: The caller's promises.
        unsafe { self.cache.release_after_fork() };
    }
}

fn slice_of<T>(object: *mut T) -> usize {
    object.addr() & !(SLICE - 1)
}

impl Cache {
    /// Takes a region of that bin: its start and its length.
    fn pop(&mut self, bin: usize) -> Option<(NonNull<u8>, usize)> {
        let record = NonNull::new(self.bins[bin])?;
        // SAFETY: What is in the cache are records of regions that it owns.
        let Record { next, region, .. } = unsafe { record.as_ref() };
        self.bins[bin] = next.get();
        self.bytes -= region;
        Some((record.cast(), *region))
    }

    /// Keeps a region, unless it has no class or there would be more than `keep` bytes; whether it did.
    ///
    /// # Safety
    /// The record is on no list, and nobody uses its object.
    unsafe fn push(&mut self, record: NonNull<Record>, keep: usize) -> bool {
        // SAFETY: The record is the caller's alone.
        let Record { next, region, align, charged, .. } = unsafe { record.as_ref() };
        let class = if *align == SLICE { class(charged / SLICE) } else { None };
        let Some((bin, _)) = class else { return false };
        if self.bytes + region > keep {
            return false;
        }
        self.bytes += region;
        next.set(core::mem::replace(&mut self.bins[bin], record.as_ptr()));
        true
    }
}

/// Releases a region.
///
/// # Safety
/// The record is on no list, and nobody uses its object.
unsafe fn release_region<S: MemorySource>(source: &S, record: NonNull<Record>) {
    // SAFETY: The record lies in its region, which is ours still.
    let &Record { region, align, .. } = unsafe { record.as_ref() };
    if let Ok(layout) = NonZeroLayout::from_size_align(region, align) {
        // SAFETY: The region was obtained with this alignment and has this length; nobody uses it.
        unsafe { source.release(ptr::bytes(record.cast(), region), layout) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_hold_what_they_are_for_and_rise() {
        let mut last = (0, 1);
        for slices in 1..=LARGEST_CLASS {
            let (bin, size) = class(slices).unwrap();
            assert!(size >= slices && size * 4 <= slices * 5 + 3, "{slices} in {size}");
            assert!(bin == last.0 && size == last.1 || bin == last.0 + 1 && size > last.1, "{slices}");
            assert_eq!(class(size), Some((bin, size)));
            last = (bin, size);
        }
        assert_eq!(last, (BINS - 1, LARGEST_CLASS));
        assert_eq!(class(LARGEST_CLASS + 1), None);
    }
}
