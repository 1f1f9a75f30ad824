//! A choice among the allocators by how long their blocks live.

use core::ptr::NonNull;

use super::{
    Allocator, BitSetAllocator, BumpAllocator, LocalAllocator, MultipleBinarySearchTreeAllocator,
    NoThreadCache, Owns, Reset, ResizeInPlace,
};
use crate::error::AllocError;
use crate::layout::NonZeroLayout;
use crate::source::MemorySource;

/// How long the blocks of a context live: a hint from which an allocator is chosen, at run time
/// with [`ContextAllocator::new`], at compile time with [`AllocatorFor`].
///
/// A wrong hint costs memory or time, never more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Lifetime {
    /// As long as the context, which ends soon: a request, a frame, a parser's tree. Little is
    /// freed on the way.
    /// [`BumpAllocator`]: the fastest to allocate; a freed block's memory is used again only if it
    /// was the last.
    Short,
    /// Some freed on the way, in small blocks: a session, a connection, a cache of small values.
    /// [`BitSetAllocator`] with blocks of 64 bytes: every free block is used again, for any run
    /// that it is part of.
    #[default]
    Medium,
    /// As long as the program, of any size: documents, indexes, a thread's own heap.
    /// [`MultipleBinarySearchTreeAllocator`]: best fit, so that memory fragments least over time.
    Long,
}

/// Names [`Lifetime::Short`] for [`AllocatorFor`].
#[derive(Clone, Copy, Debug, Default)]
pub struct ShortLived;
/// Names [`Lifetime::Medium`] for [`AllocatorFor`].
#[derive(Clone, Copy, Debug, Default)]
pub struct MediumLived;
/// Names [`Lifetime::Long`] for [`AllocatorFor`].
#[derive(Clone, Copy, Debug, Default)]
pub struct LongLived;

/// A lifetime as a type: [`ShortLived`], [`MediumLived`] or [`LongLived`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a lifetime of blocks",
    note = "write `ShortLived`, `MediumLived` or `LongLived`"
)]
pub trait LivedAs {
    /// The lifetime as a value.
    const LIFETIME: Lifetime;
    /// The allocator for blocks of this lifetime.
    type Allocator<S: MemorySource + Send>: LocalAllocator<Source = S>;
}

impl LivedAs for ShortLived {
    const LIFETIME: Lifetime = Lifetime::Short;
    type Allocator<S: MemorySource + Send> = BumpAllocator<S>;
}

impl LivedAs for MediumLived {
    const LIFETIME: Lifetime = Lifetime::Medium;
    type Allocator<S: MemorySource + Send> = BitSetAllocator<S>;
}

impl LivedAs for LongLived {
    const LIFETIME: Lifetime = Lifetime::Long;
    type Allocator<S: MemorySource + Send> = MultipleBinarySearchTreeAllocator<S>;
}

/// The allocator for blocks that live as `L` says, over a source `S`: the choice of
/// [`ContextAllocator`] made at compile time, which costs nothing at run time.
///
/// # Examples
/// ```
/// use context_allocator::{Allocator, MmapSource, NonZeroLayout};
/// use context_allocator::alloc::{AllocatorFor, LocalAllocator, ShortLived};
///
/// let allocator = AllocatorFor::<ShortLived, MmapSource>::new_in(MmapSource::new());
/// assert!(allocator.allocate(NonZeroLayout::of::<u64>().unwrap()).is_ok());
/// ```
pub type AllocatorFor<L, S> = <L as LivedAs>::Allocator<S>;

/// A bump, a bit-set or a tree allocator, chosen at run time by how long its blocks live.
///
/// Each call tests which one it is, a few instructions in a branch that is predicted as long as
/// contexts of one kind are served one after the other. Where the choice is known when the program
/// is written, take [`AllocatorFor`].
///
/// In a tier of the switchable allocator all heaps are made alike, so that there it is a
/// [`MediumLived`] one. It is for one thread at a time: it can be sent, not shared.
///
/// # Held memory
/// What the allocator inside holds: see there.
///
/// # Examples
/// ```
/// use context_allocator::{Allocator, ContextAllocator, MmapSource, NonZeroLayout};
/// use context_allocator::alloc::Lifetime;
///
/// let expected = if std::env::args().count() > 1 { Lifetime::Long } else { Lifetime::Short };
/// let allocator = ContextAllocator::new(MmapSource::new(), expected);
/// assert_eq!(allocator.lifetime(), expected);
/// let layout = NonZeroLayout::of::<[u64; 10]>().unwrap();
/// let block = allocator.allocate(layout)?;
/// // SAFETY: Just allocated with this layout, and not used again.
/// unsafe { allocator.deallocate(block.cast(), layout) };
/// # Ok::<(), context_allocator::AllocError>(())
/// ```
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "each has its lists within; in a box they would need an allocator themselves"
)]
pub enum ContextAllocator<S: MemorySource> {
    /// For [`Lifetime::Short`].
    ShortLived(BumpAllocator<S>),
    /// For [`Lifetime::Medium`].
    MediumLived(BitSetAllocator<S>),
    /// For [`Lifetime::Long`].
    LongLived(MultipleBinarySearchTreeAllocator<S>),
}

/// Does the same with whichever it is.
macro_rules! whichever {
    ($self:expr, $allocator:ident => $what:expr) => {
        match $self {
            ContextAllocator::ShortLived($allocator) => $what,
            ContextAllocator::MediumLived($allocator) => $what,
            ContextAllocator::LongLived($allocator) => $what,
        }
    };
}

impl<S: MemorySource> ContextAllocator<S> {
    /// The allocator for blocks of this lifetime, over `source`; it holds nothing yet.
    pub const fn new(source: S, lifetime: Lifetime) -> Self {
        match lifetime {
            Lifetime::Short => Self::ShortLived(BumpAllocator::new(source)),
            Lifetime::Medium => Self::MediumLived(BitSetAllocator::new(source)),
            Lifetime::Long => Self::LongLived(MultipleBinarySearchTreeAllocator::new(source)),
        }
    }

    /// The lifetime that it was chosen for.
    pub const fn lifetime(&self) -> Lifetime {
        match self {
            Self::ShortLived(_) => Lifetime::Short,
            Self::MediumLived(_) => Lifetime::Medium,
            Self::LongLived(_) => Lifetime::Long,
        }
    }
}

/// What is asked of the allocator inside: at least 16 bytes, as the heap of a tier needs where
/// freed blocks are used again. All but the bump give no less in any case.
#[inline(always)]
fn padded(layout: NonZeroLayout) -> NonZeroLayout {
    if layout.size() < 16 { layout.with_size(16).unwrap_or(layout) } else { layout }
}

// SAFETY: Each call goes to the one allocator inside, which keeps the contract. Layouts are padded
// alike wherever a block is given, resized or taken back, so that one which fits a block fits it
// inside too.
unsafe impl<S: MemorySource> Allocator for ContextAllocator<S> {
    #[inline]
    fn allocate(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, AllocError> {
        whichever!(self, allocator => allocator.allocate(padded(layout)))
    }

    #[inline]
    fn allocate_zeroed(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, AllocError> {
        whichever!(self, allocator => allocator.allocate_zeroed(padded(layout)))
    }

    #[inline]
    unsafe fn deallocate(&self, block: NonNull<u8>, layout: NonZeroLayout) {
        // SAFETY: The caller's promises, of the allocator inside.
        whichever!(self, allocator => unsafe { allocator.deallocate(block, padded(layout)) });
    }

    unsafe fn grow(
        &self,
        block: NonNull<u8>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        // SAFETY: The caller's promises, of the allocator inside; padded, the new size is still no
        // less than the old.
        whichever!(self, allocator => unsafe { allocator.grow(block, padded(old), padded(new)) })
    }

    unsafe fn grow_zeroed(
        &self,
        block: NonNull<u8>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        let (from, to) = (old.size(), padded(old).size());
        let (old, new) = (padded(old), padded(new));
        // SAFETY: As in `grow`.
        let grown = whichever!(self, allocator => unsafe { allocator.grow_zeroed(block, old, new) })?;
        // SAFETY: The block is at least as long as the old layout, padded.
        let padding = unsafe { grown.cast::<u8>().add(from) };
        // SAFETY: As above. The allocator inside took the padding for a part of the old block.
        unsafe { padding.write_bytes(0, to - from) };
        Ok(grown)
    }

    unsafe fn shrink(
        &self,
        block: NonNull<u8>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        // SAFETY: The caller's promises, of the allocator inside; padded, the new size is still no
        // more than the old.
        whichever!(self, allocator => unsafe { allocator.shrink(block, padded(old), padded(new)) })
    }

    fn trim(&self) -> usize {
        whichever!(self, allocator => allocator.trim())
    }

    unsafe fn before_fork(&self) {
        // SAFETY: The caller's promises, for the allocator inside.
        whichever!(self, allocator => unsafe { allocator.before_fork() });
    }

    unsafe fn after_fork(&self) {
        // SAFETY: The call that the caller promises went to the allocator inside.
        whichever!(self, allocator => unsafe { allocator.after_fork() });
    }
}

// SAFETY: The allocator inside knows its addresses, and has all blocks.
unsafe impl<S: MemorySource> Owns for ContextAllocator<S> {
    fn owns(&self, address: NonNull<u8>) -> bool {
        whichever!(self, allocator => allocator.owns(address))
    }
}

impl<S: MemorySource> Reset for ContextAllocator<S> {
    fn reset(&mut self) {
        whichever!(self, allocator => allocator.reset());
    }
}

// SAFETY: The allocator inside keeps the contract, of layouts that are padded alike.
unsafe impl<S: MemorySource> ResizeInPlace for ContextAllocator<S> {
    unsafe fn grow_in_place(
        &self,
        block: NonNull<u8>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        // SAFETY: As in `grow`.
        whichever!(self, allocator => unsafe { allocator.grow_in_place(block, padded(old), padded(new)) })
    }

    unsafe fn shrink_in_place(
        &self,
        block: NonNull<u8>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        // SAFETY: As in `shrink`.
        whichever!(self, allocator => unsafe { allocator.shrink_in_place(block, padded(old), padded(new)) })
    }
}

/// The least of what the three serve.
const fn least<S: MemorySource + Send>() -> usize {
    let short = <BumpAllocator<S> as LocalAllocator>::LARGEST;
    let medium = <BitSetAllocator<S> as LocalAllocator>::LARGEST;
    let long = <MultipleBinarySearchTreeAllocator<S> as LocalAllocator>::LARGEST;
    let smaller = if short < medium { short } else { medium };
    if smaller < long { smaller } else { long }
}

// SAFETY: All that is asked for holds of each of the three. Blocks are at least 16 bytes, since
// requests are padded, at a multiple of 8, as all three align them.
unsafe impl<S: MemorySource + Send> LocalAllocator for ContextAllocator<S> {
    type Source = S;
    type WithSource<S2: MemorySource + Send> = ContextAllocator<S2>;

    type Cache = NoThreadCache;
    const REUSES_BLOCKS: bool = true;
    const LARGEST: usize = least::<S>();

    /// A medium-lived one.
    fn new_in(source: S) -> Self {
        Self::new(source, Lifetime::Medium)
    }

    fn source(&self) -> &S {
        whichever!(self, allocator => allocator.source())
    }

    #[inline]
    fn allocate_at_hand(&self, layout: NonZeroLayout) -> Option<NonNull<u8>> {
        whichever!(self, allocator => allocator.allocate_at_hand(padded(layout)))
    }

    #[inline]
    fn owns_at_hand(&self, address: NonNull<u8>) -> bool {
        whichever!(self, allocator => allocator.owns_at_hand(address))
    }

    fn recycle(&mut self) {
        whichever!(self, allocator => allocator.recycle());
    }
}
