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
//! returns them here in batches, so that the lock is rarely taken.

use core::marker::PhantomData;
use core::ptr::{NonNull, null_mut};

use super::control::{Control, ControlRef, HeapTier};
use crate::error::SourceError;
use crate::sync::Guarded;
use crate::sys;

const SLAB: usize = 64 * 1024;

/// The control blocks of one tier, whose heaps' allocators are `A`s.
#[derive(Debug)]
pub(crate) struct Pool<A> {
    slabs: Guarded<Slabs>,
    allocators: PhantomData<fn() -> A>,
}

#[derive(Debug)]
struct Slabs {
    /// Control blocks that stand for no heap, linked through `next`.
    free: Option<ControlRef>,
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

impl<A> Pool<A> {
    const PER_SLAB: usize = {
        assert!(align_of::<Control<A>>() == FIRST && size_of::<Control<A>>() <= SLAB - FIRST);
        (SLAB - FIRST) / size_of::<Control<A>>()
    };

    crate::sync::const_fn! {
        pub(crate) fn new() -> Self {
            let slabs = Slabs { free: None, newest: null_mut() };
            Self { slabs: Guarded::new(slabs), allocators: PhantomData }
        }
    }

    /// Takes up to `most` control blocks, at least one, linked through `next`; returns the first
    /// and how many. `make` makes the allocator of a new control block.
    ///
    /// # Errors
    /// The operating system's, if it has no memory for a slab.
    pub(crate) fn take(
        &self,
        most: usize,
        tier: HeapTier,
        make: impl Fn(ControlRef) -> A,
    ) -> Result<(ControlRef, usize), SourceError> {
        let mut slabs = self.slabs.lock();
        let mut taken = None;
        let mut count = 0;
        while count < most {
            let control = match slabs.pop() {
                Some(control) => control,
                None if count > 0 && Self::room(&slabs).is_none() => break,
                None => Self::make(&mut slabs, tier, &make)?,
            };
            control.next.set(taken);
            taken = Some(control);
            count += 1;
        }
        taken.map(|first| (first, count)).ok_or(SourceError::Exhausted)
    }

    /// Returns a control block that stands for no heap, and which no other thread knows.
    pub(crate) fn give(&self, control: ControlRef) {
        let mut slabs = self.slabs.lock();
        control.next.set(slabs.free);
        slabs.free = Some(control);
    }

    /// The control blocks that were made before this call.
    pub(crate) fn all(&self) -> impl Iterator<Item = ControlRef> {
        let slabs = self.slabs.lock();
        let mut slab = NonNull::new(slabs.newest);
        // SAFETY: A slab is never unmapped, and its header is written only while the lock is held.
        let mut made = slab.map_or(0, |slab| unsafe { slab.as_ref() }.made);
        drop(slabs);
        core::iter::from_fn(move || {
            while made == 0 {
                // SAFETY: A slab is never unmapped. Its link is written once, before the slab is
                // reached; and of all but the newest slab, all control blocks were made.
                slab = NonNull::new(unsafe { (*slab?.as_ptr()).next });
                made = Self::PER_SLAB;
            }
            made -= 1;
            // SAFETY: The slab counts the control blocks that were made in it, from the first on;
            // they are never unmapped.
            Some(unsafe { ControlRef::new(Self::place(slab?, made)) })
        })
    }

    /// The place in a slab for the control block of that index, below [`PER_SLAB`](Self::PER_SLAB).
    fn place(slab: NonNull<SlabHeader>, index: usize) -> NonNull<Control<A>> {
        debug_assert!(index < Self::PER_SLAB);
        // SAFETY: The place lies in the slab.
        unsafe { slab.byte_add(FIRST + index * size_of::<Control<A>>()) }.cast()
    }

    /// How many control blocks were made in the newest slab, if there is room for one more.
    fn room(slabs: &Slabs) -> Option<(NonNull<SlabHeader>, usize)> {
        let slab = NonNull::new(slabs.newest)?;
        // SAFETY: A slab is never unmapped, and its header is written only while the lock is held.
        let made = unsafe { slab.as_ref() }.made;
        (made < Self::PER_SLAB).then_some((slab, made))
    }

    /// Makes a control block, in a new slab if need be.
    fn make(
        slabs: &mut Slabs,
        tier: HeapTier,
        make: impl Fn(ControlRef) -> A,
    ) -> Result<ControlRef, SourceError> {
        let (slab, made) = match Self::room(slabs) {
            Some(room) => room,
            None => {
                let slab = sys::map(SLAB).map_err(SourceError::System)?.cast::<SlabHeader>();
                // SAFETY: The pages were just mapped.
                unsafe { slab.write(SlabHeader { next: slabs.newest, made: 0 }) };
                slabs.newest = slab.as_ptr();
                (slab, 0)
            }
        };
        let place = Self::place(slab, made);
        // SAFETY: The place lies behind the control blocks that were made, aligned to a cache line.
        unsafe { place.write(Control::new(tier)) };
        // SAFETY: The control block was just written, and slabs are never unmapped.
        let control = unsafe { ControlRef::new(place) };
        // SAFETY: The control block was just written, and no other thread knows it.
        let allocator = unsafe { place.as_ref() }.allocator();
        // SAFETY: The place is the control block's, for its allocator.
        unsafe { allocator.write(make(control)) };
        // SAFETY: The slab was made, and is never unmapped.
        let count = unsafe { &raw mut (*slab.as_ptr()).made };
        // SAFETY: The count is reached only while the lock is held, which `slabs` shows.
        unsafe { count.write(made + 1) };
        Ok(control)
    }

    pub(crate) fn before_fork(&self) {
        self.slabs.hold_for_fork();
    }

    /// # Safety
    /// As [`Guarded::release_after_fork`].
    pub(crate) unsafe fn after_fork(&self) {
        // SAFETY: The caller called `before_fork` on this thread, or on the one that forked it.
        unsafe { self.slabs.release_after_fork() };
    }
}

impl Slabs {
    fn pop(&mut self) -> Option<ControlRef> {
        let control = self.free?;
        self.free = control.next.get();
        Some(control)
    }
}
