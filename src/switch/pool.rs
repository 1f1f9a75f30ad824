//! Where control blocks come from, and where they wait to be used again.
//!
//! ```text
//!   slab (64 KiB)
//!   +--------+---------+---------+- - - -+
//!   | header | control | control | fresh |     header: next slab, control blocks made
//!   +--------+---------+---------+- - - -+
//! ```
//!
//! Slabs are memory maps of their own that are never unmapped: a pointer to a control block can
//! always be followed, and finds a control block of the same tier. Each thread keeps a few free
//! control blocks of the coroutine tier (see [`ThreadState`](super::ThreadState)) and takes and
//! gives them here in batches, so that the lock is rarely taken.

use core::ptr::{NonNull, null_mut};

use super::control::{Control, HeapRef, Shared};
use super::tier_source::TierSource;
use super::tiers::{Declaration, HeapAllocator, Kind};
use crate::sync::Guarded;
use crate::{LocalAllocator, SourceError, ptr, sys};

const SLAB: usize = 64 * 1024;

/// The control blocks of one tier.
#[derive(Debug)]
pub(crate) struct Pool {
    slabs: Guarded<Slabs>,
}

#[derive(Debug)]
struct Slabs {
    /// Control blocks that stand for no heap, linked through `next`.
    free: *mut Shared,
    /// The slab made last, in which there may be room.
    newest: *mut SlabHeader,
}

// SAFETY: The slabs belong to the pool, not to a thread.
unsafe impl Send for Slabs {}

#[derive(Debug)]
struct SlabHeader {
    next: *mut SlabHeader,
    made: usize,
}

/// Control blocks start at the first cache line behind the header.
const FIRST: usize = 64;
const _: () = assert!(size_of::<SlabHeader>() <= FIRST);

const fn per_slab<T>() -> usize {
    assert!(align_of::<T>() == FIRST && size_of::<T>() <= SLAB - FIRST);
    (SLAB - FIRST) / size_of::<T>()
}

impl Pool {
    crate::sync::const_fn! {
        pub(crate) fn new() -> Self {
            Self { slabs: Guarded::new(Slabs { free: null_mut(), newest: null_mut() }) }
        }
    }

    /// Takes up to `most` control blocks, at least one, linked through `next`; gives the first and
    /// how many.
    ///
    /// # Errors
    /// Where the operating system has no memory for a slab.
    pub(crate) fn take<D: Declaration, K: Kind<D>>(
        &self,
        most: usize,
    ) -> Result<(NonNull<Shared>, usize), SourceError> {
        let mut slabs = self.slabs.lock();
        let mut taken: *mut Shared = null_mut();
        let mut count = 0;
        while count < most {
            let control = match slabs.pop() {
                Some(control) => control,
                None if count > 0 && !slabs.has_room::<D, K>() => break,
                None => slabs.make::<D, K>()?,
            };
            // SAFETY: A control block is never unmapped.
            unsafe { control.as_ref() }.next.set(taken);
            taken = control.as_ptr();
            count += 1;
        }
        match NonNull::new(taken) {
            Some(first) => Ok((first, count)),
            None => Err(SourceError::Exhausted),
        }
    }

    /// Gives back control blocks, linked through `next` from `first` on.
    ///
    /// # Safety
    /// They came from this pool, and are the caller's alone.
    pub(crate) unsafe fn give(&self, first: *mut Shared) {
        let mut slabs = self.slabs.lock();
        let mut next = first;
        while let Some(control) = NonNull::new(next) {
            // SAFETY: A control block is never unmapped.
            let shared = unsafe { control.as_ref() };
            next = shared.next.replace(slabs.free);
            slabs.free = control.as_ptr();
        }
    }

    /// Calls `f` with each control block that was ever made.
    pub(crate) fn for_each<D: Declaration, K: Kind<D>>(&self, mut f: impl FnMut(HeapRef<D, K>)) {
        let slabs = self.slabs.lock();
        let mut slab = slabs.newest;
        while let Some(header) = NonNull::new(slab) {
            // SAFETY: A slab is never unmapped, and its header is written only while the lock is
            // held.
            let SlabHeader { next, made } = unsafe { header.read() };
            for index in 0..made {
                f(nth(header, index));
            }
            slab = next;
        }
    }

    pub(crate) fn before_fork(&self) {
        self.slabs.hold_for_fork();
    }

    /// # Safety
    /// As [`Guarded::release_after_fork`].
    pub(crate) unsafe fn after_fork(&self) {
        // SAFETY: The caller's promises.
        unsafe { self.slabs.release_after_fork() };
    }
}

/// The control block of that index, which was made.
fn nth<D: Declaration, K: Kind<D>>(slab: NonNull<SlabHeader>, index: usize) -> HeapRef<D, K> {
    let offset = FIRST + index * size_of::<Control<HeapAllocator<D, K>>>();
    let control: *mut Shared = ptr::up(slab.as_ptr(), offset).cast();
    // SAFETY: A slab's address is not null, nor is one inside it.
    let control = unsafe { NonNull::new_unchecked(control) };
    // SAFETY: The slab counts the control blocks that were made in it, from the first on.
    unsafe { HeapRef::from_shared(control) }
}

impl Slabs {
    fn pop(&mut self) -> Option<NonNull<Shared>> {
        let control = NonNull::new(self.free)?;
        // SAFETY: A control block is never unmapped.
        self.free = unsafe { control.as_ref() }.next.get();
        Some(control)
    }

    /// How many control blocks were made in the newest slab, if there is room for one more.
    fn room<D: Declaration, K: Kind<D>>(&self) -> Option<(NonNull<SlabHeader>, usize)> {
        let slab = NonNull::new(self.newest)?;
        // SAFETY: A slab is never unmapped.
        let made = unsafe { slab.as_ref() }.made;
        (made < const { per_slab::<Control<HeapAllocator<D, K>>>() }).then_some((slab, made))
    }

    fn has_room<D: Declaration, K: Kind<D>>(&self) -> bool {
        self.room::<D, K>().is_some()
    }

    /// Makes a control block, in a new slab if need be.
    fn make<D: Declaration, K: Kind<D>>(&mut self) -> Result<NonNull<Shared>, SourceError> {
        let (mut slab, made) = match self.room::<D, K>() {
            Some(room) => room,
            None => {
                let slab = sys::map(SLAB).map_err(SourceError::System)?.cast::<SlabHeader>();
                // SAFETY: The pages were just mapped.
                unsafe { slab.write(SlabHeader { next: self.newest, made: 0 }) };
                self.newest = slab.as_ptr();
                (slab, 0)
            }
        };
        let heap = nth::<D, K>(slab, made);
        let control = heap.as_shared().cast::<Control<HeapAllocator<D, K>>>();
        // SAFETY: The place lies in the slab, behind the control blocks that were made, aligned to
        // a cache line.
        unsafe { Control::init(control, K::TIER) };
        let allocator = HeapAllocator::<D, K>::new_in(TierSource::new(heap.as_shared()));
        // SAFETY: The control block is new, so nobody has a reference to its allocator.
        unsafe { heap.allocator_place().write(allocator) };
        // SAFETY: The header is written only while the lock is held, which `self` shows.
        unsafe { slab.as_mut() }.made = made + 1;
        Ok(heap.as_shared())
    }
}
