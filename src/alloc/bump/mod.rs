//! Bump allocation: a pointer that moves up through a region.
//!
//! ```text
//!   newest region                                             older regions
//!   +--------+-------+---+----------+----------------+        +--------+--------
//!   | header | block |pad|  block   |      free      |   +--> | header | ...
//!   +--------+-------+---+----------+----------------+   |    +--------+--------
//!       | previous                  ^ cursor         ^ limit
//!       +------------------------------------------------+
//! ```
//!
//! Always: `cursor` is at most `limit`, both are multiples of `MIN_ALIGN` in the newest region or, before there is one,
//! the same dangling address, so that no request fits and there is no separate test for "no region yet". Every block ends at or
//! below `cursor` or lies in an older region.

mod arithmetic;

use core::cell::Cell;
use core::fmt;
use core::ptr::{NonNull, null_mut};

use super::{Allocator, LocalAllocator, NoFront, Owns, Reset, ResizeInPlace, in_place_or_elsewhere};
use crate::layout::round_up;
use crate::source::request::obtain_between;
use crate::{AllocError, MemorySource, NonZeroLayout, SourceError, ptr};
use arithmetic::{MIN_ALIGN, next_region, place, rounded};

/// An allocator that hands out its regions from bottom to top and frees them as a whole.
///
/// To allocate is to add to a pointer; to free does nothing, except that the block allocated last is given back, and
/// grows and shrinks where it is. [`reset`](Reset::reset) frees everything and keeps the largest region; dropping the
/// allocator releases all regions. Every block takes its size rounded up to 8 bytes and nothing else; a region takes 16
/// bytes for itself.
///
/// Regions come from `S` when they are needed: the first is 64 KiB, each later one twice the last up to 4 MiB, or as large as
/// a block that would not fit; smaller if the source has no more, as large as its blocks if it has blocks. A source that gives only
/// one region, such as [`RegionSource`](crate::RegionSource), makes an allocator of fixed size.
///
/// # Held memory
/// Twice what was allocated since the last reset, freed or not, and one region of 64 KiB to 4 MiB,
/// or as long as the largest block: a block that does not fit a region leaves less than its own
/// length unused there.
///
/// It is for one thread at a time: it can be sent, not shared.
///
/// ```compile_fail,E0277
/// fn shared<T: Sync>() {}
/// shared::<context_allocator::BumpAllocator<context_allocator::MmapSource>>();
/// ```
///
/// # Examples
/// ```
/// use context_allocator::{Allocator, BumpAllocator, MmapSource, NonZeroLayout, Reset};
///
/// let mut bump = BumpAllocator::new(MmapSource::new());
/// let layout = NonZeroLayout::of::<[u64; 4]>().unwrap();
/// let first = bump.allocate(layout)?;
/// let second = bump.allocate(layout)?;
/// assert_eq!(second.addr().get() - first.addr().get(), 32);
/// bump.reset();
/// assert_eq!(bump.allocate(layout)?.addr(), first.addr());
/// # Ok::<(), context_allocator::AllocError>(())
/// ```
pub struct BumpAllocator<S: MemorySource> {
    cursor: Cell<*mut u8>,
    limit: Cell<*mut u8>,
    newest: Cell<*mut RegionHeader>,
    source: S,
}

// SAFETY: The pointers lead to regions that this allocator alone uses, wherever it is; the source says for itself whether
// it can be sent.
unsafe impl<S: MemorySource + Send> Send for BumpAllocator<S> {}

/// What a region begins with.
struct RegionHeader {
    previous: *mut RegionHeader,
    /// Length of the region in bytes, this header included.
    len: usize,
}

const HEADER: usize = size_of::<RegionHeader>();
const REGION_ALIGN: usize = 16;
const _: () = assert!(HEADER.is_multiple_of(MIN_ALIGN) && align_of::<RegionHeader>() <= REGION_ALIGN);
const _: () = assert!(HEADER.is_power_of_two() && HEADER <= REGION_ALIGN);

/// A point in the life of a [`BumpAllocator`] to which it can go back.
#[derive(Clone, Copy, Debug)]
pub struct Checkpoint {
    newest: *mut RegionHeader,
    cursor: *mut u8,
}

impl<S: MemorySource> BumpAllocator<S> {
    /// An allocator over `source` that holds nothing yet.
    pub const fn new(source: S) -> Self {
        Self {
            cursor: Cell::new(ptr::dangling(MIN_ALIGN)),
            limit: Cell::new(ptr::dangling(MIN_ALIGN)),
            newest: Cell::new(null_mut()),
            source,
        }
    }

    /// The source of the regions.
    pub const fn source(&self) -> &S {
        &self.source
    }

    /// Bytes of the regions that it holds.
    pub fn region_bytes(&self) -> usize {
        self.regions().map(|(_, len)| len).sum()
    }

    /// This moment, to go back to with [`rewind`](Self::rewind).
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint { newest: self.newest.get(), cursor: self.cursor.get() }
    }

    /// Goes back to `checkpoint`: frees what was allocated since, and releases the regions obtained since.
    ///
    /// # Safety
    /// - `checkpoint` was made by this allocator, and since then there was no `reset`, no `rewind` to an earlier
    ///   checkpoint, and no `deallocate`, `grow` or `shrink` of a block that was allocated before it.
    /// - No [`scope`](Self::scope) that began since is still running: it will go back to a later moment.
    /// - No block that was allocated since is used any more.
    pub unsafe fn rewind(&self, checkpoint: Checkpoint) {
        while self.newest.get() != checkpoint.newest {
            // SAFETY: The checkpoint's region is on the list below, as the caller promises, so there is a newest one
            // above it, whose blocks were all allocated since and are not used any more.
            unsafe { self.release_newest() };
        }
        self.cursor.set(checkpoint.cursor);
        self.limit.set(match NonNull::new(checkpoint.newest) {
            // SAFETY: What is on the list is a region that this allocator holds, with its header.
            Some(header) => ptr::up(header.as_ptr().cast(), usable(unsafe { header.as_ref() }.len)),
            None => checkpoint.cursor,
        });
    }

    /// Runs `f`, and then, even if it panics, frees what was allocated meanwhile.
    ///
    /// `f` can't keep a block that borrows the allocator: the borrow ends with it.
    ///
    /// # Examples
    /// ```
    /// use context_allocator::{Allocator, BumpAllocator, MmapSource, NonZeroLayout};
    ///
    /// let mut bump = BumpAllocator::new(MmapSource::new());
    /// let layout = NonZeroLayout::of::<u64>().unwrap();
    /// let first = bump.scope(|bump| bump.allocate(layout).map(|block| block.addr()));
    /// let second = bump.scope(|bump| bump.allocate(layout).map(|block| block.addr()));
    /// assert_eq!(first, second);
    /// ```
    pub fn scope<R>(&mut self, f: impl for<'a> FnOnce(&'a Self) -> R) -> R {
        struct Rewind<'a, S: MemorySource>(&'a BumpAllocator<S>, Checkpoint);
        impl<S: MemorySource> Drop for Rewind<'_, S> {
            fn drop(&mut self) {
                // SAFETY: The checkpoint is this allocator's. The allocator was borrowed mutably when it was made,
                // so nothing that borrows it held an older block; and whatever `f` made that borrows it is gone.
                // `f` has only a shared reference, so there was no `reset`, and nested scopes are impossible; who
                // calls `rewind` promises not to go back beyond a scope that is running.
                unsafe { self.0.rewind(self.1) };
            }
        }
        let rewind = Rewind(self, self.checkpoint());
        f(rewind.0)
    }

    /// Start and length of each region, the newest first.
    fn regions(&self) -> impl Iterator<Item = (*mut RegionHeader, usize)> + '_ {
        let mut next = self.newest.get();
        core::iter::from_fn(move || {
            let header = NonNull::new(next)?;
            // SAFETY: What is on the list is a region that this allocator holds, and `obtain` wrote its header; the
            // iterator borrows the allocator, and no caller in this file releases a region while it runs.
            let RegionHeader { previous, len } = *unsafe { header.as_ref() };
            next = previous;
            Some((header.as_ptr(), len))
        })
    }

    /// Obtains a region in which `layout` fits, and makes it the newest.
    fn obtain(&self, layout: NonZeroLayout) -> Result<(), AllocError> {
        // From a multiple of `REGION_ALIGN`, hence of `HEADER`, the first multiple of `align` behind the header is at
        // most the larger of the two away.
        let before = HEADER.max(layout.align());
        let size = round_up(layout.size(), MIN_ALIGN).ok_or(AllocError::TooLarge)?;
        let needed = size.checked_add(before).ok_or(AllocError::TooLarge)?;
        let least = NonZeroLayout::from_size_align(needed, REGION_ALIGN)?;
        // SAFETY: As in `regions`.
        let last = NonNull::new(self.newest.get()).map_or(0, |header| unsafe { header.as_ref() }.len);
        let preferred = next_region(last);
        let obtained = obtain_between(&self.source, least, preferred)?;
        self.push(obtained.region);
        Ok(())
    }

    /// Makes `region`, just obtained, the newest.
    fn push(&self, region: NonNull<[u8]>) {
        let header = region.cast::<RegionHeader>();
        // SAFETY: The region was just obtained: it is ours, larger than a header and aligned for it.
        unsafe { header.write(RegionHeader { previous: self.newest.get(), len: region.len() }) };
        self.newest.set(header.as_ptr());
        self.start_over(header.as_ptr(), region.len());
    }

    /// Puts the cursor at the start of a region.
    fn start_over(&self, header: *mut RegionHeader, len: usize) {
        self.cursor.set(ptr::up(header.cast(), HEADER));
        self.limit.set(ptr::up(header.cast(), usable(len)));
    }

    /// Releases the newest region.
    ///
    /// # Safety
    /// There is one, and none of its blocks is used any more. The caller sets cursor and limit.
    unsafe fn release_newest(&self) {
        let header = self.newest.get();
        // SAFETY: There is a newest region, as the caller promises, and its header was written by `push`.
        let RegionHeader { previous, len } = unsafe { header.read() };
        self.newest.set(previous);
        // SAFETY: A region's address is not null.
        let start = unsafe { NonNull::new_unchecked(header.cast::<u8>()) };
        if let Ok(layout) = NonZeroLayout::of_region(len, REGION_ALIGN) {
            // SAFETY: The region is off the list, so nothing of it is used again; region and layout fit it.
            unsafe { self.source.release(ptr::bytes(start, len), layout) };
        }
    }

    /// Whether the block at `block` ends where the next one would begin.
    #[inline(always)]
    fn is_last(&self, block: NonNull<u8>, size: usize) -> bool {
        block.addr().get().wrapping_add(size) == self.cursor.get().addr()
    }
}

/// Bytes of a region of `len` bytes up to the last multiple of `MIN_ALIGN`.
const fn usable(len: usize) -> usize {
    len & !(MIN_ALIGN - 1)
}

// SAFETY: `allocate_at_hand` cuts blocks off between cursor and limit, which lie in a region that the allocator holds,
// and moves the cursor behind them; the cursor moves down only over the last block, when it is given back or shrunk. So no
// two allocated blocks overlap. Regions don't move with the allocator.
unsafe impl<S: MemorySource> Allocator for BumpAllocator<S> {
    #[inline]
    fn allocate(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, AllocError> {
        if let Some(block) = self.allocate_in_region(layout) {
            return Ok(ptr::bytes(block, rounded(layout.size())));
        }
        self.allocate_in_new_region(layout)
    }

    #[inline(always)]
    unsafe fn deallocate(&self, block: NonNull<u8>, layout: NonZeroLayout) {
        if self.is_last(block, rounded(layout.size())) {
            self.cursor.set(ptr::at(self.cursor.get(), block.addr().get()));
        }
    }

    in_place_or_elsewhere!(source);
}

impl<S: MemorySource> BumpAllocator<S> {
    #[inline(always)]
    fn allocate_in_region(&self, layout: NonZeroLayout) -> Option<NonNull<u8>> {
        let cursor = self.cursor.get();
        // SAFETY: The cursor starts at a multiple of MIN_ALIGN, behind a header or dangling, and moves by multiples of it: sizes are
        // rounded, and padding to a smaller alignment is 0.
        unsafe { core::hint::assert_unchecked(cursor.addr().is_multiple_of(MIN_ALIGN)) };
        let size = rounded(layout.size());
        let (start, end) = place(cursor.addr(), self.limit.get().addr(), size, layout.align())?;
        self.cursor.set(ptr::at(cursor, end));
        // SAFETY: The start is not null: it is at least the cursor, which lies in a region or is dangling, and at most the limit.
        Some(unsafe { NonNull::new_unchecked(ptr::at(cursor, start)) })
    }

    #[cold]
    #[inline(never)]
    fn allocate_in_new_region(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, AllocError> {
        self.obtain(layout)?;
        match self.allocate_in_region(layout) {
            Some(block) => Ok(ptr::bytes(block, rounded(layout.size()))),
            None => Err(AllocError::Source(SourceError::TooLarge)),
        }
    }
}

// SAFETY: A block that is the last one ends at the cursor, so moving the cursor changes its length and no other block's;
// a block that is large enough already keeps its length.
unsafe impl<S: MemorySource> ResizeInPlace for BumpAllocator<S> {
    #[inline]
    unsafe fn grow_in_place(
        &self,
        block: NonNull<u8>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        let (old_size, new_size) = (rounded(old.size()), rounded(new.size()));
        if ptr::padding(block.addr().get(), new.align()) != 0 {
            return Err(AllocError::NotInPlace);
        }
        if new_size > old_size {
            let cursor = self.cursor.get();
            let room = self.limit.get().addr() - cursor.addr();
            if !self.is_last(block, old_size) || new_size - old_size > room {
                return Err(AllocError::NotInPlace);
            }
            self.cursor.set(ptr::up(cursor, new_size - old_size));
        }
        Ok(ptr::bytes(block, new_size))
    }

    #[inline]
    unsafe fn shrink_in_place(
        &self,
        block: NonNull<u8>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        let (old_size, new_size) = (rounded(old.size()), rounded(new.size()));
        if ptr::padding(block.addr().get(), new.align()) != 0 {
            return Err(AllocError::NotInPlace);
        }
        if !self.is_last(block, old_size) {
            return Ok(ptr::bytes(block, old_size));
        }
        self.cursor.set(ptr::down(self.cursor.get(), old_size - new_size));
        Ok(ptr::bytes(block, new_size))
    }
}

// SAFETY: Every block lies in a region on the list, and a region belongs to this allocator alone.
unsafe impl<S: MemorySource> Owns for BumpAllocator<S> {
    /// Looks through all regions: takes time in proportion to their number.
    fn owns(&self, address: NonNull<u8>) -> bool {
        self.regions().any(|(start, len)| address.addr().get().wrapping_sub(start.addr()) < len)
    }
}

impl<S: MemorySource> Reset for BumpAllocator<S> {
    fn reset(&mut self) {
        // SAFETY: The allocator is borrowed mutably, so nothing that borrows it is left to use a block.
        unsafe { self.free_all_but_largest() };
    }
}

impl<S: MemorySource> BumpAllocator<S> {
    /// Frees every block, and releases every region but the largest.
    ///
    /// # Safety
    /// No block is used any more.
    unsafe fn free_all_but_largest(&self) {
        let Some(largest) = self.regions().max_by_key(|&(_, len)| len) else { return };
        let mut kept = null_mut();
        while !self.newest.get().is_null() {
            let header = self.newest.get();
            if header == largest.0 {
                // SAFETY: The header is that of a region on the list.
                self.newest.set(unsafe { (*header).previous });
                kept = header;
            } else {
                // SAFETY: There is a newest region, and the caller promises that no block is used.
                unsafe { self.release_newest() };
            }
        }
        // SAFETY: `kept` is the largest region, which was on the list and was not released.
        unsafe { (*kept).previous = null_mut() };
        self.newest.set(kept);
        self.start_over(kept, largest.1);
    }
}

// SAFETY: `new` obtains nothing, dropping releases all regions on the list, `recycle` leaves one at most; a block lies in the
// region whose cursor made it. `REUSES_BLOCKS` is false.
unsafe impl<S: MemorySource + Send> LocalAllocator for BumpAllocator<S> {
    type Source = S;
    type WithSource<S2: MemorySource + Send> = BumpAllocator<S2>;
    type Front = NoFront;
    const REUSES_BLOCKS: bool = false;
    const LARGEST: usize = isize::MAX as usize;

    #[inline]
    fn new_in(source: S) -> Self {
        Self::new(source)
    }

    #[inline(always)]
    fn source(&self) -> &S {
        &self.source
    }

    #[inline(always)]
    fn allocate_at_hand(&self, layout: NonZeroLayout) -> Option<NonNull<u8>> {
        self.allocate_in_region(layout)
    }

    #[inline(always)]
    fn owns_at_hand(&self, address: NonNull<u8>) -> bool {
        // The newest region, up to the cursor. Before there is one its start is null and the cursor next to it.
        let start = self.newest.get().addr();
        address.addr().get().wrapping_sub(start) < self.cursor.get().addr() - start
    }

    #[inline]
    fn recycle(&mut self) {
        // Nearly always there is one region, or none.
        let newest = self.newest.get();
        match NonNull::new(newest) {
            None => {}
            // SAFETY: As in `regions`.
            Some(header) if unsafe { header.as_ref() }.previous.is_null() => {
                self.cursor.set(ptr::up(newest.cast(), HEADER));
            }
            Some(_) => self.reset(),
        }
    }
}

impl<S: MemorySource> Drop for BumpAllocator<S> {
    fn drop(&mut self) {
        while !self.newest.get().is_null() {
            // SAFETY: There is a newest region; the allocator is going, and its blocks with it.
            unsafe { self.release_newest() };
        }
    }
}

impl<S: MemorySource> fmt::Debug for BumpAllocator<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BumpAllocator")
            .field("regions", &self.regions().count())
            .field("region_bytes", &self.region_bytes())
            .finish_non_exhaustive()
    }
}
