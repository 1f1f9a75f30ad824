//! Blocks freed here that belong to other threads' heaps, kept for a batch.
//!
//! A block freed by a thread that does not use its heap costs an atomic addition and an atomic
//! exchange if it is sent alone. So each thread links the blocks that it frees of the same heap,
//! plainly, and sends them when there are enough. There are a few slots, by the heap's address; a
//! block whose slot another heap has first sends that heap's batch. (Batches by owner are
//! snmalloc's; P. Liétar and others, 2019.)
//!
//! ```text
//!   slot 0   heap A, 3 blocks, 192 bytes    first -> block -> last
//!   slot 1   no heap's
//!   ...
//! ```
//!
//! Always: a block in a remote cache is not counted as freed, so its heap waits for it. A slot
//! holds at most [`BLOCKS`] blocks and [`BYTES`] bytes; its batch is sent when a heap that the
//! thread uses needs memory, when the thread ends, and when the thread asks for statistics. Only
//! blocks of thread heaps are kept: a context's heap should end when its last block is freed.

use core::cell::Cell;
use core::ptr::{NonNull, null_mut};

use super::balance::Frees;
use super::control::ControlRef;
use crate::layout::NonZeroLayout;
use crate::sync::{Batch, RemoteBlock};

/// The heaps for which blocks are kept at once.
const SLOTS: usize = 4;
/// Blocks for one heap that are kept at most.
const BLOCKS: usize = 64;
/// Bytes for one heap that are kept at most, but for the last block.
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
    first: Cell<*mut RemoteBlock>,
    last: Cell<*mut RemoteBlock>,
    blocks: Cell<usize>,
    bytes: Cell<usize>,
}

/// Freed blocks for one heap, which waits for them.
#[derive(Debug)]
pub(crate) struct RemoteBatch {
    owner: ControlRef,
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

    /// Sends the blocks to their heap, which may be gone when this returns.
    #[inline(always)]
    pub(crate) fn send(self) -> Frees {
        // SAFETY: `put` and `put_next` took the blocks from a caller who had freed them, for the
        // heap that is their owner.
        unsafe { self.owner.return_blocks(Some(self.batch), self.blocks) }
    }
}

impl RemoteCache {
    pub(crate) const fn new() -> Self {
        let slots = [const {
            Slot {
                owner: Cell::new(None),
                first: Cell::new(null_mut()),
                last: Cell::new(null_mut()),
                blocks: Cell::new(0),
                bytes: Cell::new(0),
            }
        }; SLOTS];
        Self { slots, any: Cell::new(false) }
    }

    /// Keeps a block; the batch that is to be sent now, if there is one.
    ///
    /// # Safety
    /// The block is the caller's alone, belongs to `owner`, fits `layout`, and has room for a
    /// [`RemoteBlock`].
    #[inline]
    pub(crate) unsafe fn put(
        &self,
        owner: ControlRef,
        block: NonNull<u8>,
        layout: NonZeroLayout,
    ) -> Option<RemoteBatch> {
        self.any.set(true);
        let slot = &self.slots[slot_of(owner)];
        let other = if slot.owner.get() == Some(owner) { None } else { slot.take() };
        slot.owner.set(Some(owner));
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

    /// Keeps a block if it is one more for a heap that has a slot with room; whether it is.
    ///
    /// # Safety
    /// As [`put`](Self::put).
    #[inline(always)]
    pub(crate) unsafe fn put_next(
        &self,
        owner: ControlRef,
        block: NonNull<u8>,
        layout: NonZeroLayout,
    ) -> bool {
        let slot = &self.slots[slot_of(owner)];
        let (blocks, bytes) = (slot.blocks.get() + 1, slot.bytes.get() + layout.size());
        if slot.owner.get() != Some(owner) || blocks >= BLOCKS || bytes >= BYTES {
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
        let owner = self.owner.replace(None)?;
        let (first, last) = (NonNull::new(self.first.replace(null_mut()))?, NonNull::new(self.last.get())?);
        let batch = Batch { first, last };
        Some(RemoteBatch { owner, batch, blocks: self.blocks.replace(0), bytes: self.bytes.replace(0) })
    }
}

/// The slot for the blocks of a heap.
#[inline(always)]
fn slot_of(owner: ControlRef) -> usize {
    // Control blocks are cache lines at multiples of one another: Fibonacci hashing (D. Knuth, The
    // Art of Computer Programming 3, 6.4) spreads them.
    let spread = (owner.addr() as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (spread >> (u64::BITS - SLOTS.ilog2())) as usize
}
