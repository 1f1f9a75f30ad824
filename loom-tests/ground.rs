//! What models put under the crate's code: memory whose uses loom sees, and a source that keeps
//! index.

use std::alloc::{Layout, alloc, dealloc};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::vec::Vec;

use core::ptr::NonNull;

use loom::cell::UnsafeCell;
use loom::sync::atomic::AtomicUsize;
use loom::sync::atomic::Ordering::{AcqRel, Relaxed};

use crate::alloc::Allocator;
use crate::error::{AllocError, SourceError};
use crate::layout::NonZeroLayout;
use crate::ptr;
use crate::source::MemorySource;

/// Something that only one thread at a time may use. Loom fails a model in which two uses are not
/// ordered.
#[derive(Debug)]
pub(super) struct Place(UnsafeCell<usize>);

// SAFETY: Loom runs one thread at a time, and stops at the first use that the others are not
// ordered with.
unsafe impl Sync for Place {}

impl Place {
    pub(super) fn new() -> Self {
        Self(UnsafeCell::new(0))
    }

    /// Uses it, as somebody does who reads and writes; returns how often it was used.
    pub(super) fn touch(&self) -> usize {
        self.0.with_mut(|uses| {
            // SAFETY: Loom checks that no other access is at the same time.
            let uses = unsafe { &mut *uses };
            *uses += 1;
            *uses
        })
    }
}

/// Makes loom try every order of the steps that begin by passing it.
///
/// Of each atomic, loom remembers only the last access, and asks of a new one whether it could have
/// come before that. A thread that loads and then exchanges therefore hides, by its own load, the
/// loads of other threads before it, and orders that matter are not tried. Passing is an exchange
/// without that load; it is Relaxed, so it orders nothing by itself.
#[derive(Debug)]
pub(super) struct Door(AtomicUsize);

impl Door {
    pub(super) fn new() -> Self {
        Self(AtomicUsize::new(0))
    }

    pub(super) fn pass(&self) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// Memory in slots of equal size, made of units of equal size, each with a [`Place`].
///
/// As a [`MemorySource`] it gives whole slots. Obtaining or releasing one touches all of its
/// places, so that loom fails a model in which a slot is obtained or released while somebody uses a
/// part of it.
#[derive(Debug)]
pub(super) struct Ground {
    memory: NonNull<u8>,
    layout: Layout,
    slot: usize,
    unit: usize,
    places: Vec<Place>,
    /// Whether each slot is held. Loom does not see this lock, which orders nothing and is never
    /// waited for.
    held: Mutex<Vec<bool>>,
    /// What orders the uses of a slot by its users, as a source does which is called without locks:
    /// a kernel gives memory out after it got it back.
    turns: Vec<AtomicUsize>,
}

// SAFETY: The memory is used only by whom it was given to.
unsafe impl Send for Ground {}
// SAFETY: As above; what is shared is guarded by the lock.
unsafe impl Sync for Ground {}

impl Ground {
    pub(super) fn new(slots: usize, slot: usize, unit: usize) -> Self {
        // At the same place in a table of addresses each time: loom explores the same model again
        // and again, and it must do the same then.
        let size = slots * slot;
        let layout = Layout::from_size_align(size, size.next_power_of_two()).expect("small sizes");
        // SAFETY: The models ask for more than no bytes.
        let memory = NonNull::new(unsafe { alloc(layout) }).expect("little memory");
        let places = (0..slots * slot / unit).map(|_| Place::new()).collect();
        let turns = (0..slots).map(|_| AtomicUsize::new(0)).collect();
        Self { memory, layout, slot, unit, places, held: Mutex::new(std::vec![false; slots]), turns }
    }

    /// The first byte of a unit.
    pub(super) fn at(&self, unit: usize) -> NonNull<u8> {
        assert!(unit < self.places.len());
        // SAFETY: That many units lie in the memory.
        unsafe { self.memory.add(unit * self.unit) }
    }

    /// Which unit starts there.
    pub(super) fn unit_of(&self, address: NonNull<u8>) -> usize {
        let offset = address.addr().get() - self.memory.addr().get();
        assert!(offset.is_multiple_of(self.unit));
        offset / self.unit
    }

    /// Uses the unit that starts there.
    pub(super) fn touch(&self, address: NonNull<u8>) {
        self.places[self.unit_of(address)].touch();
    }

    /// How many slots are held.
    pub(super) fn held(&self) -> usize {
        self.held.lock().unwrap().iter().filter(|held| **held).count()
    }

    fn touch_slot(&self, slot: usize) {
        let units = self.slot / self.unit;
        self.places[slot * units..(slot + 1) * units].iter().for_each(|place| {
            place.touch();
        });
    }
}

// SAFETY: A slot is `slot` bytes at a multiple of that, and is given to one user at a time, which
// `held` sees to.
unsafe impl MemorySource for Ground {
    fn obtain(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, SourceError> {
        assert!(layout.size() <= self.slot && layout.align() <= self.slot);
        let slot = {
            let mut held = self.held.lock().unwrap();
            let slot = held.iter().position(|held| !held).ok_or(SourceError::Exhausted)?;
            held[slot] = true;
            slot
        };
        self.turns[slot].fetch_add(1, AcqRel);
        self.touch_slot(slot);
        Ok(ptr::bytes(self.at(slot * self.slot / self.unit), self.slot))
    }

    unsafe fn release(&self, region: NonNull<[u8]>, _layout: NonZeroLayout) {
        assert_eq!(region.len(), self.slot);
        let slot = self.unit_of(region.cast()) * self.unit / self.slot;
        self.touch_slot(slot);
        self.turns[slot].fetch_add(1, AcqRel);
        assert!(core::mem::replace(&mut self.held.lock().unwrap()[slot], false), "released once");
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        // SAFETY: `new` allocated the memory with this layout, and the models end with it.
        unsafe { dealloc(self.memory.as_ptr(), self.layout) };
    }
}

/// The blocks that are handed out, each to one user.
#[derive(Debug)]
pub(super) struct Index(Mutex<BTreeMap<usize, usize>>);

impl Index {
    pub(super) fn new() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }

    /// Enters a block that was handed out. It overlaps no other.
    pub(super) fn enter(&self, block: NonNull<[u8]>) {
        let mut index = self.0.lock().unwrap();
        let start = block.cast::<u8>().addr().get();
        let end = start + block.len();
        let overlaps = index.iter().any(|(&other, &other_end)| start < other_end && other < end);
        assert!(!overlaps, "handed out to two users");
        index.insert(start, end);
    }

    /// Strikes out a block that is about to be given back.
    pub(super) fn strike(&self, block: NonNull<u8>) {
        assert!(self.0.lock().unwrap().remove(&block.addr().get()).is_some(), "given back once");
    }

    /// Whether the block that starts there is handed out.
    pub(super) fn has(&self, block: NonNull<u8>) -> bool {
        self.0.lock().unwrap().contains_key(&block.addr().get())
    }

    /// How many blocks are handed out.
    pub(super) fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

/// An allocator whose every use loom sees.
#[derive(Debug)]
pub(super) struct Watched<A> {
    allocator: A,
    uses: Place,
}

impl<A> Watched<A> {
    pub(super) fn new(allocator: A) -> Self {
        Self { allocator, uses: Place::new() }
    }
}

// SAFETY: Every call goes to the allocator inside.
unsafe impl<A: Allocator> Allocator for Watched<A> {
    fn allocate(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, AllocError> {
        self.uses.touch();
        self.allocator.allocate(layout)
    }

    unsafe fn deallocate(&self, block: NonNull<u8>, layout: NonZeroLayout) {
        self.uses.touch();
        // SAFETY: The caller's promises.
        unsafe { self.allocator.deallocate(block, layout) };
    }

    unsafe fn grow(
        &self,
        block: NonNull<u8>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        self.uses.touch();
        // SAFETY: The caller's promises.
        unsafe { self.allocator.grow(block, old, new) }
    }

    unsafe fn shrink(
        &self,
        block: NonNull<u8>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        self.uses.touch();
        // SAFETY: The caller's promises.
        unsafe { self.allocator.shrink(block, old, new) }
    }
}
