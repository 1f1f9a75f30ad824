//! The builder: each tier is chosen once, in const context, and leaving one out is said.

use core::alloc::GlobalAlloc;
use core::fmt;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;

use super::policy::{DefaultPolicy, Policy};
use super::tiers::{ForkHooks, NoTier, TierAllocator, Tiers};
use crate::adapt::AllocatorAdaptor;
use crate::alloc::Allocator;

/// In place of a tier that was not chosen yet.
#[derive(Clone, Copy, Debug)]
pub struct Unchosen;

/// A global tier that was chosen: bound of [`Builder::build`].
#[diagnostic::on_unimplemented(
    message = "the global tier of the switchable allocator was not chosen, or cannot be shared",
    label = "the global tier is `{Self}`",
    note = "before `.build()`, call `.global_tier(allocator)` with a `GlobalAlloc` such as `std::alloc::System`, or \
            `.global_tier_allocator(allocator)` with one of this library's allocators behind a lock: \
            `Locked::new(BumpAllocator::new(...))`"
)]
pub trait ChosenGlobal: GlobalAlloc + Sync {}

impl<G: GlobalAlloc + Sync> ChosenGlobal for G {}

/// Composes the tiers of a switchable allocator, in const context.
///
/// Each of the three tiers is chosen once, in any order; then [`build`](Self::build) gives the
/// [`Tiers`] that the macros take. An allocator for the coroutine or thread tier is a pattern: each
/// heap gets one like it, over the same source.
///
/// # Examples
/// ```
/// use context_allocator::size::U16384;
/// use context_allocator::{ArenaSource, BumpAllocator, Builder, MmapSource, Tiers};
/// use context_allocator::switch::NoTier;
/// use std::alloc::System;
///
/// context_allocator::global_thread_and_coroutine_switchable_allocator!(
///     static ALLOC: Tiers<BumpAllocator<ArenaSource<MmapSource, U16384>>, NoTier, System> =
///         Builder::new()
///             .coroutine_tier(BumpAllocator::new(ArenaSource::new_in(MmapSource::new())))
///             .without_thread_tier()
///             .global_tier(System)
///             .build();
/// );
///
/// let heap = ALLOC.heap().expect("memory for a heap");
/// assert_eq!(heap.enter(|| vec![1, 2, 3]), [1, 2, 3]);
/// ```
#[must_use = "a builder does nothing: `.build()` gives the tiers, for the macro"]
pub struct Builder<C = Unchosen, T = Unchosen, G = Unchosen, P = DefaultPolicy> {
    // Const functions can't drop what they move out of; nothing is dropped here.
    coroutine: ManuallyDrop<C>,
    thread: ManuallyDrop<T>,
    global: ManuallyDrop<G>,
    fork: ForkHooks<G>,
    policy: PhantomData<fn() -> P>,
}

impl Builder {
    /// No tier is chosen yet.
    #[allow(clippy::new_without_default, reason = "it is for const context, where `Default` is of no use")]
    pub const fn new() -> Self {
        Self {
            coroutine: ManuallyDrop::new(Unchosen),
            thread: ManuallyDrop::new(Unchosen),
            global: ManuallyDrop::new(Unchosen),
            fork: ForkHooks::none(),
            policy: PhantomData,
        }
    }
}

impl<T, G, P> Builder<Unchosen, T, G, P> {
    /// Gives every context that wants one a heap like `allocator`, over its source, such as
    /// `BumpAllocator::new(ArenaSource::new(MmapSource::new()))`.
    pub const fn coroutine_tier<C: TierAllocator>(self, allocator: C) -> Builder<C, T, G, P> {
        Builder {
            coroutine: ManuallyDrop::new(allocator),
            thread: self.thread,
            global: self.global,
            fork: self.fork,
            policy: PhantomData,
        }
    }

    /// Does without heaps for contexts.
    pub const fn without_coroutine_tier(self) -> Builder<NoTier, T, G, P> {
        self.coroutine_tier(NoTier)
    }
}

impl<C, G, P> Builder<C, Unchosen, G, P> {
    /// Gives every thread that allocates a heap like `allocator`, over its source, which is then
    /// the tier that is current by default.
    pub const fn thread_tier<T: TierAllocator>(self, allocator: T) -> Builder<C, T, G, P> {
        Builder {
            coroutine: self.coroutine,
            thread: ManuallyDrop::new(allocator),
            global: self.global,
            fork: self.fork,
            policy: PhantomData,
        }
    }

    /// Does without heaps for threads: by default the global tier is current.
    pub const fn without_thread_tier(self) -> Builder<C, NoTier, G, P> {
        self.thread_tier(NoTier)
    }
}

impl<C, T, P> Builder<C, T, Unchosen, P> {
    /// Shares any `GlobalAlloc` among all threads.
    ///
    /// It is responsible for itself around a fork, as `System` is.
    pub const fn global_tier<G: GlobalAlloc + Sync + 'static>(self, global: G) -> Builder<C, T, G, P> {
        self.global_tier_with(global, ForkHooks::none())
    }

    /// Shares an allocator of this library among all threads: one that is `Sync`, such as `Locked`.
    ///
    /// Its lock is held around a fork.
    pub const fn global_tier_allocator<A: Allocator + Sync + 'static>(
        self,
        allocator: A,
    ) -> Builder<C, T, AllocatorAdaptor<A>, P> {
        self.global_tier_with(AllocatorAdaptor::new(allocator), ForkHooks::of_allocator())
    }

    const fn global_tier_with<G>(self, global: G, fork: ForkHooks<G>) -> Builder<C, T, G, P> {
        Builder {
            coroutine: self.coroutine,
            thread: self.thread,
            global: ManuallyDrop::new(global),
            fork,
            policy: PhantomData,
        }
    }
}

impl<C, T, G> Builder<C, T, G, DefaultPolicy> {
    /// Chooses what there is to choose beyond the tiers.
    pub const fn policy<P: Policy>(self) -> Builder<C, T, G, P> {
        Builder {
            coroutine: self.coroutine,
            thread: self.thread,
            global: self.global,
            fork: self.fork,
            policy: PhantomData,
        }
    }
}

impl<C, T, G, P> Builder<C, T, G, P> {
    /// What the macros call, so that `.build()` may be left out.
    #[doc(hidden)]
    pub const fn into_tiers(self) -> Tiers<C, T, G, P>
    where
        C: TierAllocator,
        T: TierAllocator,
        G: ChosenGlobal,
        P: Policy,
    {
        self.build()
    }

    /// The tiers, for the macro, which calls this itself where it was left out.
    pub const fn build(self) -> Tiers<C, T, G, P>
    where
        C: TierAllocator,
        T: TierAllocator,
        G: ChosenGlobal,
        P: Policy,
    {
        Tiers {
            coroutine: ManuallyDrop::into_inner(self.coroutine),
            thread: ManuallyDrop::into_inner(self.thread),
            global: ManuallyDrop::into_inner(self.global),
            fork: self.fork,
            policy: PhantomData,
        }
    }
}

impl<C, T, G, P> Tiers<C, T, G, P> {
    /// What the macros call: see [`Builder::into_tiers`].
    #[doc(hidden)]
    #[must_use]
    pub const fn into_tiers(self) -> Self {
        self
    }
}

impl<G> ForkHooks<G> {
    const fn none() -> Self {
        /// # Safety
        /// None is needed.
        unsafe fn nothing<G>(_: &G) {}
        Self { present: false, before: nothing, after: nothing, trim: |_| 0 }
    }
}

impl<A: Allocator> ForkHooks<AllocatorAdaptor<A>> {
    const fn of_allocator() -> Self {
        /// # Safety
        /// As [`Allocator::before_fork`].
        unsafe fn before<A: Allocator>(adaptor: &AllocatorAdaptor<A>) {
            // SAFETY: The caller is the thread that forks, before it does.
            unsafe { adaptor.inner().before_fork() };
        }
        /// # Safety
        /// As [`Allocator::after_fork`].
        unsafe fn after<A: Allocator>(adaptor: &AllocatorAdaptor<A>) {
            // SAFETY: The caller called `before` on this thread, or on the one that forked it.
            unsafe { adaptor.inner().after_fork() };
        }
        Self { present: true, before, after, trim: |adaptor| adaptor.inner().trim() }
    }
}

impl<C, T, G, P> fmt::Debug for Builder<C, T, G, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").finish_non_exhaustive()
    }
}

impl<C, T, G, P> fmt::Debug for Tiers<C, T, G, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tiers").finish_non_exhaustive()
    }
}
