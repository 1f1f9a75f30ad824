//! A block and its owner, as proofs.

use core::marker::PhantomData;
use core::ptr::NonNull;

use super::allocator::Declaration;
use super::control::{ControlRef, Record};
use super::tier_source::header_owner;
use crate::layout::NonZeroLayout;
use crate::misuse;
use crate::page_map::{Entry, tag};

const NO_OBJECT: &str = "a large object was freed or resized by another address or with another layout";

/// A block that the allocator of `D` handed out and that the holder of this value owns. To free it
/// takes the value.
pub(super) struct OwnedBlock<D> {
    address: NonNull<u8>,
    layout: NonZeroLayout,
    declaration: PhantomData<fn() -> D>,
}

/// Whose a block is, by the page map.
pub(super) enum Owner {
    /// The global tier's.
    Global,
    /// A heap's, whose allocator handed it out. `region` is as for
    /// [`ThreadCacheFor::deallocate_in`](crate::alloc::ThreadCacheFor::deallocate_in).
    Heap { control: ControlRef, region: NonNull<u8> },
    /// It is a large object, with this record.
    Large(NonNull<Record>),
}

impl<D: Declaration> OwnedBlock<D> {
    /// # Safety
    /// The allocator of `D` handed out the block, `layout` fits it, and the caller owns it and
    /// passes that on.
    #[inline(always)]
    pub(super) unsafe fn new(address: NonNull<u8>, layout: NonZeroLayout) -> Self {
        Self { address, layout, declaration: PhantomData }
    }

    #[inline(always)]
    pub(super) fn address(&self) -> NonNull<u8> {
        self.address
    }

    #[inline(always)]
    pub(super) fn layout(&self) -> NonZeroLayout {
        self.layout
    }

    /// What the page map says of the block's slice.
    #[inline(always)]
    pub(super) fn entry(&self) -> Entry {
        D::page_map().get(self.address.addr().get())
    }

    /// Whose the block is.
    #[inline(always)]
    pub(super) fn owner(&self) -> Owner {
        let entry = self.entry();
        match entry.tag() {
            tag::MASKED => self.masked_owner(entry),
            tag::GLOBAL => Owner::Global,
            _ => self.unmasked_owner(entry),
        }
    }

    #[inline(always)]
    pub(super) fn masked_owner(&self, entry: Entry) -> Owner {
        let header = entry.block_start(self.address.addr().get());
        // SAFETY: The entry says that the slice consists of blocks with headers, whose address is
        // not null.
        let region = unsafe { NonNull::new_unchecked(header) };
        // SAFETY: The map gave the entry, for the slice in which the allocated block lies.
        let control = unsafe { header_owner(entry, self.address) };
        Owner::Heap { control, region }
    }

    /// Whose the block is, if the entry is direct or large. Ends the process unless a large object
    /// begins at the block's address and has room for its layout.
    #[inline(always)]
    pub(super) fn unmasked_owner(&self, entry: Entry) -> Owner {
        debug_assert!(matches!(entry.tag(), tag::DIRECT | tag::LARGE));
        if entry.tag() == tag::DIRECT {
            // SAFETY: A direct entry was made of the pointer of a control block, which is not null.
            let control = unsafe { NonNull::new_unchecked(entry.pointer()) };
            // SAFETY: As above.
            return Owner::Heap { control: unsafe { ControlRef::from_ptr(control) }, region: self.address };
        }
        // SAFETY: The entry of a large object was made from its record, which is not null.
        let record: NonNull<Record> = unsafe { NonNull::new_unchecked(entry.pointer()) };
        // SAFETY: The record is alive as long as the object, which is allocated.
        let fits = unsafe { record.as_ref() }.fits(self.address, self.layout);
        misuse::check(fits, NO_OBJECT, self.address.addr().get());
        Owner::Large(record)
    }
}
