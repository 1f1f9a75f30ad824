//! Blocks of other threads' heaps, on their way there in batches.
//!
//! A block freed by a thread that does not use its heap costs an atomic addition and an atomic
//! exchange if it is sent alone. So each thread links what it frees of the same heap, plainly, and
//! sends it when there are enough. There are a few places, by the heap's address; what belongs in a
//! place that another heap has sends that heap's blocks off first. (Batches by owner are
//! snmalloc's; P. Liétar and others, 2019.)
//!
//! ```text
//!   place 0   heap A, 3 blocks, 192 bytes    first -> block -> last
//!   place 1   nobody's
//!   ...
//! ```
//!
//! Always: a block in an remote_cache is not counted as freed, so its heap waits for it. What a thread
//! keeps back is bounded by [`BLOCKS`] and [`BYTES`] for each place; it is sent when a heap that
//! the thread uses needs memory, when the thread's end is seen, and when it asks for statistics.
//! Only blocks of thread heaps are kept back: a context's heap should end when its last block is
//! freed.

use core::cell::Cell;
use core::ptr::{NonNull, null_mut};

use super::control::Shared;
use crate::NonZeroLayout;
use crate::sync::{Batch, RemoteBlock};

/// The heaps for which blocks are kept back at once.
const PLACES: usize = 4;
/// Blocks for one heap that are kept back at most.
const BLOCKS: usize = 64;
/// Bytes for one heap that are kept back at most, but for the last block.
const BYTES: usize = 16 * 1024;

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct RemoteCache {
    places: [Place; PLACES],
    /// Whether a place is in use.
    any: Cell<bool>,
}

#[derive(Debug)]
struct Place {
    owner: Cell<*mut Shared>,
    first: Cell<*mut RemoteBlock>,
    last: Cell<*mut RemoteBlock>,
    blocks: Cell<usize>,
    bytes: Cell<usize>,
}

/// Blocks for one heap.
#[derive(Debug)]
pub(crate) struct Parcel {
    pub(crate) owner: NonNull<Shared>,
    pub(crate) batch: Batch,
    /// How many blocks.
    pub(crate) blocks: usize,
    /// How many bytes they are, as they were asked for.
    pub(crate) bytes: usize,
}

impl RemoteCache {
    pub(crate) const fn new() -> Self {
        let places = [const {
            Place {
                owner: Cell::new(null_mut()),
                first: Cell::new(null_mut()),
                last: Cell::new(null_mut()),
                blocks: Cell::new(0),
                bytes: Cell::new(0),
            }
        }; PLACES];
        Self { places, any: Cell::new(false) }
    }

    /// Keeps a block back; what is to be sent now, if anything.
    ///
    /// # Safety
    /// The block is the caller's alone, belongs to `owner`, fits `layout`, and has room for a
    /// [`RemoteBlock`].
    #[inline]
    pub(crate) unsafe fn put(
        &self,
        owner: NonNull<Shared>,
        block: NonNull<u8>,
        layout: NonZeroLayout,
    ) -> Option<Parcel> {
        self.any.set(true);
        let place = &self.places[place_of(owner)];
        let other = if place.owner.get() == owner.as_ptr() { None } else { place.take() };
        place.owner.set(owner.as_ptr());
        // SAFETY: The caller's promises.
        let block = unsafe { RemoteBlock::write(block, place.first.get(), layout) };
        if place.first.replace(block.as_ptr()).is_null() {
            place.last.set(block.as_ptr());
        }
        place.blocks.set(place.blocks.get() + 1);
        place.bytes.set(place.bytes.get() + layout.size());
        let full = place.blocks.get() >= BLOCKS || place.bytes.get() >= BYTES;
        // One parcel at a time: where one large block fills a place that was just taken over, it
        // goes with the next.
        if full && other.is_none() { place.take() } else { other }
    }

    /// Keeps a block back where that is nothing but one more for a heap that has a place; whether
    /// it was.
    ///
    /// # Safety
    /// As [`put`](Self::put).
    #[inline(always)]
    pub(crate) unsafe fn put_along(
        &self,
        owner: NonNull<Shared>,
        block: NonNull<u8>,
        layout: NonZeroLayout,
    ) -> bool {
        let place = &self.places[place_of(owner)];
        let (blocks, bytes) = (place.blocks.get() + 1, place.bytes.get() + layout.size());
        if place.owner.get() != owner.as_ptr() || blocks >= BLOCKS || bytes >= BYTES {
            return false;
        }
        // SAFETY: The caller's promises.
        let block = unsafe { RemoteBlock::write(block, place.first.get(), layout) };
        place.first.set(block.as_ptr());
        place.blocks.set(blocks);
        place.bytes.set(bytes);
        true
    }

    /// Takes what is kept back for some heap, if there is any.
    #[inline]
    pub(crate) fn take(&self) -> Option<Parcel> {
        if !self.any.get() {
            return None;
        }
        let parcel = self.places.iter().find_map(Place::take);
        self.any.set(parcel.is_some());
        parcel
    }
}

impl Place {
    fn take(&self) -> Option<Parcel> {
        let owner = NonNull::new(self.owner.replace(null_mut()))?;
        let (first, last) = (NonNull::new(self.first.replace(null_mut()))?, NonNull::new(self.last.get())?);
        let batch = Batch { first, last };
        Some(Parcel { owner, batch, blocks: self.blocks.replace(0), bytes: self.bytes.replace(0) })
    }
}

/// The place for the blocks of a heap.
#[inline(always)]
fn place_of(owner: NonNull<Shared>) -> usize {
    // Control blocks are cache lines at multiples of one another: Fibonacci hashing (D. Knuth, The
    // Art of Computer Programming 3, 6.4) spreads them.
    let spread = (owner.addr().get() as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (spread >> (u64::BITS - PLACES.ilog2())) as usize
}
