//! The switchable allocator as data: the declaration that names its statics, its two tiers of
//! heaps, the struct, and the locks that it has around a fork. What it does is in the rooms above.

use core::fmt;
use core::marker::PhantomData;

use super::accounting::{Lifetimes, Totals};
use super::accounts::Accounts;
use super::control::{ControlRef, HeapTier};
use super::declare::{Policy, TierAllocator, TierSet};
use super::fork::Steps;
use super::heap_sweep::HeapSweep;
use super::hooks::Hooks;
use super::large::{LargeMemory, LargeObjects};
use super::parking::ParkingLot;
use super::pool::Pool;
use super::small_regions::SmallRegions;
use super::thread_state::ThreadState;
use crate::alloc::{LocalAllocator, ThreadCache, slab_lists, slab_sweep};
use crate::page_map::PageMap;
use crate::source::MemorySource;

/// A switchable allocator that was declared, by
/// [`global_thread_and_coroutine_switchable_allocator!`](crate::global_thread_and_coroutine_switchable_allocator)
/// or [`switchable_allocator!`](crate::switchable_allocator): names its tiers, its static and its
/// thread-local.
///
/// The macros declare a type of the same name as the static, which stands for it in types:
/// `Heap<ALLOC>`.
///
/// # Safety
/// Only the macros may implement it: `allocator` and `page_map` always give the same statics, which
/// no other type gives, and `thread_state` the calling thread's own state for it, which no other
/// type's `thread_state` gives, and which can be used for as long as the thread runs any code.
pub unsafe trait Declaration: Sized + Send + Sync + 'static {
    /// The tiers.
    type Tiers: TierSet;

    /// The static.
    #[doc(hidden)]
    fn allocator() -> &'static SwitchableAllocator<Self>;

    /// The map from addresses to the heaps of this allocator.
    #[doc(hidden)]
    fn page_map() -> &'static PageMap;

    /// The calling thread's state.
    #[doc(hidden)]
    fn thread_state() -> *const ThreadState<ThreadCacheOf<Self>>;
}

/// A declaration with a coroutine tier: the bound for code that is generic over switchable
/// allocators and makes heaps.
///
/// # Examples
/// ```
/// use context_allocator::{AllocError, HasCoroutineTier, SwitchableAllocator};
///
/// /// A library that does not know which allocator the program declared.
/// fn in_a_heap<D: HasCoroutineTier, R>(
///     allocator: &SwitchableAllocator<D>,
///     f: impl FnOnce() -> R,
/// ) -> Result<R, AllocError> {
///     Ok(allocator.heap()?.enter(f))
/// }
///
/// context_allocator::global_thread_and_coroutine_switchable_allocator!(static ALLOC);
/// assert_eq!(in_a_heap(&ALLOC, || vec![1, 2, 3])?.len(), 3);
/// # Ok::<(), AllocError>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "the switchable allocator `{Self}` has no coroutine tier",
    label = "declared without a coroutine tier",
    note = "to make heaps, declare it with `.coroutine_tier(allocator)` in place of `.without_coroutine_tier()`"
)]
pub trait HasCoroutineTier: Declaration<Tiers: TierSet<Coroutine: LocalAllocator>> {}

impl<D: Declaration<Tiers: TierSet<Coroutine: LocalAllocator>>> HasCoroutineTier for D {}

/// A declaration with a thread tier: the bound of
/// [`with_thread`](SwitchableAllocator::with_thread).
#[diagnostic::on_unimplemented(
    message = "the switchable allocator `{Self}` has no thread tier",
    label = "declared without a thread tier",
    note = "to use heaps of threads, declare it with `.thread_tier(allocator)` in place of `.without_thread_tier()`"
)]
pub trait HasThreadTier: Declaration<Tiers: TierSet<Thread: LocalAllocator>> {}

impl<D: Declaration<Tiers: TierSet<Thread: LocalAllocator>>> HasThreadTier for D {}

/// What the threads of a declaration keep in static storage for their heaps' allocators.
#[doc(hidden)]
pub type ThreadCacheOf<D> = CacheOf<D, Thread>;

/// The thread cache of a tier's allocator.
pub(super) type CacheOf<D, Tier> = <HeapAllocator<D, Tier> as LocalAllocator>::Cache;

/// The state of a thread of a declaration.
pub(super) type StateOf<D> = ThreadState<ThreadCacheOf<D>>;

/// What was chosen beyond the tiers.
pub(super) type PolicyOf<D> = <<D as Declaration>::Tiers as TierSet>::Policy;

/// The allocator of a heap: the user's, over the source that records whose the memory is.
#[doc(hidden)]
pub type HeapAllocator<D, Tier> =
    <<Tier as HeapsOf<D>>::Allocator as TierAllocator>::Built<TierSource<D, Tier>>;

/// The source of the regions of one heap: see `tier_source.rs`.
#[doc(hidden)]
pub struct TierSource<D, Tier> {
    pub(super) control: ControlRef,
    tier: PhantomData<fn() -> (D, Tier)>,
}

impl<D, Tier> TierSource<D, Tier> {
    pub(super) fn new(control: ControlRef) -> Self {
        Self { control, tier: PhantomData }
    }
}

impl<D, Tier> fmt::Debug for TierSource<D, Tier> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TierSource").finish_non_exhaustive()
    }
}

/// One of the two tiers that consist of heaps, in the allocator that `D` declares.
#[doc(hidden)]
pub trait HeapsOf<D: Declaration>: Sized + 'static {
    /// The tier's name in control blocks.
    const TIER: HeapTier;
    /// The tier's index in the accounts.
    const INDEX: usize;
    /// Whether the tier's heaps keep a part of their allocator in their threads' static storage.
    const CACHED: bool;
    /// The allocator that the user named for the tier.
    type Allocator: TierAllocator;

    /// The source that all heaps of the tier share.
    fn source() -> &'static <Self::Allocator as TierAllocator>::TierSource;

    /// What is cut from slices of that source.
    fn small_regions() -> &'static SmallRegions;
}

/// The coroutine tier.
#[doc(hidden)]
#[derive(Debug)]
pub struct Coroutine;

/// The thread tier.
#[doc(hidden)]
#[derive(Debug)]
pub struct Thread;

/// The global tier's index in the accounts.
pub(super) const GLOBAL_INDEX: usize = 2;

impl<D: Declaration> HeapsOf<D> for Coroutine {
    const TIER: HeapTier = HeapTier::Coroutine;
    const INDEX: usize = 0;
    const CACHED: bool = false;
    type Allocator = <D::Tiers as TierSet>::Coroutine;

    #[inline(always)]
    fn source() -> &'static <Self::Allocator as TierAllocator>::TierSource {
        D::allocator().tiers().coroutine_source()
    }

    fn small_regions() -> &'static SmallRegions {
        &D::allocator().coroutine_regions
    }
}

impl<D: Declaration> HeapsOf<D> for Thread {
    const TIER: HeapTier = HeapTier::Thread;
    const INDEX: usize = 1;
    const CACHED: bool = <ThreadCacheOf<D> as ThreadCache>::PRESENT;
    type Allocator = <D::Tiers as TierSet>::Thread;

    #[inline(always)]
    fn source() -> &'static <Self::Allocator as TierAllocator>::TierSource {
        D::allocator().tiers().thread_source()
    }

    fn small_regions() -> &'static SmallRegions {
        &D::allocator().thread_regions
    }
}

/// Whether there is such a tier.
pub(super) const fn present<D: Declaration, Tier: HeapsOf<D>>() -> bool {
    <Tier::Allocator as TierAllocator>::PRESENT
}

/// Whether the allocator of a tier takes blocks from a window.
pub(super) const fn bumps<D: Declaration, Tier: HeapsOf<D>>() -> bool {
    <HeapAllocator<D, Tier> as LocalAllocator>::BUMPS
}

/// Whether threads keep a part of their heaps' allocators in static storage.
pub(super) const fn has_thread_cache<D: Declaration>() -> bool {
    <Thread as HeapsOf<D>>::CACHED
}

/// The index in the accounts of the tier that a heap is of.
pub(super) fn tier_index<D: Declaration>(heap: ControlRef) -> usize {
    match heap.tier {
        HeapTier::Coroutine => <Coroutine as HeapsOf<D>>::INDEX,
        HeapTier::Thread => <Thread as HeapsOf<D>>::INDEX,
    }
}

/// What a declaration's large objects are made of.
pub(super) fn large_memory<D: Declaration>() -> LargeMemory<<PolicyOf<D> as Policy>::Large> {
    LargeMemory { source: PolicyOf::<D>::LARGE, page_map: D::page_map(), accounts: &D::allocator().accounts }
}

/// An allocator that switches, per thread and at run time, between three tiers: a heap for each
/// context, a heap for each thread, and a global allocator.
///
/// It is declared by
/// [`global_thread_and_coroutine_switchable_allocator!`](crate::global_thread_and_coroutine_switchable_allocator),
/// which installs it as the `#[global_allocator]`, or by
/// [`switchable_allocator!`](crate::switchable_allocator), which does not. What is allocated comes
/// from the tier that is current in the calling thread:
///
/// - inside [`Heap::enter`](super::Heap::enter) from that heap,
/// - inside [`with_thread`](Self::with_thread) or by default from the thread's own heap,
/// - inside [`with_global`](Self::with_global), or if there is no thread tier, from the global
///   tier.
///
/// A block may be freed, grown and shrunk anywhere: on any thread, in any tier, after the handle of
/// its heap was dropped. Growing moves a block to the current tier if its heap is not in use on the
/// calling thread.
///
/// Allocating in a signal handler is unsupported, as with every `malloc`: the handler may have
/// interrupted the allocator.
#[doc(alias = "GlobalThreadAndCoroutineSwitchableAllocator")]
pub struct SwitchableAllocator<D: Declaration> {
    tiers: D::Tiers,
    pub(super) coroutine_pool: Pool<HeapAllocator<D, Coroutine>>,
    pub(super) thread_pool: Pool<HeapAllocator<D, Thread>>,
    pub(super) parking: ParkingLot,
    pub(super) large: LargeObjects,
    pub(super) accounts: Accounts,
    coroutine_regions: SmallRegions,
    thread_regions: SmallRegions,
    pub(super) hooks: Hooks,
    pub(super) totals: Totals,
    pub(super) lifetimes: Lifetimes,
    pub(super) sweep: HeapSweep,
}

impl<D: Declaration> SwitchableAllocator<D> {
    crate::sync::const_fn! {
        /// The allocator of a declaration: called by the macros.
        ///
        /// # Safety
        /// This makes the static that `D::allocator()` gives, and is called for nothing else:
        /// heaps, page map and thread-locals are the declaration's, so a second allocator of it
        /// would share them without sharing their locks.
        #[doc(hidden)]
        pub unsafe fn declare(tiers: D::Tiers) -> Self {
            Self {
                tiers,
                coroutine_pool: Pool::new(),
                thread_pool: Pool::new(),
                parking: ParkingLot::new(),
                large: LargeObjects::new(),
                accounts: Accounts::new(),
                coroutine_regions: SmallRegions::new(),
                thread_regions: SmallRegions::new(),
                hooks: Hooks::new(&StepsOf::<D>::STEPS),
                totals: Totals::new(),
                lifetimes: Lifetimes::new(),
                sweep: HeapSweep::new(Self::sweep_tick),
            }
        }
    }

    #[inline(always)]
    pub(super) fn tiers(&self) -> &D::Tiers {
        &self.tiers
    }
}

impl<D: Declaration> fmt::Debug for SwitchableAllocator<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SwitchableAllocator").finish_non_exhaustive()
    }
}

/// What a declaration does before and after a fork.
struct StepsOf<D>(PhantomData<D>);

impl<D: Declaration> StepsOf<D> {
    const STEPS: Steps = Steps {
        before: [upper_before::<D>, global_before::<D>, sources_before::<D>],
        after: [upper_after::<D>, global_after::<D>, sources_after::<D>],
    };
}

/// # Safety
/// Called before a fork, on the thread that forks, which calls [`upper_after`] afterwards. The same
/// holds for the other steps.
unsafe fn upper_before<D: Declaration>() {
    let allocator = D::allocator();
    // First, of any declaration: upper locks are taken while it is held.
    slab_sweep::hold_for_fork();
    allocator.totals.before_fork();
    allocator.parking.before_fork();
    allocator.coroutine_pool.before_fork();
    allocator.thread_pool.before_fork();
    allocator.coroutine_regions.before_fork();
    allocator.thread_regions.before_fork();
    allocator.large.before_fork();
    slab_lists::hold_for_fork();
    allocator.accounts.before_fork();
}

/// # Safety
/// Called after a fork, in the parent or in the child, on the thread that called [`upper_before`].
unsafe fn upper_after<D: Declaration>() {
    let allocator = D::allocator();
    // SAFETY: A fork is about to happen, or did, on this thread, which called the counterpart. The
    // same holds for each of the calls below.
    unsafe { allocator.accounts.after_fork() };
    // SAFETY: As above.
    unsafe { slab_lists::release_after_fork() };
    // SAFETY: As above.
    unsafe { allocator.large.after_fork() };
    // SAFETY: As above.
    unsafe { allocator.thread_regions.after_fork() };
    // SAFETY: As above.
    unsafe { allocator.coroutine_regions.after_fork() };
    // SAFETY: As above.
    unsafe { allocator.thread_pool.after_fork() };
    // SAFETY: As above.
    unsafe { allocator.coroutine_pool.after_fork() };
    // SAFETY: As above.
    unsafe { allocator.parking.after_fork() };
    // SAFETY: As above.
    unsafe { allocator.totals.after_fork() };
    // SAFETY: As above.
    unsafe { slab_sweep::release_after_fork() };
}

/// # Safety
/// As [`upper_before`].
unsafe fn global_before<D: Declaration>() {
    // SAFETY: A fork is about to happen, or did, on this thread, which called the counterpart.
    unsafe { D::allocator().tiers().global_before_fork() };
}

/// # Safety
/// As [`upper_after`].
unsafe fn global_after<D: Declaration>() {
    // SAFETY: A fork is about to happen, or did, on this thread, which called the counterpart.
    unsafe { D::allocator().tiers().global_after_fork() };
}

/// # Safety
/// As [`upper_before`].
unsafe fn sources_before<D: Declaration>() {
    let tiers = D::allocator().tiers();
    // SAFETY: A fork is about to happen, or did, on this thread, which called the counterpart. The
    // same holds for each of the calls below.
    unsafe { tiers.coroutine_source().before_fork() };
    // SAFETY: As above.
    unsafe { tiers.thread_source().before_fork() };
    // SAFETY: As above.
    unsafe { PolicyOf::<D>::LARGE.before_fork() };
}

/// # Safety
/// As [`upper_after`].
unsafe fn sources_after<D: Declaration>() {
    let tiers = D::allocator().tiers();
    // SAFETY: A fork is about to happen, or did, on this thread, which called the counterpart. The
    // same holds for each of the calls below.
    unsafe { PolicyOf::<D>::LARGE.after_fork() };
    // SAFETY: As above.
    unsafe { tiers.thread_source().after_fork() };
    // SAFETY: As above.
    unsafe { tiers.coroutine_source().after_fork() };
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::control::Control;
    use super::*;

    crate::switchable_allocator!(static ALLOC);

    #[test]
    fn a_heap_that_bumps_takes_two_cache_lines() {
        assert_eq!(size_of::<Control<HeapAllocator<ALLOC, Coroutine>>>(), 128);
    }
}
