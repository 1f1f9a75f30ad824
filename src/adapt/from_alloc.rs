//! Somebody else's `Allocator` as one of ours.

use core::marker::PhantomData;

/// An allocator of allocator-api2 or of nightly as our [`Allocator`](crate::Allocator).
///
/// The second parameter says which trait is meant: [`Api02`] by default, [`Api03`], [`Api04`] or
/// [`Nightly`], each with the feature of that name (`allocator-api2-02`, `allocator-api2-03`,
/// `allocator-api2-04`, `nightly`).
///
/// Those traits let an allocator panic, ours does not: a panic in the one inside ends the process.
///
/// # Examples
/// ```
/// # #[cfg(feature = "allocator-api2-02")] {
/// use allocator_api2_02::alloc::Global;
/// use context_allocator::{Allocator, NonZeroLayout};
/// use context_allocator::adapt::AllocToAllocatorAdaptor;
///
/// let allocator = AllocToAllocatorAdaptor::new(Global);
/// let layout = NonZeroLayout::of::<u64>().unwrap();
/// let block = allocator.allocate(layout).unwrap();
/// // SAFETY: Just allocated with this layout, and not used again.
/// unsafe { allocator.deallocate(block.cast(), layout) };
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct AllocToAllocatorAdaptor<A, T = Api02> {
    pub(super) allocator: A,
    by: PhantomData<T>,
}

/// Names the trait of allocator-api2 0.2 (as of hashbrown, bumpalo and bump-scope) for
/// [`AllocToAllocatorAdaptor`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Api02;

/// Names the trait of allocator-api2 0.3 (as of bump-scope) for [`AllocToAllocatorAdaptor`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Api03;

/// Names the trait of allocator-api2 0.4 (as of talc, blink-alloc and bump-scope) for
/// [`AllocToAllocatorAdaptor`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Api04;

/// Names nightly's trait for [`AllocToAllocatorAdaptor`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Nightly;

impl<A> AllocToAllocatorAdaptor<A> {
    /// `allocator`, of allocator-api2 0.2, as our `Allocator`.
    pub const fn new(allocator: A) -> Self {
        Self::through(allocator)
    }
}

impl<A, T> AllocToAllocatorAdaptor<A, T> {
    /// `allocator` as our `Allocator`, through the trait that `T` names.
    pub const fn through(allocator: A) -> Self {
        Self { allocator, by: PhantomData }
    }

    /// The allocator inside.
    pub const fn inner(&self) -> &A {
        &self.allocator
    }
}
