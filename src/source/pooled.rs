//! The pool of slices that everything in a process can share.

use core::ptr::NonNull;

use super::through::{pass_on_decommit, pass_on_sweep};
use super::{Decommit, IdleMemory, MemorySource, MmapSource, Obtained, Purge, Remapped, RunSource, RunUsage};
use crate::error::SourceError;
use crate::layout::NonZeroLayout;

/// The pool behind [`PooledSource`].
static POOL: RunSource = RunSource::for_static(&POOL, MmapSource::new(), Purge::new());

/// The process's pool of slices: a [`RunSource`] over memory maps, with the default [`Purge`], as
/// a source without state.
///
/// The recommended thread tier takes its slabs from it, and large objects are made of it, so that
/// memory which one leaves serves the other, and what neither uses goes back to the operating
/// system. For another policy, or a pool of its own, a program declares a static `RunSource` and
/// uses a reference to it.
///
/// # Examples
/// ```
/// use context_allocator::{MemorySource, NonZeroLayout};
/// use context_allocator::source::PooledSource;
///
/// let layout = NonZeroLayout::from_size_align(100_000, 8)?;
/// let region = PooledSource::new().obtain(layout)?;
/// assert_eq!(region.len(), 2 * 65_536);
/// // SAFETY: Just obtained with this layout, and not used again.
/// unsafe { PooledSource::new().release(region, layout) };
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct PooledSource(());

impl PooledSource {
    /// The process's pool.
    #[must_use]
    pub const fn new() -> Self {
        Self(())
    }

    /// How much the pool holds at this moment.
    pub fn usage(self) -> RunUsage {
        POOL.usage()
    }

    /// Gives the memory of all free slices up now; gives the number of bytes.
    pub fn purge(self) -> usize {
        POOL.purge()
    }
}

type Pool = RunSource;

// SAFETY: Every method is that of the one pool.
unsafe impl MemorySource for PooledSource {
    const ZEROED: bool = <Pool as MemorySource>::ZEROED;
    const MIN_ALIGN: usize = <Pool as MemorySource>::MIN_ALIGN;
    const MAX_REGION: usize = <Pool as MemorySource>::MAX_REGION;
    const BLOCK: usize = <Pool as MemorySource>::BLOCK;
    const SHARES_SLICES: bool = <Pool as MemorySource>::SHARES_SLICES;

    #[inline]
    fn obtain(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, SourceError> {
        POOL.obtain(layout)
    }

    #[inline]
    fn obtain_between(&self, least: NonZeroLayout, preferred: usize) -> Result<Obtained, SourceError> {
        POOL.obtain_between(least, preferred)
    }

    #[inline]
    unsafe fn release(&self, region: NonNull<[u8]>, layout: NonZeroLayout) {
        // SAFETY: The caller's promises; the pool gave the region.
        unsafe { POOL.release(region, layout) };
    }

    unsafe fn remap(
        &self,
        region: NonNull<[u8]>,
        old: NonZeroLayout,
        new: NonZeroLayout,
    ) -> Result<Remapped, SourceError> {
        // SAFETY: The caller's promises; the pool gave the region.
        unsafe { POOL.remap(region, old, new) }
    }

    fn purge(&self) -> usize {
        POOL.purge()
    }

    pass_on_sweep!(self => POOL);

    fn idle(&self, report: &mut dyn FnMut(IdleMemory)) {
        POOL.idle(report);
    }

    fn reclaim(&self, leaving: &mut dyn FnMut(NonNull<[u8]>)) -> usize {
        POOL.reclaim(leaving)
    }

    unsafe fn before_fork(&self) {
        // SAFETY: This thread calls `after_fork` as often, and nothing is moved before.
        unsafe { POOL.before_fork() };
    }

    unsafe fn after_fork(&self) {
        // SAFETY: This thread, or the one that forked it, called `before_fork` for this call.
        unsafe { POOL.after_fork() };
    }
}

// SAFETY: Every method is that of the one pool.
unsafe impl Decommit for PooledSource {
    pass_on_decommit!(self => POOL);
}
