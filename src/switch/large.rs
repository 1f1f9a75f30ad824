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
//! The owner map's entry of the slice in which the object starts leads to the record. The records of a heap form a list, so that
//! destroying a heap finds them; the lists of all heaps are under one lock, which is nothing beside the system calls.

use core::ptr::{NonNull, null_mut};

use super::control::Shared;
use super::owner_map::{Entry, OWNERS};
use crate::source::SLICE;
use crate::sync::Guarded;
use crate::{MemorySource, NonZeroLayout, SourceError, ptr};

/// What the region of a large object begins with.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Record {
    pub(crate) control: NonNull<Shared>,
    next: *mut Record,
    previous: *mut Record,
    /// Length of the region in bytes.
    region: usize,
    /// Alignment of the region in bytes.
    align: usize,
    /// Bytes from the region's start to the object.
    offset: usize,
    /// Bytes charged to the heap.
    charged: usize,
}

const RECORD: usize = size_of::<Record>();

impl Record {
    /// Bytes from the object's start to the end of the region.
    pub(crate) fn capacity(&self) -> usize {
        self.region - self.offset
    }
}

/// The lists of large objects.
#[derive(Debug)]
pub(crate) struct LargeObjects {
    lists: Guarded<()>,
}

impl LargeObjects {
    crate::sync::const_fn! {
        pub(crate) fn new() -> Self {
            Self { lists: Guarded::new(()) }
        }
    }

    /// Makes a large object for a heap; its bytes are zero if the source's are.
    pub(crate) fn obtain<S: MemorySource>(
        &self,
        source: &S,
        heap: NonNull<Shared>,
        layout: NonZeroLayout,
    ) -> Result<NonNull<u8>, SourceError> {
        // SAFETY: A control block is never unmapped.
        let shared = unsafe { heap.as_ref() };
        let offset = layout.align().max(RECORD);
        let size = layout.size().checked_add(offset).ok_or(SourceError::TooLarge)?;
        let whole = size.checked_next_multiple_of(SLICE).ok_or(SourceError::TooLarge)?;
        let asked = NonZeroLayout::from_size_align(whole, layout.align().max(SLICE))?;
        if !shared.charge(whole) {
            return Err(SourceError::LimitReached);
        }
        let region = source.obtain(asked).inspect_err(|_| shared.refund(whole))?;
        let start = region.cast::<u8>();
        let record = start.cast::<Record>();
        let object = ptr::up(start.as_ptr(), offset);
        if let Err(error) = OWNERS.enter(slice_of(object), Entry::large(record)) {
            shared.refund(whole);
            // SAFETY: Just obtained with this layout; nobody has seen it.
            unsafe { source.release(region, asked) };
            return Err(error);
        }
        let lists = self.lists.lock();
        let next = shared.large.get();
        // SAFETY: The region is ours and begins with room for the record.
        unsafe {
            record.write(Record {
                control: heap,
                next,
                previous: null_mut(),
                region: region.len(),
                align: asked.align(),
                offset,
                charged: whole,
            });
        };
        if let Some(mut next) = NonNull::new(next) {
            // SAFETY: What is on the list is a record, changed only under the lock, which is held.
            unsafe { next.as_mut() }.previous = record.as_ptr();
        }
        shared.large.set(record.as_ptr());
        drop(lists);
        NonNull::new(object).ok_or(SourceError::AddressOutOfRange)
    }

    /// Gives a large object back; the caller counts it.
    ///
    /// # Safety
    /// The record is that of an object which nobody uses any more.
    pub(crate) unsafe fn release<S: MemorySource>(&self, source: &S, record: NonNull<Record>) {
        let lists = self.lists.lock();
        // SAFETY: The record is alive until its region is released below; its links are changed only under the lock.
        let Record { control, next, previous, .. } = *unsafe { record.as_ref() };
        match NonNull::new(previous) {
            // SAFETY: The neighbours of a record on the list are records on the list.
            Some(mut previous) => unsafe { previous.as_mut() }.next = next,
            // SAFETY: A control block is never unmapped; its list is changed only under the lock.
            None => unsafe { control.as_ref() }.large.set(next),
        }
        if let Some(mut next) = NonNull::new(next) {
            // SAFETY: As above.
            unsafe { next.as_mut() }.previous = previous;
        }
        drop(lists);
        // SAFETY: The record is off the list, and its object is not used any more.
        unsafe { release_region(source, record) };
    }

    /// Gives all large objects of a heap back.
    ///
    /// # Safety
    /// Nobody uses any of them, nor frees one meanwhile.
    pub(crate) unsafe fn release_all<S: MemorySource>(&self, source: &S, shared: &Shared) {
        loop {
            let lists = self.lists.lock();
            let first = NonNull::new(shared.large.get());
            drop(lists);
            let Some(record) = first else { return };
            // SAFETY: The record is on the heap's list, and the caller promises that nobody uses its object.
            unsafe { self.release(source, record) };
        }
    }

    pub(crate) fn before_fork(&self) {
        self.lists.hold_for_fork();
    }

    /// # Safety
    /// As [`Guarded::release_after_fork`].
    pub(crate) unsafe fn after_fork(&self) {
        // SAFETY: The caller's promises.
        unsafe { self.lists.release_after_fork() };
    }
}

fn slice_of<T>(object: *mut T) -> usize {
    object.addr() & !(SLICE - 1)
}

/// Leaves the map, refunds the heap and releases the region.
///
/// # Safety
/// The record is on no list, and nobody uses its object.
unsafe fn release_region<S: MemorySource>(source: &S, record: NonNull<Record>) {
    // SAFETY: The record lies in its region, which is ours still.
    let Record { control, region, align, offset, charged, .. } = *unsafe { record.as_ref() };
    OWNERS.leave(slice_of(ptr::up(record.as_ptr(), offset)));
    // SAFETY: A control block is never unmapped.
    unsafe { control.as_ref() }.refund(charged);
    if let Ok(layout) = NonZeroLayout::from_size_align(region, align) {
        // SAFETY: The region was obtained with this alignment and has this length; nobody uses it.
        unsafe { source.release(ptr::bytes(record.cast(), region), layout) };
    }
}
