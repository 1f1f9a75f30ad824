//! Objects too large for a tier's allocator.
//!
//! Each has a region of whole slices of its own, from [`Policy::LARGE`](super::Policy::LARGE), and
//! counts as a block of the heap that made it:
//!
//! ```text
//!   region (whole slices)
//!   +--------+- - -+---------------------------+
//!   | record |     |          object           |
//!   +--------+- - -+---------------------------+
//!   0        64    a multiple of the alignment
//! ```
//!
//! The page map's entry of the slice in which the object starts leads to the record; further
//! slices have none. The records of a heap of the coroutine tier form a list, so that destroying
//! the heap finds them; those of a thread's heap, which is never destroyed, are on none. Lists are
//! under one lock.
//!
//! What an object leaves goes back to the source, which keeps it for the next one: the pool of
//! [`DefaultPolicy`](super::DefaultPolicy) does. A source that can make regions longer or shorter
//! without copying ([`MemorySource::remap`]) resizes objects. The record moves with its region, so
//! while the source is at it no list and no entry leads to it.

use core::cell::Cell;
use core::ptr::NonNull;

use super::accounts::Accounts;
use super::control::{ControlRef, HeapTier, Record};
use crate::error::SourceError;
use crate::layout::NonZeroLayout;
use crate::list::Links;
use crate::page_map::{Entry, PageMap, SpareLeaf};
use crate::ptr;
use crate::source::{MemorySource, Obtained, SLICE};
use crate::sync::Guarded;

const RECORD: usize = size_of::<Record>();

/// Objects that shrink to this or less move to where small ones are.
const SMALL: usize = SLICE / 2;

/// What large objects are made of: a source, the map to enter them in, and the accounts of heaps.
pub(crate) struct LargeMemory<S: 'static> {
    pub(crate) source: &'static S,
    pub(crate) page_map: &'static PageMap,
    pub(crate) accounts: &'static Accounts,
}

/// The lists of large objects.
#[derive(Debug)]
pub(crate) struct LargeObjects {
    lists: Guarded<Lists>,
}

/// What the lock guards, besides the links of all records and the heads of the lists in the heaps.
#[derive(Debug)]
struct Lists {
    /// For an entry that must be made when an object has moved already.
    spare: Option<SpareLeaf>,
}

impl LargeObjects {
    crate::sync::const_fn! {
        pub(crate) fn new() -> Self {
            Self { lists: Guarded::new(Lists { spare: None }) }
        }
    }

    /// Makes a large object for a heap.
    pub(crate) fn obtain<S: MemorySource>(
        &self,
        memory: &LargeMemory<S>,
        heap: ControlRef,
        layout: NonZeroLayout,
    ) -> Result<NonNull<u8>, SourceError> {
        let offset = layout.align().max(RECORD);
        let size = layout.size().checked_add(offset).ok_or(SourceError::TooLarge)?;
        let whole = size.checked_next_multiple_of(SLICE).ok_or(SourceError::TooLarge)?;
        let align = layout.align().max(SLICE);
        let asked = NonZeroLayout::from_size_align(whole, align)?;
        if !memory.accounts.charge(&heap, whole) {
            return Err(SourceError::HeapLimitReached);
        }
        let obtained = memory
            .source
            .obtain_between(asked, whole)
            .inspect_err(|_| memory.accounts.refund(&heap, whole))?;
        let Obtained { region, zeroed } = obtained;
        let record = region.cast::<Record>();
        let object = ptr::up(record.as_ptr().cast::<u8>(), offset);
        if let Err(error) = memory.page_map.insert(slice_of(object), Entry::large(record)) {
            memory.accounts.refund(&heap, whole);
            // SAFETY: Just obtained with this layout; nobody else knows of it.
            unsafe { memory.source.release(region, asked) };
            return Err(error);
        }
        let (links, size) = (Links::new(), Cell::new(whole));
        let new = Record { control: heap, links, size, align, offset, zeroed };
        // SAFETY: The region is ours and begins with room for the record.
        unsafe { record.write(new) };
        if is_listed(heap) {
            let lists = self.lists.lock();
            // SAFETY: The record was just written, is on no list, and stays until `release` or
            // `move_record` take it off.
            unsafe { heap.large.push(record) };
            drop(lists);
        }
        NonNull::new(object).ok_or(SourceError::AddressOutOfRange)
    }

    /// Gives a large object back; the caller counts it.
    ///
    /// # Safety
    /// The record is that of an object which nobody uses any more.
    pub(crate) unsafe fn release<S: MemorySource>(&self, memory: &LargeMemory<S>, record: NonNull<Record>) {
        // SAFETY: The object and with it the record are the caller's until the region is released
        // below.
        let Parts { control, size, align, object, .. } = unsafe { parts(record) };
        memory.page_map.remove(slice_of(object));
        memory.accounts.refund(&control, size);
        if is_listed(control) {
            let lists = self.lists.lock();
            // SAFETY: The record is alive; its links are used only under the lock, which is held.
            let node = unsafe { record.as_ref() };
            // SAFETY: The record is on its heap's list.
            unsafe { control.large.remove(node) };
            drop(lists);
        }
        if let Ok(layout) = NonZeroLayout::from_size_align(size, align) {
            // SAFETY: The region was asked for with this layout, last by `resize`; nobody uses it.
            unsafe { memory.source.release(ptr::bytes(record.cast(), size), layout) };
        }
    }

    /// Resizes a large object without copying; where it is then. None, and nothing changed, where
    /// that cannot be done or the heap's limit forbids it, or where it would need more slices and
    /// may not have them.
    ///
    /// # Safety
    /// The record is that of an object which is the caller's and which nobody else uses meanwhile,
    /// nor afterwards where it was before.
    pub(crate) unsafe fn resize<S: MemorySource>(
        &self,
        memory: &LargeMemory<S>,
        record: NonNull<Record>,
        new: NonZeroLayout,
        may_grow: bool,
    ) -> Option<NonNull<u8>> {
        // SAFETY: The object and with it the record are the caller's.
        let Parts { control, size: old, align, object, offset } = unsafe { parts(record) };
        let whole = new.size().checked_add(offset)?.checked_next_multiple_of(SLICE)?;
        if new.size() <= SMALL {
            return None;
        }
        if whole == old {
            return NonNull::new(object).filter(|object| object.addr().get().is_multiple_of(new.align()));
        }
        if whole > old && !may_grow {
            return None;
        }
        if new.align() > align || !offset.is_multiple_of(new.align()) {
            return None;
        }
        let before = NonZeroLayout::from_size_align(old, align).ok()?;
        let after = NonZeroLayout::from_size_align(whole, align).ok()?;
        if whole > old && !memory.accounts.charge(&control, whole - old) {
            return None;
        }
        // SAFETY: The object is the caller's and nobody else uses it; the layouts are those of the
        // region, before and after.
        let moved = unsafe { self.move_record(memory, record, before, after) };
        match moved {
            Some(record) => {
                if whole < old {
                    memory.accounts.refund(&control, old - whole);
                }
                NonNull::new(ptr::up(record.as_ptr().cast::<u8>(), offset))
            }
            None if whole > old => {
                memory.accounts.refund(&control, whole - old);
                None
            }
            // What the source cannot cut stays as it is, if that is not twice what is needed.
            None => NonNull::new(object).filter(|_| whole > old / 2),
        }
    }

    /// Has the source resize a region, while nothing leads to its record; where the record is then.
    /// None, and nothing changed, where the source refuses.
    ///
    /// # Safety
    /// As [`resize`](Self::resize); the region was asked for with `before`.
    unsafe fn move_record<S: MemorySource>(
        &self,
        memory: &LargeMemory<S>,
        record: NonNull<Record>,
        before: NonZeroLayout,
        after: NonZeroLayout,
    ) -> Option<NonNull<Record>> {
        // SAFETY: The record is the caller's.
        let Parts { control, object, offset, .. } = unsafe { parts(record) };
        let mut lists = self.lists.lock();
        let mut spare = lists.spare.take();
        if spare.is_none() {
            // Once in the life of a process, or when several threads are here at a time.
            spare = Some(SpareLeaf::new().ok()?);
        }
        if is_listed(control) {
            // SAFETY: The record is alive; its links are used only under the lock, which is held.
            let node = unsafe { record.as_ref() };
            // SAFETY: The record is on its heap's list.
            unsafe { control.large.remove(node) };
        }
        drop(lists);
        // Before the region moves: then its old addresses may be anybody's.
        memory.page_map.remove(slice_of(object));
        // SAFETY: The source holds the region, for `before`, and the object is the caller's, as the
        // caller promises.
        let outcome = unsafe { memory.source.remap(ptr::bytes(record.cast(), before.size()), before, after) };
        let place = outcome.map_or(record, |moved| moved.region.cast::<Record>());
        if outcome.is_ok() {
            // SAFETY: The region begins with the record, wherever it is, and is the caller's.
            unsafe { place.as_ref() }.size.set(after.size());
        }
        let slice = slice_of(ptr::up(place.as_ptr(), offset));
        if memory.page_map.insert_with(slice, Entry::large(place), &mut spare).is_err() {
            // The source gave addresses that no process of Linux has unless it asks for them, and
            // there is no way back.
            std::process::abort();
        }
        let mut lists = self.lists.lock();
        if is_listed(control) {
            // SAFETY: The record is on no list, and the lock is held.
            unsafe { control.large.push(place) };
        }
        if lists.spare.is_none() {
            lists.spare = spare;
        }
        drop(lists);
        outcome.is_ok().then_some(place)
    }

    /// Gives all large objects of a heap of the coroutine tier back.
    ///
    /// # Safety
    /// Nobody uses any of them, nor frees one meanwhile.
    pub(crate) unsafe fn release_all<S: MemorySource>(&self, memory: &LargeMemory<S>, heap: ControlRef) {
        debug_assert!(is_listed(heap));
        loop {
            let lists = self.lists.lock();
            let first = heap.large.first_pointer();
            drop(lists);
            let Some(record) = first else { return };
            // SAFETY: The record is on the heap's list, and the caller promises that nobody uses
            // its object.
            unsafe { self.release(memory, record) };
        }
    }

    pub(crate) fn before_fork(&self) {
        self.lists.hold_for_fork();
    }

    /// # Safety
    /// As [`Guarded::release_after_fork`].
    pub(crate) unsafe fn after_fork(&self) {
        // SAFETY: The caller called `before_fork` on this thread, or on the one that forked it.
        unsafe { self.lists.release_after_fork() };
    }
}

/// Whether the records of a heap are on its list.
fn is_listed(heap: ControlRef) -> bool {
    heap.tier == HeapTier::Coroutine
}

fn slice_of<T>(object: *mut T) -> usize {
    object.addr() & !(SLICE - 1)
}

/// What the owner of an object may read of its record, and where the object is.
struct Parts {
    control: ControlRef,
    size: usize,
    align: usize,
    offset: usize,
    object: *mut u8,
}

/// # Safety
/// The record is that of an object which is the caller's.
unsafe fn parts(record: NonNull<Record>) -> Parts {
    // SAFETY: The record is alive; all but its links is the caller's to read.
    let Record { control, size, align, offset, .. } = unsafe { record.as_ref() };
    let object = ptr::up(record.as_ptr().cast::<u8>(), *offset);
    Parts { control: *control, size: size.get(), align: *align, offset: *offset, object }
}
