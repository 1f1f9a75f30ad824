//! Blocks freed here that belong to other threads' heaps, kept for a batch.
//!
//! A block freed by a thread that does not use its heap costs an atomic addition and an atomic
//! exchange if it is sent alone. So each thread links the blocks that it frees of the same slab, or
//! of the same heap where heaps keep all their slabs, plainly, and sends them when there are
//! enough. There are a few slots, by the slab's or the heap's address; a block whose slot another
//! has first sends the other's batch. (Batches by owner are snmalloc's, P. Liétar and others, 2019;
//! batches by slab are BatchIt's, N. Filardo and M. Parkinson, 2024.)
//!
//! ```text
//!   slot 0   slab S of heap A, 3 blocks, 192 bytes    first -> block -> last
//!   slot 1   no heap's
//!   ...
//! ```
//!
//! Always: a block in a remote cache is not counted as freed, so its slab and its heap wait for it.
//! A slot holds at most [`BLOCKS`] blocks and [`BYTES`] bytes; its batch is sent when a heap that
//! the thread uses needs memory, when the thread ends, and when the thread asks for statistics.
//! Only blocks of thread heaps are kept: a context's heap should end when its last block is freed.

use core::cell::Cell;
use core::ptr::{NonNull, null_mut};

use super::control::ControlRef;
use crate::layout::NonZeroLayout;
use crate::sync::{Batch, RemoteBlock};

/// The slabs or heaps for which blocks are kept at once.
const SLOTS: usize = 8;
/// Blocks for one of them that are kept at most.
const BLOCKS: usize = 64;
/// Bytes for one of them that are kept at most, but for the last block.
const BYTES: usize = 16 * 1024;

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct RemoteCache {
    slots: [Slot; SLOTS],
    /// Whether a slot is in use.
    any: Cell<bool>,
}

#[derive(Debug)]
struct Slot {
    owner: Cell<Option<ControlRef>>,
    /// What the blocks have in common; null in a slot that is not in use.
    home: Cell<*mut u8>,
    /// How often the heap had let go of slabs when the first block came.
    let_go: Cell<usize>,
    first: Cell<*mut RemoteBlock>,
    last: Cell<*mut RemoteBlock>,
    blocks: Cell<usize>,
    bytes: Cell<usize>,
}

/// Freed blocks of one slab or of one heap; both wait for them.
#[derive(Debug)]
pub(crate) struct RemoteBatch {
    owner: ControlRef,
    home: NonNull<u8>,
    let_go: usize,
    batch: Batch,
    blocks: usize,
    bytes: usize,
}

impl RemoteBatch {
    /// The heap that the blocks belong to.
    #[inline(always)]
    pub(crate) fn owner(&self) -> ControlRef {
        self.owner
    }

    /// What the blocks have in common, as `put` was told.
    #[inline(always)]
    pub(crate) fn home(&self) -> NonNull<u8> {
        self.home
    }

    /// How often the heap had let go of slabs when the first block came, as `put` was told.
    #[inline(always)]
    pub(crate) fn let_go(&self) -> usize {
        self.let_go
    }

    /// The blocks.
    #[inline(always)]
    pub(crate) fn batch(&self) -> Batch {
        self.batch
    }

    /// How many blocks there are.
    #[inline(always)]
    pub(crate) fn blocks(&self) -> usize {
        self.blocks
    }

    /// Bytes of the blocks, as they were asked for.
    #[inline(always)]
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl RemoteCache {
    pub(crate) const fn new() -> Self {
        let slots = [const {
            Slot {
                owner: Cell::new(None),
                home: Cell::new(null_mut()),
                let_go: Cell::new(0),
                first: Cell::new(null_mut()),
                last: Cell::new(null_mut()),
                blocks: Cell::new(0),
                bytes: Cell::new(0),
            }
        }; SLOTS];
        Self { slots, any: Cell::new(false) }
    }

    /// Keeps a block; the batch that is to be sent now, if there is one. `home` is the start of the
    /// block's slab, or the control block of its heap: blocks of one home go together. `let_go`
    /// says how often the heap has let go of slabs.
    ///
    /// # Safety
    /// The block is the caller's alone, belongs to `owner`, as all blocks of that home do, fits
    /// `layout`, and has room for a [`RemoteBlock`].
    #[inline]
    pub(crate) unsafe fn put(
        &self,
        owner: ControlRef,
        home: NonNull<u8>,
        let_go: impl FnOnce() -> usize,
        block: NonNull<u8>,
        layout: NonZeroLayout,
    ) -> Option<RemoteBatch> {
        self.any.set(true);
        let slot = &self.slots[slot_of(home)];
        let other = if slot.home.get() == home.as_ptr() { None } else { slot.take() };
        slot.owner.set(Some(owner));
        if slot.home.replace(home.as_ptr()) != home.as_ptr() {
            slot.let_go.set(let_go());
        }
        // SAFETY: The caller promises that the block is its own and has room.
        let block = unsafe { RemoteBlock::write(block, slot.first.get(), layout) };
        if slot.first.replace(block.as_ptr()).is_null() {
            slot.last.set(block.as_ptr());
        }
        slot.blocks.set(slot.blocks.get() + 1);
        slot.bytes.set(slot.bytes.get() + layout.size());
        let full = slot.blocks.get() >= BLOCKS || slot.bytes.get() >= BYTES;
        // One batch at a time: a large block that fills a slot which was just taken over goes with
        // the next.
        if full && other.is_none() { slot.take() } else { other }
    }

    /// Whether a slot is for that home.
    #[inline(always)]
    pub(crate) fn is_for(&self, home: NonNull<u8>) -> bool {
        self.slots[slot_of(home)].home.get() == home.as_ptr()
    }

    /// Keeps a block if it is one more for a home that has a slot with room; whether it is.
    ///
    /// # Safety
    /// As [`put`](Self::put).
    #[inline(always)]
    pub(crate) unsafe fn put_next(
        &self,
        home: NonNull<u8>,
        block: NonNull<u8>,
        layout: NonZeroLayout,
    ) -> bool {
        let slot = &self.slots[slot_of(home)];
        let (blocks, bytes) = (slot.blocks.get() + 1, slot.bytes.get() + layout.size());
        if slot.home.get() != home.as_ptr() || blocks >= BLOCKS || bytes >= BYTES {
            return false;
        }
        // SAFETY: The caller promises that the block is its own and has room.
        let block = unsafe { RemoteBlock::write(block, slot.first.get(), layout) };
        slot.first.set(block.as_ptr());
        slot.blocks.set(blocks);
        slot.bytes.set(bytes);
        true
    }

    /// Takes a batch, if there is one.
    #[inline]
    pub(crate) fn take(&self) -> Option<RemoteBatch> {
        if !self.any.get() {
            return None;
        }
        let batch = self.slots.iter().find_map(Slot::take);
        self.any.set(batch.is_some());
        batch
    }
}

impl Slot {
    fn take(&self) -> Option<RemoteBatch> {
        let (owner, home) = (self.owner.replace(None)?, NonNull::new(self.home.replace(null_mut()))?);
        let (first, last) = (NonNull::new(self.first.replace(null_mut()))?, NonNull::new(self.last.get())?);
        let batch = Batch { first, last };
        Some(RemoteBatch {
            owner,
            home,
            let_go: self.let_go.get(),
            batch,
            blocks: self.blocks.replace(0),
            bytes: self.bytes.replace(0),
        })
    }
}

/// The slot for the blocks of a home.
#[inline(always)]
fn slot_of(home: NonNull<u8>) -> usize {
    // Homes lie at multiples of one another: Fibonacci hashing (D. Knuth, The Art of Computer
    // Programming 3, 6.4) spreads them.
    let spread = (home.addr().get() as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (spread >> (u64::BITS - SLOTS.ilog2())) as usize
}
