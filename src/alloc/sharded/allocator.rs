//! The allocator: which shard serves a thread, and which one a block goes back to.

use core::fmt;
use core::ptr::NonNull;

use generic_array::GenericArray;
use typenum::U16;

use super::ShardCount;
use super::budget::Budget;
use super::shard::{Over, Shard};
use super::source::{Ground, ShardSource};
use crate::alloc::{Allocator, LocalAllocator, MmapAllocator, ResizeInPlace, relocate};
use crate::error::AllocError;
use crate::layout::NonZeroLayout;
use crate::misuse;
use crate::page_map::ShardMap;
use crate::ptr;
use crate::source::MemorySource;
use crate::source::{PooledSource, SLICE};
use crate::sync::{RawLock, SpinFutexLock, set_thread_number, thread_number};

/// A block that lies in no shard's region was freed or resized as one.
#[cold]
#[inline(never)]
fn foreign(block: usize) -> ! {
    misuse::end_process("a block was given back that no shard had handed out", block)
}

/// An allocator for many threads: `N` allocators like `A` over one source, each behind a lock of
/// its own, and `B` for what is too large for them.
///
/// A thread allocates from a shard of its own choice, and goes to another one when it finds that
/// one's lock taken, so that threads are seldom in each other's way; up to `N` of them settle on
/// different shards. A block may be freed and resized on any thread: its address tells its shard,
/// by a table of two levels. Where that shard's lock is taken, the block is left on a list from
/// which the next one who takes the lock puts it back: freeing never waits. Where an allocator has
/// no memory left, the others are asked.
///
/// Requests beyond [`LARGEST`](Self::LARGEST) go to `B`, by default a region of the process's pool
/// ([`PooledSource`]) for each block: the pool keeps what large blocks leave for the next ones, for
/// a while. For large blocks from elsewhere there is [`with_large`](Self::with_large).
///
/// It is `Sync` where the source and `B` are. Behind [`adapt`](Allocator::adapt) it is a
/// `#[global_allocator]`; in the switchable allocator it can be the global tier,
/// `.global_tier_allocator(Sharded::new(...))`. It holds no memory before the first allocation,
/// except that of its value: that of `A`, `N + 1` times. Any number of threads may use it; for few
/// threads, or where memory is scarcer than time, take a [`Locked`](crate::Locked).
///
/// A block that no shard handed out, freed or resized with a layout of theirs, ends the process.
///
/// Allocating and freeing take constant time beyond that of `A`, as long as some shard is free and
/// has memory.
///
/// # Held memory
/// When held bytes pass 2 MiB, and then whenever they have doubled, or half as many were released
/// as are held (2 MiB at least), the shards that nobody uses at that moment give back what no block
/// lies in, as [`trim`](Allocator::trim) of `A` does; the next call that finds a shard free does
/// so. So shards over a [`SlabAllocator`](crate::SlabAllocator) hold at most 2 MiB or twice what
/// slabs with blocks in them take, whichever is more; a slab for each shard that is used just then;
/// and, for each shard, the few empty slabs that it keeps of what was freed since. An allocator
/// without a `trim` keeps what it has. [`trim`](Allocator::trim) makes all of them do so, at any
/// time; [`SwitchableAllocator::trim`](crate::SwitchableAllocator::trim) calls it for the global
/// tier.
///
/// # Examples
/// ```
/// use std::ptr::NonNull;
/// use std::sync::atomic::AtomicPtr;
/// use context_allocator::{AllocError, Allocator, MmapSource, NonZeroLayout};
/// use context_allocator::alloc::{Sharded, SizeClassAllocator};
///
/// static SHARED: Sharded<SizeClassAllocator<MmapSource>> =
///     Sharded::new(SizeClassAllocator::new(MmapSource::new()));
///
/// let layout = NonZeroLayout::of::<[u8; 100]>().unwrap();
/// let block = std::thread::spawn(move || {
///     let block = SHARED.allocate(layout)?;
///     Ok::<_, AllocError>(AtomicPtr::new(block.cast().as_ptr()))
/// });
/// let block = NonNull::new(block.join().unwrap()?.into_inner()).unwrap();
/// // SAFETY: Just allocated there with this layout, and not used again.
/// unsafe { SHARED.deallocate(block, layout) };
/// # Ok::<(), context_allocator::AllocError>(())
/// ```
///
/// As the global allocator, with four shards:
/// ```
/// use context_allocator::{Allocator, MmapSource};
/// use context_allocator::adapt::AllocatorAdaptor;
/// use context_allocator::alloc::{Sharded, SizeClassAllocator};
///
/// #[global_allocator]
/// static ALLOC: AllocatorAdaptor<Sharded<SizeClassAllocator<MmapSource>, typenum::U4>> =
///     AllocatorAdaptor::new(Sharded::new_in(SizeClassAllocator::new(MmapSource::new())));
///
/// assert_eq!(vec![1; 1000].iter().sum::<i32>(), 1000);
/// ```
pub struct Sharded<A, N = U16, B = MmapAllocator<PooledSource>, L = SpinFutexLock>
where
    A: LocalAllocator,
    N: ShardCount,
{
    ground: Ground<A>,
    large: B,
    shards: GenericArray<Shard<A, L>, N>,
}

// SAFETY: A shard's allocator is reached only by who holds its lock, one thread at a time, and a
// thread's use happens before the next one's; it is `Send`, as every `LocalAllocator`. The list of
// freed blocks and the page map are made of atomics. Of the pattern only the source is used, which
// may be asked for by several threads at once (`LocalAllocator`) and is `Sync`.
unsafe impl<A, N, B, L> Sync for Sharded<A, N, B, L>
where
    A: LocalAllocator<Source: Sync>,
    N: ShardCount,
    B: Sync,
    L: Sync,
{
}

#[cfg(not(all(test, loom)))]
impl<A: LocalAllocator> Sharded<A> {
    /// Sixteen shards like `allocator`, of which only the source is used, by all of them; and the
    /// process's pool for what is larger.
    pub const fn new(allocator: A) -> Self {
        Self::new_in(allocator)
    }
}

#[cfg(not(all(test, loom)))]
impl<A, N, L> Sharded<A, N, MmapAllocator<PooledSource>, L>
where
    A: LocalAllocator,
    N: ShardCount,
    L: RawLock,
{
    /// As [`new`](Sharded::new), with as many shards and the locks that the type names.
    pub const fn new_in(allocator: A) -> Self {
        Self::with_large(allocator, MmapAllocator::new_in(PooledSource::new()))
    }
}

impl<A, N, B, L> Sharded<A, N, B, L>
where
    A: LocalAllocator,
    N: ShardCount,
    L: RawLock,
{
    /// The largest size and alignment in bytes that shards serve: what `A` does, up to 256 KiB and
    /// half of the source's largest region.
    pub const LARGEST: usize = {
        let allocator = <Over<A> as LocalAllocator>::LARGEST;
        let region = ShardSource::<A>::LARGEST / 2;
        let least = if allocator < region { allocator } else { region };
        if least < 4 * SLICE { least } else { 4 * SLICE }
    };

    /// As [`new`](Sharded::new), with an allocator of one's own for what is too large for the
    /// shards.
    #[cfg(not(all(test, loom)))]
    pub const fn with_large(allocator: A, large: B) -> Self {
        // Named here, so that a source that does not do is an error where the allocator is made.
        ShardSource::<A>::check();
        let mut shards = core::mem::MaybeUninit::<GenericArray<Shard<A, L>, N>>::uninit();
        let first = shards.as_mut_ptr().cast::<Shard<A, L>>();
        let mut number = 0;
        while number < N::SHARDS {
            // SAFETY: A `GenericArray` is laid out as an array, so that many shards lie in it.
            let place = unsafe { first.add(number) };
            // SAFETY: The place lies in `shards`.
            unsafe { place.write(Shard::new(L::FREE)) };
            number += 1;
        }
        // SAFETY: Each of the shards was written.
        let shards = unsafe { shards.assume_init() };
        Self {
            ground: Ground { pattern: allocator, shards: ShardMap::new(), budget: Budget::new() },
            large,
            shards,
        }
    }

    /// As [`with_large`](Self::with_large), outside of const context.
    #[cfg(all(test, loom))]
    pub(crate) fn with_locks(allocator: A, large: B, lock: impl Fn() -> L) -> Self {
        use generic_array::sequence::GenericSequence;
        let shards = GenericArray::generate(|_| Shard::new(lock()));
        Self {
            ground: Ground { pattern: allocator, shards: ShardMap::new(), budget: Budget::new() },
            large,
            shards,
        }
    }

    /// The source of the shards' regions.
    pub fn source(&self) -> &A::Source {
        self.ground.pattern.source()
    }

    /// What serves requests beyond [`LARGEST`](Self::LARGEST).
    pub const fn large(&self) -> &B {
        &self.large
    }

    #[inline(always)]
    const fn is_large(layout: NonZeroLayout) -> bool {
        layout.size() > Self::LARGEST || layout.align() > Self::LARGEST
    }

    /// The shard of that number, modulo the number of shards.
    #[inline(always)]
    fn shard(&self, number: usize) -> (&Shard<A, L>, usize) {
        let number = number & (N::SHARDS - 1);
        (&self.shards[number], number)
    }

    /// Runs `f` on the allocator of the shard of that number, modulo the number of shards, if
    /// nobody else uses it.
    #[inline(always)]
    fn try_with<R>(&self, number: usize, f: impl FnOnce(&Over<A>) -> R) -> Option<R> {
        let (shard, number) = self.shard(number);
        shard.try_with(&self.ground, &self.shards, number, f)
    }

    /// Allocates where the thread's own shard is taken, or has no memory.
    #[cold]
    #[inline(never)]
    fn allocate_elsewhere(
        &self,
        home: usize,
        allocate: impl Fn(&Over<A>) -> Result<NonNull<[u8]>, AllocError>,
    ) -> Result<NonNull<[u8]>, AllocError> {
        // A bit for each shard, counted from `home`.
        let mut taken = 0_u64;
        let mut refused = AllocError::TooLarge;
        for step in 0..N::SHARDS {
            match self.try_with(home.wrapping_add(step), &allocate) {
                Some(Ok(block)) => {
                    if taken & 1 != 0 {
                        set_thread_number(self.shard(home.wrapping_add(step)).1);
                    }
                    return Ok(block);
                }
                Some(Err(error)) => refused = error,
                None => taken |= 1 << step,
            }
        }
        // Only now is there a reason to wait: none of those that are free has memory.
        for step in (0..N::SHARDS).filter(|step| taken & (1 << step) != 0) {
            let (shard, number) = self.shard(home.wrapping_add(step));
            match shard.with(&self.ground, &self.shards, number, &allocate) {
                Ok(block) => return Ok(block),
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    /// The number of the shard that a block lies in; ends the process where it lies in none.
    #[inline(always)]
    fn owner(&self, block: NonNull<u8>) -> usize {
        match self.ground.shards.get(block.addr().get()) {
            Some(owner) => owner,
            None => foreign(block.addr().get()),
        }
    }

    /// Resizes a block of a shard where it is, if nobody else uses the shard.
    #[inline]
    fn in_place(
        &self,
        block: NonNull<u8>,
        resize: impl FnOnce(&Over<A>) -> Result<NonNull<[u8]>, AllocError>,
    ) -> Result<NonNull<[u8]>, AllocError> {
        self.try_with(self.owner(block), resize).unwrap_or(Err(AllocError::NotInPlace)).map(Self::cut)
    }

    /// Resizes a block on its side of the border between shards and large blocks, or moves it.
    ///
    /// # Safety
    /// As [`Allocator::grow`] or [`Allocator::shrink`]; `large` and `small` do the same to the
    /// block, the one if it and what it is to be are large, the other, in place, if both are not.
    /// Where `small` fails it has changed nothing.
    #[inline]
    unsafe fn resize(
        &self,
        block: NonNull<u8>,
        old: NonZeroLayout,
        new: NonZeroLayout,
        large: impl FnOnce() -> Result<NonNull<[u8]>, AllocError>,
        small: impl FnOnce(&Over<A>) -> Result<NonNull<[u8]>, AllocError>,
    ) -> Result<NonNull<[u8]>, AllocError>
    where
        B: Allocator,
    {
        match (Self::is_large(old), Self::is_large(new)) {
            (true, true) => return large(),
            (false, false) => {
                if let Ok(resized) = self.in_place(block, small) {
                    return Ok(resized);
                }
            }
            _ => {}
        }
        // SAFETY: The block is still allocated with `old`, since nothing was changed above.
        unsafe { relocate(self, block, old, new) }
    }

    /// A block of a shard, not said to be longer than those are.
    #[inline(always)]
    fn cut(block: NonNull<[u8]>) -> NonNull<[u8]> {
        ptr::bytes(block.cast(), if block.len() < Self::LARGEST { block.len() } else { Self::LARGEST })
    }
}

// SAFETY: A block comes from the allocator of a shard or from the large one, which keep the
// contract, and goes back to the same: which of the two follows from each layout that fits it,
// since a shard's blocks are asked for with sizes and alignments up to `LARGEST` and said to be at
// most that long; which shard, from the table, which names the shard of every region that a block
// can lie in. An allocator is used under its shard's lock only.
unsafe impl<A, N, B, L> Allocator for Sharded<A, N, B, L>
where
    A: LocalAllocator,
    N: ShardCount,
    B: Allocator,
    L: RawLock,
{
    #[inline]
    fn allocate(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, AllocError> {
        if Self::is_large(layout) {
            return self.large.allocate(layout);
        }
        let home = thread_number();
        match self.try_with(home, |allocator| allocator.allocate(layout)) {
            Some(Ok(block)) => Ok(Self::cut(block)),
            _ => self.allocate_elsewhere(home, |allocator| allocator.allocate(layout)).map(Self::cut),
        }
    }

    #[inline]
    unsafe fn deallocate(&self, block: NonNull<u8>, layout: NonZeroLayout) {
        if Self::is_large(layout) {
            // SAFETY: The block was asked for with such a layout too, so it came from there; the
            // caller promises the rest.
            return unsafe { self.large.deallocate(block, layout) };
        }
        let (shard, number) = self.shard(self.owner(block));
        // SAFETY: The block lies in a region of this shard, so its allocator handed it out; the
        // caller promises the rest.
        unsafe { shard.free(&self.ground, &self.shards, number, block, layout) };
    }

    fn allocate_zeroed(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, AllocError> {
        if Self::is_large(layout) {
            return self.large.allocate_zeroed(layout);
        }
        // The shard's allocator may know that its memory is zero.
        let home = thread_number();
        let allocate = |allocator: &Over<A>| allocator.allocate_zeroed(layout);
        match self.try_with(home, allocate) {
            Some(Ok(block)) => Ok(Self::cut(block)),
            _ => self.allocate_elsewhere(home, allocate).map(Self::cut),
        }
    }

    unsafe fn grow(
        &self,
        block: NonNull<u8>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        // SAFETY: Called for a block that came from there; the caller promises the rest.
        let large = || unsafe { self.large.grow(block, old, new) };
        // SAFETY: Called with the shard that the block is one of; the caller promises the rest.
        let small = |shard: &Over<A>| unsafe { shard.grow_in_place(block, old, new) };
        // SAFETY: Both grow this block from `old` to `new`, which the caller promises to be right
        // for it.
        unsafe { self.resize(block, old, new, large, small) }
    }

    unsafe fn grow_zeroed(
        &self,
        block: NonNull<u8>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        match (Self::is_large(old), Self::is_large(new)) {
            // SAFETY: The block came from there; the caller promises the rest.
            (true, true) => unsafe { self.large.grow_zeroed(block, old, new) },
            (false, false) => {
                // SAFETY: The block is allocated here, `old` fits it, and `new` is not smaller:
                // `grow`'s contract.
                let grown = unsafe { self.grow(block, old, new) }?;
                let tail = grown.len() - old.size();
                // SAFETY: The block has at least `new.size()` bytes, which is at least
                // `old.size()`.
                let start = unsafe { grown.cast::<u8>().add(old.size()) };
                // SAFETY: The tail lies in the block.
                unsafe { start.write_bytes(0, tail) };
                Ok(grown)
            }
            // Memory maps are zero already, and no page of them is to be touched for that.
            _ => {
                let moved = self.allocate_zeroed(new)?;
                // SAFETY: Both are allocated and at least `old.size()` long, which `new.size()` is
                // not less than.
                unsafe { moved.cast::<u8>().copy_from_nonoverlapping(block, old.size()) };
                // SAFETY: The caller's promises; the block is not used again.
                unsafe { self.deallocate(block, old) };
                Ok(moved)
            }
        }
    }

    unsafe fn shrink(
        &self,
        block: NonNull<u8>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        // SAFETY: Called for a block that came from there; the caller promises the rest.
        let large = || unsafe { self.large.shrink(block, old, new) };
        // SAFETY: Called with the shard that the block is one of; the caller promises the rest.
        let small = |shard: &Over<A>| unsafe { shard.shrink_in_place(block, old, new) };
        // SAFETY: Both shrink this block from `old` to `new`, which the caller promises to be right
        // for it.
        unsafe { self.resize(block, old, new, large, small) }
    }

    /// Lets each shard in turn give back what no block lies in, waiting for its lock; then trims
    /// what serves large requests.
    fn trim(&self) -> usize {
        let before = self.ground.budget.held();
        self.shards.iter().for_each(|shard| shard.trim(&self.ground));
        self.ground.budget.looked_after();
        before.saturating_sub(self.ground.budget.held()) + self.large.trim()
    }

    /// Takes all locks: first those of the shards, since who holds one may be about to take the
    /// source's.
    unsafe fn before_fork(&self) {
        self.shards.iter().for_each(Shard::hold_for_fork);
        // SAFETY: The caller's promises, for the source.
        unsafe { self.source().before_fork() };
        // SAFETY: The caller's promises, for the large allocator.
        unsafe { self.large.before_fork() };
    }

    unsafe fn after_fork(&self) {
        // SAFETY: `before_fork` called the large allocator's, and the caller promises that this
        // call follows it.
        unsafe { self.large.after_fork() };
        // SAFETY: As above, for the source.
        unsafe { self.source().after_fork() };
        for shard in &self.shards {
            // SAFETY: `before_fork` held the lock, likewise.
            unsafe { shard.release_after_fork() };
        }
    }
}

impl<A, N, B, L> Drop for Sharded<A, N, B, L>
where
    A: LocalAllocator,
    N: ShardCount,
{
    fn drop(&mut self) {
        let ground = &self.ground;
        self.shards.iter_mut().enumerate().for_each(|(number, shard)| shard.clear(ground, number));
    }
}

impl<A, N, B, L> fmt::Debug for Sharded<A, N, B, L>
where
    A: LocalAllocator,
    N: ShardCount,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sharded").field("shards", &N::SHARDS).finish_non_exhaustive()
    }
}
