//! Blocks of one size, for many threads.
//!
//! The arena obtains *chunks* from its own source, each `C` bytes at a multiple of `C`, and cuts
//! them into blocks of `B` bytes. Blocks that are free form a list, linked through their first
//! word; the chunk obtained last is cut only as far as needed, so that no page of it is touched
//! before its block is used.
//!
//! ```text
//!   chunk (C bytes, multiple of C)           free list
//!   +---------+---------+---------+- - - - -+
//!   | block 0 | block 1 | block 2 | uncut   |   head -> block -> block -> null
//!   +---------+---------+---------+- - - - -+
//!                                 ^ uncut.start
//! ```
//!
//! Always: each block of each chunk that was obtained is either held by a user, on the list, or
//! uncut. `free` counts the list. Everything is reached under one lock, held for a few instructions
//! (and for the call to the source where a chunk is obtained). Since a chunk keeps no index of its
//! own, wholly free chunks are found by sorting the list by address (a merge sort in place, O(n log
//! n) in the number of free blocks), only when somebody asks.

use core::fmt;
use core::marker::PhantomData;
use core::ptr::{NonNull, null_mut};

use super::through::{pass_on_decommit, pass_on_sweep};
use super::{Decommit, IdleMemory, MemorySource, Obtained, OwnsRegions, SLICE};
use crate::error::SourceError;
use crate::layout::NonZeroLayout;
use crate::ptr;
use crate::size::{BlockSize, U65536, U1048576};
use crate::sync::{Guarded, const_fn};

/// A source of blocks of `B` bytes, cut from chunks of `C` bytes that it obtains from `S`.
///
/// Any thread may obtain and release; both take a fixed number of steps. Released blocks are kept
/// for the next request, last in first out; [`reclaim`](MemorySource::reclaim) and dropping the
/// arena give wholly free chunks back to `S`. Only blocks that nobody had before may be known to be
/// zero. Requests beyond `B` bytes are refused.
///
/// `C` must be at least `B`, which is checked when the program is compiled. Where `C` is less than
/// 64 KiB the arena cannot stand in a tier of the switchable allocator.
///
/// # Examples
/// ```
/// use context_allocator::size::U4096;
/// use context_allocator::{ArenaSource, MemorySource, MmapSource, NonZeroLayout};
///
/// let arena = ArenaSource::<_, U4096>::new_in(MmapSource::new());
/// let layout = NonZeroLayout::from_size_align(3000, 8)?;
/// let block = arena.obtain(layout)?;
/// assert_eq!(block.len(), 4096);
/// // SAFETY: Just obtained with this layout, and not used again.
/// unsafe { arena.release(block, layout) };
/// assert_eq!(arena.reclaim(&mut |_| ()), 1024 * 1024);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "ArenaMemorySource")]
pub struct ArenaSource<S, B = U65536, C = U1048576>
where
    S: MemorySource,
    B: BlockSize,
    C: BlockSize,
{
    source: S,
    blocks: Guarded<Blocks>,
    sizes: PhantomData<fn() -> (B, C)>,
}

/// What the lock guards.
struct Blocks {
    list: *mut FreeBlock,
    free: usize,
    uncut: *mut u8,
    uncut_len: usize,
    /// Whether what is uncut is known to be zero.
    uncut_zeroed: bool,
    chunks: usize,
}

// SAFETY: The blocks behind the pointers belong to the arena, not to a thread.
unsafe impl Send for Blocks {}

/// What a free block begins with.
struct FreeBlock {
    next: *mut FreeBlock,
}

/// How much an arena holds, in bytes; see [`ArenaSource::usage`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ArenaUsage {
    /// Bytes obtained from the arena's own source and not given back.
    pub obtained: usize,
    /// Of those, bytes that nobody holds: free blocks, and what is not yet cut into blocks.
    pub unused: usize,
}

impl<S: MemorySource> ArenaSource<S> {
    const_fn! {
        /// An arena of blocks of 64 KiB that takes chunks of 1 MiB from `source`; it obtains none
        /// before its first block is asked for.
        pub fn new(source: S) -> Self {
            Self::new_in(source)
        }
    }
}

impl<S, B, C> ArenaSource<S, B, C>
where
    S: MemorySource,
    B: BlockSize,
    C: BlockSize,
{
    const CHUNK: NonZeroLayout = {
        assert!(
            C::BYTES >= B::BYTES,
            "ArenaSource<S, B, C>: the chunk size C must be at least the block size B"
        );
        match NonZeroLayout::from_size_align(C::BYTES, C::BYTES) {
            Ok(layout) => layout,
            Err(_) => panic!("ArenaSource<S, B, C>: C is too large"),
        }
    };

    const_fn! {
        /// As [`new`](ArenaSource::new), with blocks and chunks of the sizes that the type names.
        pub fn new_in(source: S) -> Self {
            // Named here, so that sizes that do not go together are an error where the arena is
            // made.
            let _ = Self::CHUNK;
            let (list, uncut) = (null_mut(), null_mut());
            let blocks = Blocks { list, free: 0, uncut, uncut_len: 0, uncut_zeroed: false, chunks: 0 };
            Self { source, blocks: Guarded::new(blocks), sizes: PhantomData }
        }
    }

    /// How much the arena holds at this moment.
    pub fn usage(&self) -> ArenaUsage {
        let blocks = self.blocks.lock();
        ArenaUsage { obtained: blocks.chunks * C::BYTES, unused: blocks.free * B::BYTES + blocks.uncut_len }
    }

    /// Takes the next uncut block, obtaining a chunk if there is none; says whether it is known to
    /// be zero.
    fn cut(&self, blocks: &mut Blocks) -> Result<(NonNull<u8>, bool), SourceError> {
        if blocks.uncut_len == 0 {
            let Obtained { region, zeroed } = self.source.obtain_between(Self::CHUNK, C::BYTES)?;
            blocks.chunks += 1;
            blocks.uncut = region.cast::<u8>().as_ptr();
            blocks.uncut_len = C::BYTES;
            blocks.uncut_zeroed = zeroed;
        }
        let block = NonNull::new(blocks.uncut).ok_or(SourceError::Exhausted)?;
        blocks.uncut = ptr::up(blocks.uncut, B::BYTES);
        blocks.uncut_len -= B::BYTES;
        Ok((block, blocks.uncut_zeroed))
    }

    /// Takes the wholly free chunks out: the first of them, linked through their first words.
    fn detach_free_chunks(&self) -> *mut FreeBlock {
        let mut blocks = self.blocks.lock();
        let uncut = blocks.uncut.cast::<FreeBlock>();
        let partly_cut = if blocks.uncut_len > 0 { Self::chunk_of(uncut) } else { null_mut() };
        let mut rest = sort(blocks.list, blocks.free);
        let mut detached = null_mut();
        blocks.list = null_mut();
        blocks.free = 0;
        while !rest.is_null() {
            let chunk = Self::chunk_of(rest);
            let (run, len, behind) = split_run(rest, chunk, C::BYTES);
            let uncut = if chunk == partly_cut { blocks.uncut_len } else { 0 };
            if len * B::BYTES + uncut == C::BYTES {
                blocks.uncut_len -= uncut;
                blocks.chunks -= 1;
                // SAFETY: The chunk begins with its first block, which is free: blocks are cut from
                // the bottom up.
                unsafe { chunk.write(FreeBlock { next: detached }) };
                detached = chunk;
            } else {
                let mut run = run;
                for _ in 0..len {
                    // SAFETY: `split_run` counted `len` linked blocks from `run` on.
                    let next = unsafe { (*run).next };
                    // SAFETY: A block's address is not null.
                    blocks.push(unsafe { NonNull::new_unchecked(run.cast::<u8>()) });
                    run = next;
                }
            }
            rest = behind;
        }
        detached
    }

    /// Gives the wholly free chunks back, and returns how many bytes that was.
    fn give_chunks_back(&self, leaving: &mut dyn FnMut(NonNull<[u8]>)) -> usize {
        let mut chunk = self.detach_free_chunks();
        let mut reclaimed = 0;
        // Without the lock: `leaving` may use this arena.
        while let Some(start) = NonNull::new(chunk) {
            // SAFETY: What was detached is chunks linked through their first words, which nobody
            // else knows of.
            chunk = unsafe { start.as_ref() }.next;
            let region = ptr::bytes(start.cast(), C::BYTES);
            leaving(region);
            reclaimed += C::BYTES;
            // SAFETY: The chunk was obtained with this layout, and all its blocks were free or
            // uncut and are on no list.
            unsafe { self.source.release(region, Self::CHUNK) };
        }
        reclaimed
    }

    fn chunk_of(block: *mut FreeBlock) -> *mut FreeBlock {
        ptr::untagged(block, C::BYTES - 1)
    }
}

impl Blocks {
    fn push(&mut self, block: NonNull<u8>) {
        let block = block.cast::<FreeBlock>();
        // SAFETY: The block is free, so the arena alone uses it; it is at least 8 bytes at a
        // multiple of 8, which `BlockSize` guarantees, and so holds a link.
        unsafe { block.write(FreeBlock { next: self.list }) };
        self.list = block.as_ptr();
        self.free += 1;
    }

    fn pop(&mut self) -> Option<NonNull<u8>> {
        let block = NonNull::new(self.list)?;
        // SAFETY: What is on the list is free, and `push` wrote its link.
        self.list = unsafe { block.as_ref() }.next;
        self.free -= 1;
        Some(block.cast())
    }
}

// SAFETY: A block lies in a chunk that the arena holds, is `B::BYTES` at a multiple of that (chunks
// are cut from a multiple of `C::BYTES`, which `B::BYTES` divides, both being powers of two), and
// is given to one user at a time, because the lock makes each `pop` and `cut` remove it. Chunks are
// multiples of slices where `BLOCK` is not zero, and leave only through `reclaim`, which names
// them, or the drop of the arena, which ends every borrow.
unsafe impl<S, B, C> MemorySource for ArenaSource<S, B, C>
where
    S: MemorySource,
    B: BlockSize,
    C: BlockSize,
{
    const MIN_ALIGN: usize = B::BYTES;
    const MAX_REGION: usize = B::BYTES;
    const BLOCK: usize = if C::BYTES.is_multiple_of(SLICE) { B::BYTES } else { 0 };
    const SHARES_SLICES: bool = Self::BLOCK == 0;

    #[inline]
    fn obtain(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, SourceError> {
        Ok(self.obtain_between(layout, layout.size())?.region)
    }

    #[inline]
    fn obtain_between(&self, least: NonZeroLayout, _preferred: usize) -> Result<Obtained, SourceError> {
        if least.size() > B::BYTES {
            return Err(SourceError::TooLarge);
        }
        if least.align() > B::BYTES {
            return Err(SourceError::AlignmentTooLarge);
        }
        let mut blocks = self.blocks.lock();
        let (block, zeroed) = match blocks.pop() {
            Some(block) => (block, false),
            None => self.cut(&mut blocks)?,
        };
        Ok(Obtained { region: ptr::bytes(block, B::BYTES), zeroed })
    }

    #[inline]
    unsafe fn release(&self, region: NonNull<[u8]>, _layout: NonZeroLayout) {
        self.blocks.lock().push(region.cast());
    }

    fn purge(&self) -> usize {
        self.source.purge()
    }

    pass_on_sweep!(self => self.source);

    fn idle(&self, report: &mut dyn FnMut(IdleMemory)) {
        let blocks = self.blocks.lock();
        let free = blocks.free * B::BYTES;
        let idle = IdleMemory::of(self, free + blocks.uncut_len, free);
        drop(blocks);
        report(idle);
        self.source.idle(report);
    }

    fn reclaim(&self, leaving: &mut dyn FnMut(NonNull<[u8]>)) -> usize {
        self.give_chunks_back(leaving) + self.source.reclaim(leaving)
    }

    unsafe fn before_fork(&self) {
        self.blocks.hold_for_fork();
        // SAFETY: The caller's promises, for the source behind.
        unsafe { self.source.before_fork() };
    }

    unsafe fn after_fork(&self) {
        // SAFETY: `before_fork` called the source's, and the caller promises that this is the call
        // behind it.
        unsafe { self.source.after_fork() };
        // SAFETY: `before_fork` held the lock, likewise.
        unsafe { self.blocks.release_after_fork() };
    }
}

/// Counts the blocks from `first` on (a list sorted by address) that lie in the chunk at `chunk`:
/// that run's first block, its length, and the first block behind it.
fn split_run(
    first: *mut FreeBlock,
    chunk: *mut FreeBlock,
    chunk_bytes: usize,
) -> (*mut FreeBlock, usize, *mut FreeBlock) {
    let mut len = 0;
    let mut block = first;
    while !block.is_null() && block.addr() - chunk.addr() < chunk_bytes {
        len += 1;
        // SAFETY: `block` is on the list, so it is free and linked.
        block = unsafe { (*block).next };
    }
    (first, len, block)
}

/// Sorts the first `len` blocks of a list by address, the last one's link becoming null: a top-down
/// merge sort on links (D. Knuth, The Art of Computer Programming 3, section 5.2.4).
fn sort(list: *mut FreeBlock, len: usize) -> *mut FreeBlock {
    if len == 0 {
        return null_mut();
    }
    if len == 1 {
        // SAFETY: The list has `len` blocks, each free and linked.
        unsafe { (*list).next = null_mut() };
        return list;
    }
    let mut middle = list;
    for _ in 0..len / 2 {
        // SAFETY: As above; `len / 2` is less than `len`.
        middle = unsafe { (*middle).next };
    }
    let right = sort(middle, len - len / 2);
    let left = sort(list, len / 2);
    merge(left, right)
}

/// Merges two sorted lists.
fn merge(mut left: *mut FreeBlock, mut right: *mut FreeBlock) -> *mut FreeBlock {
    let mut head = FreeBlock { next: null_mut() };
    let mut last: *mut FreeBlock = &raw mut head;
    while !left.is_null() && !right.is_null() {
        let smaller = if left.addr() < right.addr() { &mut left } else { &mut right };
        // SAFETY: `last` is `head` or a block of these lists, all writable.
        unsafe { (*last).next = *smaller };
        last = *smaller;
        // SAFETY: `last` is now a block of these lists.
        *smaller = unsafe { (*last).next };
    }
    let rest = if left.is_null() { right } else { left };
    // SAFETY: `last` is `head` or a block of these lists.
    unsafe { (*last).next = rest };
    head.next
}

// SAFETY: A block lies in a chunk, which is held of the source behind.
unsafe impl<S, B, C> OwnsRegions for ArenaSource<S, B, C>
where
    S: MemorySource + OwnsRegions,
    B: BlockSize,
    C: BlockSize,
{
    #[inline]
    fn owns(&self, address: NonNull<u8>) -> bool {
        self.source.owns(address)
    }
}

// SAFETY: A range in a block lies in a chunk, which is held of the source behind.
unsafe impl<S, B, C> Decommit for ArenaSource<S, B, C>
where
    S: Decommit,
    B: BlockSize,
    C: BlockSize,
{
    pass_on_decommit!(self => self.source);
}

impl<S, B, C> Drop for ArenaSource<S, B, C>
where
    S: MemorySource,
    B: BlockSize,
    C: BlockSize,
{
    /// Gives all wholly free chunks back; a chunk with a block that was never released is leaked.
    fn drop(&mut self) {
        self.give_chunks_back(&mut |_| ());
    }
}

impl<S, B, C> fmt::Debug for ArenaSource<S, B, C>
where
    S: MemorySource + fmt::Debug,
    B: BlockSize,
    C: BlockSize,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArenaSource")
            .field("source", &self.source)
            .field("block", &B::BYTES)
            .field("chunk", &C::BYTES)
            .finish_non_exhaustive()
    }
}
