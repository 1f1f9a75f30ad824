//! The bit-set allocators over sources that give regions of odd lengths at whatever address.

use std::cell::{Cell, RefCell};
use std::ptr::NonNull;

use crate::support::CheckingSource;
use crate::support::layout;
use crate::support::ledger::{Ledger, Way};
use crate::support::model::{self, Profile};
use context_allocator::alloc::{FixedBitSetAllocator, Owns, Reset};
use context_allocator::error::SourceError;
use context_allocator::size::BlockSize;
use context_allocator::size::{U8, U64, U256, U4096, U65536};
use context_allocator::{Allocator, BitSetAllocator, MemorySource, MmapSource, NonZeroLayout};
use fastrand::Rng;

/// More than any window.
const FIELD: usize = 16 << 20;
const ROOM: usize = 64 << 30;

/// A source whose next region is where the test says: so many bytes behind a multiple of 16 MiB,
/// and so much longer than asked.
struct Placed<F, const MAX: usize = { isize::MAX as usize }> {
    room: NonNull<[u8]>,
    used: Cell<usize>,
    places: RefCell<F>,
}

fn room_layout() -> NonZeroLayout {
    layout(ROOM, FIELD)
}

impl<F: FnMut() -> (usize, usize), const MAX: usize> Placed<F, MAX> {
    fn new(places: F) -> Self {
        let room = MmapSource::new().obtain(room_layout()).expect("addresses");
        Self { room, used: Cell::new(0), places: RefCell::new(places) }
    }
}

impl<F, const MAX: usize> Drop for Placed<F, MAX> {
    fn drop(&mut self) {
        // SAFETY: Obtained with this layout; the source goes, and its regions with it.
        unsafe { MmapSource::new().release(self.room, room_layout()) };
    }
}

// SAFETY: Each region is a part of the room of its own, since `used` only grows; addresses are
// rounded up to what was asked for.
unsafe impl<F: FnMut() -> (usize, usize), const MAX: usize> MemorySource for Placed<F, MAX> {
    const MAX_REGION: usize = MAX;

    fn obtain(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, SourceError> {
        if layout.size() > MAX {
            return Err(SourceError::TooLarge);
        }
        let (behind, longer) = (*self.places.borrow_mut())();
        let start = (self.used.get().next_multiple_of(FIELD) + behind).next_multiple_of(layout.align());
        let len = (layout.size() + longer).min(MAX);
        if layout.align() > FIELD || len > ROOM.saturating_sub(start) {
            return Err(SourceError::Exhausted);
        }
        self.used.set(start + len);
        // SAFETY: The region ends in the room.
        let start = unsafe { self.room.cast::<u8>().add(start) };
        Ok(NonNull::slice_from_raw_parts(start, len))
    }

    /// Addresses are not used again; they are many.
    unsafe fn release(&self, _region: NonNull<[u8]>, _layout: NonZeroLayout) {}
}

/// A region that begins in the middle of a window, and so is used from the next one on, has what
/// was asked for behind that.
#[test]
fn a_run_fits_the_region_that_was_obtained_for_it() {
    let mut places = [(0, 0), (FIELD - (960 << 10), 0)].into_iter();
    let source = CheckingSource::new(Placed::<_>::new(|| places.next().unwrap_or((64, 0))));
    let allocator = BitSetAllocator::new(&source);
    let mut ledger = Ledger::new(&allocator);
    ledger.allocate(layout(64, 8)).expect("the first region");
    ledger.allocate(layout(980 << 10, 8)).expect("a source without end has a region for it");
    ledger.free_all();
    drop(allocator);
    source.assert_all_released();
}

/// The address at which regions begin may be no multiple of a large alignment.
#[test]
fn every_alignment_is_served_from_every_place() {
    for behind in [0, 64, 4096, 1 << 20, (8 << 20) + 64, FIELD - 64] {
        let source = CheckingSource::new(Placed::<_>::new(move || (behind, 0)));
        let allocator = BitSetAllocator::new(&source);
        let mut ledger = Ledger::new(&allocator);
        for power in 6..=24 {
            let align = 1 << power;
            for size in [1, align - 1, align, align + 1, FIELD - align] {
                let Ok(layout) = NonZeroLayout::from_size_align(size, align) else { continue };
                let address = ledger.allocate(layout);
                let address = address.unwrap_or_else(|error| panic!("{behind} {layout:?}: {error}"));
                assert!(allocator.owns(ledger.get(address).start()));
            }
            ledger.free_all();
        }
        drop(allocator);
        source.assert_all_released();
    }
}

/// What is too little for index of its own does not make a region one that is kept.
#[test]
fn a_little_more_than_a_window_goes_back_too() {
    let source = CheckingSource::new(Placed::<_>::new(|| (0, 4096)));
    let allocator = BitSetAllocator::<_, U65536>::new_in(&source);
    let mut ledger = Ledger::new(&allocator);
    for _ in 0..1000 {
        ledger.allocate(layout(65_536, 8)).expect("a block");
    }
    assert!(source.counts().held >= 5);
    ledger.free_all();
    assert!(source.counts().held <= 2, "{:?}", source.counts());
}

fn odd_places<B: BlockSize, const MAX: usize>(profile: Profile) {
    for seed in 0..4 {
        let mut random = Rng::with_seed(seed);
        let kept = random.usize(0..FIELD);
        let place = move || {
            let behind = match random.u8(0..4) {
                0 => random.usize(0..FIELD),
                1 => kept.wrapping_sub(random.usize(0..MAX.min(FIELD))) % FIELD,
                _ => kept,
            };
            (behind, if random.bool() { random.usize(0..10_000) } else { 0 })
        };
        let source = CheckingSource::new(Placed::<_, MAX>::new(place));
        let mut allocator = BitSetAllocator::<_, B>::new_in(&source);
        for round in 0..3 {
            model::run(&allocator, profile.seed(seed * 3 + round));
            assert_eq!(allocator.free_blocks(), allocator.blocks(), "blocks were lost");
            assert_eq!(allocator.bytes_held(), source.counts().bytes);
            let run = allocator.allocate(layout(100, 8)).expect("what it has");
            assert!(allocator.owns(run.cast()));
            allocator.reset();
            assert_eq!(allocator.free_blocks(), allocator.blocks());
        }
        drop(allocator);
        source.assert_all_released();
    }
}

#[test]
fn regions_at_odd_places_against_the_model() {
    let profile = Profile { live: 2000, largest: 4096, most_align: 8192, ..Profile::MIXED };
    odd_places::<U8, { isize::MAX as usize }>(profile.operations(20_000));
    odd_places::<U64, { isize::MAX as usize }>(profile.operations(20_000));
    odd_places::<U4096, { isize::MAX as usize }>(profile.operations(20_000));
    let large = Profile { largest: 6 << 20, most_align: 32 << 20, live: 10, ..Profile::LARGE };
    odd_places::<U256, { isize::MAX as usize }>(large.operations(300).refusals());
}

#[test]
fn small_regions_of_odd_lengths_against_the_model() {
    let profile = Profile { live: 300, largest: 1000, most_align: 512, ..Profile::MIXED };
    let profile = profile.operations(20_000).refusals();
    odd_places::<U8, 3001>(profile);
    odd_places::<U64, 4095>(profile);
    odd_places::<U64, 10_007>(profile);
    odd_places::<U256, 65_521>(profile);
}

#[test]
fn fixed_over_a_longer_region_at_an_odd_place_and_moved() {
    let source = CheckingSource::new(Placed::<_>::new(|| (8, 4097)));
    let allocator = FixedBitSetAllocator::<_, U8, typenum::U101>::new(&source);
    assert!(!allocator.owns(NonNull::dangling()));
    let run = layout(99 * 8, 8);
    let block = allocator.allocate(run).expect("as long as the region");
    let moved = Box::new(allocator);
    assert!(moved.owns(block.cast()));
    let mut ledger = Ledger::in_place(&*moved);
    let single = ledger.allocate(layout(8, 8)).expect("two are left");
    ledger.allocate(layout(5, 8)).expect("one is left");
    assert!(ledger.allocate(layout(1, 8)).is_err() && moved.free_blocks() == 0);
    assert!(ledger.resize_in_place(single, layout(16, 8), Way::Grow).is_err());
    ledger.free_all();
    // SAFETY: Allocated with this layout before the move, and not used again.
    unsafe { moved.deallocate(block.cast(), run) };
    assert_eq!((moved.longest_free_run(), moved.bytes_held()), (101, 101 * 8 + 4097));
    drop(moved);
    source.assert_all_released();
}
