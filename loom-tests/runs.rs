//! A pool of slices that threads share while one of them purges: each slice is held, free or being
//! purged.

use std::sync::Arc;

use core::ptr::NonNull;

use super::ground::{Ground, Index};
use super::{explore, together};
use crate::error::SourceError;
use crate::layout::NonZeroLayout;
use crate::size::{U65536, U131072};
use crate::source::SLICE;
use crate::source::{Decommit, MemorySource, Purge, RunSource};

const CHUNK: usize = 2 * SLICE;
/// One more slot is for the index.
const CHUNKS: usize = 2;

/// Ground whose units are touched when they are given up, so that loom fails a model in which
/// somebody uses one of them then.
struct Purged(Arc<Ground>, usize);

// SAFETY: The ground answers.
unsafe impl MemorySource for Purged {
    fn obtain(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, SourceError> {
        self.0.obtain(layout)
    }

    unsafe fn release(&self, region: NonNull<[u8]>, _layout: NonZeroLayout) {
        // SAFETY: The caller's promises; the ground's regions have one length.
        unsafe { self.0.release(crate::ptr::bytes(region.cast(), self.1), _layout) };
    }
}

// SAFETY: The models read no memory.
unsafe impl Decommit for Purged {
    fn decommit_unit(&self) -> usize {
        SLICE
    }

    unsafe fn decommit(&self, range: NonNull<[u8]>) -> Result<(), SourceError> {
        for offset in (0..range.len()).step_by(SLICE) {
            // SAFETY: The offset lies in the range.
            self.0.touch(unsafe { range.cast::<u8>().add(offset) });
        }
        Ok(())
    }

    unsafe fn decommit_lazily(&self, _: NonNull<[u8]>) -> Result<(), SourceError> {
        Err(SourceError::Unsupported)
    }
}

struct Shared {
    slices: RunSource<Purged, U131072>,
    ground: Arc<Ground>,
    index: Index,
}

impl Shared {
    /// A pool of which every slice of a chunk was used, so that all of them may have memory.
    fn new(purge: Purge) -> Self {
        let ground = Arc::new(Ground::new(CHUNKS + 1, CHUNK, SLICE));
        let slices = RunSource::with_purge(Purged(ground.clone(), CHUNK), purge);
        let shared = Self { slices, ground, index: Index::new() };
        let both = shared.obtain(CHUNK).expect("there is a chunk");
        shared.release(both, CHUNK);
        shared
    }

    fn layout(size: usize) -> NonZeroLayout {
        NonZeroLayout::from_size_align(size, 8).unwrap()
    }

    fn obtain(&self, size: usize) -> Option<NonNull<[u8]>> {
        let region = self.slices.obtain(Self::layout(size)).ok()?;
        self.index.enter(region);
        for offset in (0..region.len()).step_by(SLICE) {
            // SAFETY: The offset lies in the region.
            self.ground.touch(unsafe { region.cast::<u8>().add(offset) });
        }
        Some(region)
    }

    fn release(&self, region: NonNull<[u8]>, size: usize) {
        self.ground.touch(region.cast());
        self.index.strike(region.cast());
        // SAFETY: Only called with what `obtain` gave for this size, once.
        unsafe { self.slices.release(region, Self::layout(size)) };
    }

    fn keep_one(&self) {
        self.obtain(SLICE).expect("there are slices enough");
    }

    fn use_one(&self) {
        let region = self.obtain(SLICE).expect("there are slices enough");
        self.release(region, SLICE);
    }

    fn purge(&self) {
        let bytes = self.slices.purge();
        assert!(bytes <= CHUNKS * CHUNK && bytes.is_multiple_of(SLICE));
        let usage = self.slices.usage();
        assert!(usage.resident <= usage.unused && usage.unused <= usage.obtained);
    }

    fn reclaim(&self) {
        self.slices.reclaim(&mut |range| assert_eq!(range.len(), CHUNK));
    }

    /// Every slice is held or free when nobody purges, and when all are back, so is the ground.
    fn check(self, kept: usize) {
        let usage = self.slices.usage();
        assert_eq!(self.index.len(), kept);
        assert_eq!(usage.obtained, (self.ground.held() - 1) * CHUNK);
        assert_eq!(usage.obtained - usage.unused, kept * SLICE);
        let free = usage.unused / SLICE;
        let again: std::vec::Vec<_> = (0..free).map(|_| self.obtain(SLICE).expect("it is free")).collect();
        assert_eq!(self.slices.usage().obtained, usage.obtained);
        drop(again);
        for unit in 0..(CHUNKS + 1) * CHUNK / SLICE {
            if self.index.has(self.ground.at(unit)) {
                self.release(crate::ptr::bytes(self.ground.at(unit), SLICE), SLICE);
            }
        }
        drop(self.slices);
        assert_eq!(self.ground.held(), 0);
    }
}

#[test]
fn a_slice_is_taken_while_another_thread_purges() {
    explore("slices", 2, || {
        together(Shared::new(Purge::never()), Shared::purge, [Shared::keep_one]).check(1);
    });
}

/// A purge takes two locks several times over, so three threads have the bound that four have
/// elsewhere.
#[test]
fn two_threads_use_slices_while_one_purges() {
    explore("slices, purge", 4, || {
        together(Shared::new(Purge::never()), Shared::purge, [Shared::use_one, Shared::keep_one]).check(1);
    });
}

#[test]
fn two_threads_purge_while_a_chunk_goes_back() {
    explore("slices, reclaim", 4, || {
        together(Shared::new(Purge::never()), Shared::purge, [Shared::reclaim, Shared::use_one]).check(0);
    });
}

/// Who finds everything being purged, and no further chunk, waits for it.
#[test]
fn who_needs_what_is_being_purged_waits() {
    explore("slices, all taken", 2, || {
        let shared = Shared::new(Purge::never());
        // The second chunk is held, so that there is none to be had.
        let other = shared.ground.obtain(Shared::layout(CHUNK)).expect("a slot");
        let shared = together(
            shared,
            Shared::purge,
            [|shared| {
                let region = shared.obtain(CHUNK).expect("they come back");
                shared.release(region, CHUNK);
            }],
        );
        // SAFETY: Just obtained.
        unsafe { shared.ground.release(other, Shared::layout(CHUNK)) };
        shared.check(0);
    });
}

/// Slices of a map, which is longer than any run that is kept aside.
const MAP: usize = 6 * SLICE;

/// A pool that keeps a map, and has room for another.
struct Maps {
    slices: RunSource<Purged, U65536>,
    ground: Arc<Ground>,
    index: Index,
}

impl Maps {
    fn new() -> Self {
        let ground = Arc::new(Ground::new(2, MAP, SLICE));
        let slices = RunSource::with_purge(Purged(ground.clone(), MAP), Purge::never());
        let maps = Self { slices, ground, index: Index::new() };
        let region = maps.obtain(MAP);
        maps.release(region, MAP);
        assert_eq!(maps.slices.usage().resident, MAP);
        maps
    }

    fn touch(&self, region: NonNull<[u8]>, from: usize) {
        for offset in (from..region.len()).step_by(SLICE) {
            // SAFETY: The offset lies in the region.
            self.ground.touch(unsafe { region.cast::<u8>().add(offset) });
        }
    }

    fn obtain(&self, size: usize) -> NonNull<[u8]> {
        let region = self.slices.obtain(Shared::layout(size)).expect("there are two maps");
        self.index.enter(region);
        self.touch(region, 0);
        region
    }

    fn release(&self, region: NonNull<[u8]>, size: usize) {
        self.touch(region, 0);
        self.index.strike(region.cast());
        // SAFETY: Only called with what is held for this size, once.
        unsafe { self.slices.release(region, Shared::layout(size)) };
    }

    /// Takes the front of a map, grows into its idle rest, and gives all of it back.
    fn grow(&self) {
        let size = MAP - SLICE;
        let (before, after) = (Shared::layout(size), Shared::layout(MAP));
        let region = self.obtain(size);
        // SAFETY: The region is held, for this layout.
        match unsafe { self.slices.remap(region, before, after) } {
            Ok(grown) => {
                assert_eq!((grown.region.cast(), grown.kept), (region.cast::<u8>(), size));
                self.touch(grown.region, size);
                self.index.strike(region.cast());
                self.index.enter(grown.region);
                self.release(grown.region, MAP);
            }
            // A map of its own, which the source below does not make longer.
            Err(_) => self.release(region, size),
        }
    }

    fn purge(&self) {
        self.slices.purge();
    }

    fn reclaim(&self) {
        self.slices.reclaim(&mut |range| assert!(range.len() >= MAP - SLICE));
    }

    fn check(self) {
        let usage = self.slices.usage();
        assert_eq!((usage.obtained, self.index.len()), (usage.unused, 0));
        drop(self.slices);
        assert_eq!(self.ground.held(), 0);
    }
}

/// The idle rest of a map is given up while its front grows.
#[test]
fn a_map_grows_while_another_thread_purges() {
    explore("maps", 2, || together(Maps::new(), Maps::purge, [Maps::grow]).check());
}

#[test]
fn a_map_is_taken_while_others_purge_and_give_it_back() {
    explore("maps, reclaim", 4, || {
        together(Maps::new(), Maps::purge, [Maps::grow, Maps::reclaim]).check();
    });
}
