//! Which allocators serve which tier, as types.

use core::alloc::GlobalAlloc;
use core::marker::PhantomData;

use super::control::HeapTier;
use super::tier_source::TierSource;
use super::{Policy, SwitchableAllocator, ThreadState};
use crate::alloc::ThreadCache;
use crate::page_map::PageMap;
use crate::{BumpAllocator, LocalAllocator, MemorySource, NonZeroLayout, SourceError};

/// A switchable allocator that was declared, by
/// [`global_thread_and_coroutine_switchable_allocator!`](crate::global_thread_and_coroutine_switchable_allocator)
/// or [`switchable_allocator!`](crate::switchable_allocator): names its tiers, its static and its
/// thread-local.
///
/// The macros declare a type of the same name as the static, which stands for it in types:
/// `Heap<ALLOC>`.
///
/// # Safety
/// Only the macros may implement it: `allocator` and `owners` always give the same statics, which
/// no other type gives, and `thread_state` the calling thread's own state for it, which no other
/// type's `thread_state` gives, and which can be used for as long as the thread runs any code.
pub unsafe trait Declaration: Sized + Send + Sync + 'static {
    /// The tiers.
    type Tiers: TierSet;

    /// The static.
    #[doc(hidden)]
    fn allocator() -> &'static SwitchableAllocator<Self>;

    /// The table from addresses to the heaps of this allocator.
    #[doc(hidden)]
    fn page_map() -> &'static PageMap;

    /// The calling thread's state.
    #[doc(hidden)]
    fn thread_state() -> *const ThreadState<ThreadCacheOf<Self>>;
}

/// What the threads of a declaration keep near them of their heaps' allocators.
#[doc(hidden)]
pub type ThreadCacheOf<D> = <HeapAllocator<D, Thread> as LocalAllocator>::Cache;

/// The state of a thread of a declaration.
pub(crate) type StateOf<D> = ThreadState<ThreadCacheOf<D>>;

/// Three tiers and what they share: [`Tiers`].
pub trait TierSet: sealed::Sealed + Sync + 'static {
    /// The allocator of the coroutine tier.
    type Coroutine: TierAllocator;
    /// The allocator of the thread tier.
    type Thread: TierAllocator;
    /// The global tier.
    type Global: GlobalAlloc + Sync;
    /// What was chosen beyond the tiers.
    type Policy: Policy;

    #[doc(hidden)]
    fn coroutine_source(&self) -> &<Self::Coroutine as TierAllocator>::TierSource;
    #[doc(hidden)]
    fn thread_source(&self) -> &<Self::Thread as TierAllocator>::TierSource;
    #[doc(hidden)]
    fn global(&self) -> &Self::Global;
    /// Whether the two functions below do anything.
    #[doc(hidden)]
    fn global_takes_part_in_forks(&self) -> bool;
    /// # Safety
    /// As [`MemorySource::before_fork`].
    #[doc(hidden)]
    unsafe fn global_before_fork(&self);
    #[doc(hidden)]
    fn trim_global(&self) -> usize;
    /// # Safety
    /// As [`MemorySource::after_fork`].
    #[doc(hidden)]
    unsafe fn global_after_fork(&self);
}

mod sealed {
    pub trait Sealed {}

    /// `Tiers: Sync` and the release of regions rely on what `source` does, so nobody else may
    /// write one.
    pub trait Tier {}
    impl<A: crate::LocalAllocator + 'static> Tier for A where A::Source: Sync + 'static {}
    impl Tier for super::NoTier {}
}

/// What the builder builds: the coroutine tier `C`, the thread tier `T`, and the global tier `G`.
///
/// `C` and `T` are [`LocalAllocator`]s or [`NoTier`]; `G` is any `GlobalAlloc`. It is the type to
/// write in the macro's full form.
pub struct Tiers<C, T, G, P = super::DefaultPolicy> {
    /// What every heap of the tier is built like; only its source is used.
    pub(super) coroutine: C,
    pub(super) thread: T,
    pub(super) global: G,
    pub(super) fork: ForkHooks<G>,
    pub(super) policy: PhantomData<fn() -> P>,
}

// SAFETY: Of the two local allocators only the sources are reached, which are `Sync`, through
// `TierAllocator::source`, which may be called from any thread (`LocalAllocator`); the rest is
// `Sync`.
unsafe impl<C: TierAllocator, T: TierAllocator, G: Sync, P> Sync for Tiers<C, T, G, P> {}

/// How to hold the locks of a global tier around a fork, and how to trim it.
pub(super) struct ForkHooks<G> {
    pub(super) present: bool,
    pub(super) before: unsafe fn(&G),
    pub(super) after: unsafe fn(&G),
    pub(super) trim: fn(&G) -> usize,
}

impl<C, T, G, P> sealed::Sealed for Tiers<C, T, G, P> {}

impl<C, T, G, P> TierSet for Tiers<C, T, G, P>
where
    C: TierAllocator,
    T: TierAllocator,
    G: GlobalAlloc + Sync + 'static,
    P: Policy,
{
    type Coroutine = C;
    type Thread = T;
    type Global = G;
    type Policy = P;

    #[inline(always)]
    fn coroutine_source(&self) -> &C::TierSource {
        self.coroutine.source()
    }

    #[inline(always)]
    fn thread_source(&self) -> &T::TierSource {
        self.thread.source()
    }

    #[inline(always)]
    fn global(&self) -> &G {
        &self.global
    }

    #[inline(always)]
    fn global_takes_part_in_forks(&self) -> bool {
        self.fork.present
    }

    fn trim_global(&self) -> usize {
        (self.fork.trim)(&self.global)
    }

    unsafe fn global_before_fork(&self) {
        // SAFETY: The hook is that of `G`, and the caller's promises are the ones it asks for.
        unsafe { (self.fork.before)(&self.global) };
    }

    unsafe fn global_after_fork(&self) {
        // SAFETY: The hook is that of `G`, and the caller's promises are the ones it asks for.
        unsafe { (self.fork.after)(&self.global) };
    }
}

/// An allocator that can serve the coroutine tier or the thread tier, or [`NoTier`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot serve a tier of the switchable allocator",
    label = "not an allocator for a tier",
    note = "a tier is served by a `LocalAllocator` over a source that threads can share, such as \
            `BumpAllocator<ArenaSource<MmapSource>>`, or left out with `NoTier`",
    note = "an allocator that is `Sync`, or a `GlobalAlloc`, belongs in the global tier: `.global_tier(...)`"
)]
pub trait TierAllocator: sealed::Tier + 'static {
    /// Whether there is such a tier.
    #[doc(hidden)]
    const PRESENT: bool;
    /// The source that the heaps of the tier share.
    #[doc(hidden)]
    type TierSource: MemorySource + Sync + 'static;
    /// The allocator over another source.
    #[doc(hidden)]
    type Built<S: MemorySource + Send>: LocalAllocator<Source = S>;

    #[doc(hidden)]
    fn source(&self) -> &Self::TierSource;
}

impl<A> TierAllocator for A
where
    A: LocalAllocator + 'static,
    A::Source: Sync + 'static,
{
    const PRESENT: bool = true;
    type TierSource = A::Source;
    type Built<S: MemorySource + Send> = A::WithSource<S>;

    #[inline(always)]
    fn source(&self) -> &A::Source {
        LocalAllocator::source(self)
    }
}

/// In place of an allocator: there is no such tier.
#[derive(Clone, Copy, Debug)]
pub struct NoTier;

impl TierAllocator for NoTier {
    const PRESENT: bool = false;
    type TierSource = NoSource;
    type Built<S: MemorySource + Send> = BumpAllocator<S>;

    fn source(&self) -> &NoSource {
        &NoSource
    }
}

/// A tier that is there: bound of what only makes sense with it.
#[diagnostic::on_unimplemented(
    message = "this switchable allocator was built without that tier",
    note = "name an allocator for the tier in the type of the static and in the builder \
            (`.coroutine_tier(source)`, `.thread_tier(source)`), or do without this call"
)]
pub trait PresentTier: TierAllocator {}

impl<A> PresentTier for A
where
    A: LocalAllocator + 'static,
    A::Source: Sync + 'static,
{
}

/// The source of a tier that is not there: refuses everything.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct NoSource;

// SAFETY: It gives no region.
unsafe impl MemorySource for NoSource {
    fn obtain(&self, _layout: NonZeroLayout) -> Result<core::ptr::NonNull<[u8]>, SourceError> {
        Err(SourceError::Exhausted)
    }

    unsafe fn release(&self, _region: core::ptr::NonNull<[u8]>, _layout: NonZeroLayout) {}
}

/// One of the two tiers that consist of heaps.
#[doc(hidden)]
pub trait Kind<D: Declaration>: Sized + 'static {
    const TIER: HeapTier;
    /// The tier's index in the accounts.
    const INDEX: usize;
    type Allocator: TierAllocator;

    fn source() -> &'static <Self::Allocator as TierAllocator>::TierSource;

    /// Whether the tier's heaps keep a part of their allocator in their threads' static storage.
    const CACHED: bool;

    /// The largest size or alignment in bytes that the tier's allocator is asked for; what is
    /// larger is a large object.
    const LARGEST: usize = {
        let allocator = <HeapAllocator<D, Self> as LocalAllocator>::LARGEST;
        let block = <<Self::Allocator as TierAllocator>::TierSource as MemorySource>::BLOCK;
        let source = if block == 0 { 4 * crate::source::SLICE } else { block / 2 };
        if allocator < source { allocator } else { source }
    };
}

/// The coroutine tier.
#[doc(hidden)]
#[derive(Debug)]
pub struct Coroutine;

/// The thread tier.
#[doc(hidden)]
#[derive(Debug)]
pub struct Thread;

pub(crate) const GLOBAL_INDEX: usize = 2;

type Set<D> = <D as Declaration>::Tiers;

impl<D: Declaration> Kind<D> for Coroutine {
    const TIER: HeapTier = HeapTier::Coroutine;
    const CACHED: bool = false;
    const INDEX: usize = 0;
    type Allocator = <Set<D> as TierSet>::Coroutine;

    #[inline(always)]
    fn source() -> &'static <Self::Allocator as TierAllocator>::TierSource {
        D::allocator().tiers().coroutine_source()
    }
}

impl<D: Declaration> Kind<D> for Thread {
    const TIER: HeapTier = HeapTier::Thread;
    const CACHED: bool = <ThreadCacheOf<D> as ThreadCache>::PRESENT;
    const INDEX: usize = 1;
    type Allocator = <Set<D> as TierSet>::Thread;

    #[inline(always)]
    fn source() -> &'static <Self::Allocator as TierAllocator>::TierSource {
        D::allocator().tiers().thread_source()
    }
}

/// The thread cache of a tier's allocator.
pub(crate) type CacheOf<D, K> = <HeapAllocator<D, K> as LocalAllocator>::Cache;

/// The allocator of a heap: the user's, over the tier's registering source.
#[doc(hidden)]
pub type HeapAllocator<D, K> = <<K as Kind<D>>::Allocator as TierAllocator>::Built<TierSource<D, K>>;
