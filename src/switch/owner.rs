//! Whose memory is: the answers to "what is current?" and "where does this value lie?".

use super::allocator::{Declaration, SwitchableAllocator, Thread, present};
use super::context::tier;
use super::control::{ControlRef, HeapTier, Record};
use super::heap::Heap;
use super::tier_source::header_owner;
use crate::page_map::tag;

use core::ptr::NonNull;

/// Names a heap of the coroutine tier; see [`Heap::id`].
///
/// No two heaps that have memory have the same name. When a heap's handle and its last block are
/// gone, a later heap may get its name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct HeapId(pub(super) usize);

/// A tier, and which heap of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Owner {
    /// The heap of the coroutine tier with this name.
    Heap(HeapId),
    /// The heap of some thread.
    Thread,
    /// The global tier. Of a value: this, or memory that the allocator did not hand out, such as a
    /// static or a stack.
    Global,
}

impl<D: Declaration> Heap<D> {
    /// The heap's name, to compare with what [`SwitchableAllocator::current`] and
    /// [`SwitchableAllocator::owner_of`] return.
    #[must_use]
    pub fn id(&self) -> HeapId {
        HeapId(self.control().addr())
    }
}

impl<D: Declaration> SwitchableAllocator<D> {
    /// Returns where the calling thread allocates now.
    ///
    /// # Examples
    /// ```
    /// use context_allocator::switch::Owner;
    ///
    /// context_allocator::global_thread_and_coroutine_switchable_allocator!(static ALLOC);
    ///
    /// let heap = ALLOC.heap()?;
    /// assert_eq!(ALLOC.current(), Owner::Thread);
    /// assert_eq!(heap.enter(|| ALLOC.current()), Owner::Heap(heap.id()));
    /// assert_eq!(heap.enter(|| ALLOC.with_global(|| ALLOC.current())), Owner::Global);
    /// # Ok::<(), context_allocator::AllocError>(())
    /// ```
    #[inline(never)]
    pub fn current(&self) -> Owner {
        let context = Self::current_thread().context();
        match (context.tier(), context.current_heap()) {
            (tier::COROUTINE, Some(heap)) => Owner::Heap(HeapId(heap.addr())),
            (tier::GLOBAL, _) => Owner::Global,
            _ if present::<D, Thread>() => Owner::Thread,
            _ => Owner::Global,
        }
    }

    /// Returns whose block `value` begins: pass what a `Box`, `Vec` or `String` points to, not the
    /// pointer itself. A value of no bytes is nobody's: [`Owner::Global`]. A value in the middle of
    /// a block of more than 64 KiB may not be recognised.
    ///
    /// # Examples
    /// To find what escapes from a heap:
    /// ```
    /// use context_allocator::switch::Owner;
    ///
    /// context_allocator::global_thread_and_coroutine_switchable_allocator!(static ALLOC);
    ///
    /// let heap = ALLOC.heap()?;
    /// let reply = heap.enter(|| String::from("made for one request"));
    /// assert_eq!(ALLOC.owner_of(reply.as_str()), Owner::Heap(heap.id()));
    /// let copy = reply.clone();
    /// assert_eq!(ALLOC.owner_of(copy.as_str()), Owner::Thread);
    /// assert_eq!(ALLOC.owner_of("a static"), Owner::Global);
    /// # Ok::<(), context_allocator::AllocError>(())
    /// ```
    pub fn owner_of<T: ?Sized>(&self, value: &T) -> Owner {
        // Such a value may lie at the end of its block, where the next slice begins.
        if size_of_val(value) == 0 {
            return Owner::Global;
        }
        let address = NonNull::from(value).cast::<u8>();
        let entry = D::page_map().get(address.addr().get());
        let owner = match entry.tag() {
            // SAFETY: The map gave the entry, for the slice in which the value lies. It is
            // borrowed, so its block is allocated.
            tag::MASKED => unsafe { header_owner(entry, address) },
            tag::DIRECT => match NonNull::new(entry.pointer()) {
                // SAFETY: A direct entry was made of the pointer of a control block.
                Some(control) => unsafe { ControlRef::from_ptr(control) },
                None => return Owner::Global,
            },
            tag::LARGE => match NonNull::new(entry.pointer::<Record>()) {
                // SAFETY: The record lives as long as the object, in which the borrowed value lies:
                // nothing else lies in slices in which an object starts.
                Some(record) => unsafe { record.as_ref() }.control,
                None => return Owner::Global,
            },
            _ => return Owner::Global,
        };
        match owner.tier {
            HeapTier::Coroutine => Owner::Heap(HeapId(owner.addr())),
            HeapTier::Thread => Owner::Thread,
        }
    }
}
