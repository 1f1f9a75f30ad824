//! Which allocators serve which tier, as types.

use core::alloc::GlobalAlloc;
use core::marker::PhantomData;
use core::ptr::NonNull;

use super::policy::{DefaultPolicy, Policy};
use crate::alloc::{BumpAllocator, LocalAllocator};
use crate::error::SourceError;
use crate::layout::NonZeroLayout;
use crate::source::MemorySource;

/// Three tiers and what they share: [`Tiers`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the tiers of a switchable allocator",
    label = "not `Tiers<..>`",
    note = "declare `static ALLOC: Tiers<C, T, G> = Builder::new().coroutine_tier(c).thread_tier(t).global_tier(g).build()`, \
            or `static ALLOC` alone for the recommended tiers"
)]
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
    impl<A: crate::alloc::LocalAllocator + 'static> Tier for A where A::Source: Sync + 'static {}
    impl Tier for super::NoTier {}
}

/// What the builder builds: the coroutine tier `C`, the thread tier `T`, and the global tier `G`.
///
/// `C` and `T` are [`LocalAllocator`]s or [`NoTier`]; `G` is any `GlobalAlloc`. It is the type to
/// write in the macro's full form.
pub struct Tiers<C, T, G, P = DefaultPolicy> {
    /// The pattern of each heap's allocator; only its source is used.
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
        // SAFETY: The hook is that of `G`, and the caller is the thread that forks, before it does.
        unsafe { (self.fork.before)(&self.global) };
    }

    unsafe fn global_after_fork(&self) {
        // SAFETY: The hook is that of `G`, and the caller called `global_before_fork` before the
        // fork.
        unsafe { (self.fork.after)(&self.global) };
    }
}

/// An allocator that can serve the coroutine tier or the thread tier, or [`NoTier`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot serve a tier of the switchable allocator",
    label = "not an allocator for a tier",
    note = "a tier is served by a `LocalAllocator` over a source that threads can share, such as \
            `BumpAllocator<ArenaSource<MmapSource>>`, or left out with `NoTier`",
    note = "an allocator that is `Sync`, or a `GlobalAlloc`, belongs in the global tier: `.global_tier(...)`",
    note = "`Unchosen` stands for a tier that was not chosen: before `.build()`, call `.coroutine_tier(allocator)` or \
            `.without_coroutine_tier()`, and `.thread_tier(allocator)` or `.without_thread_tier()`"
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

/// The source of a tier that is not there: refuses everything.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct NoSource;

// SAFETY: It gives no region.
unsafe impl MemorySource for NoSource {
    fn obtain(&self, _layout: NonZeroLayout) -> Result<NonNull<[u8]>, SourceError> {
        Err(SourceError::Exhausted)
    }

    unsafe fn release(&self, _region: NonNull<[u8]>, _layout: NonZeroLayout) {}
}
