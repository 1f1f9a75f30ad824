//! Somebody else's `Allocator` as one of ours.

/// An allocator of allocator-api2 (feature `allocator-api2`) or of nightly (feature `nightly`) as our
/// [`Allocator`](crate::Allocator).
///
/// With both features, say which trait is meant: `A` implements our `Allocator` through the second parameter, [`Api2`] by
/// default or `Nightly`.
///
/// # Examples
/// ```
/// # #[cfg(feature = "allocator-api2")] {
/// use allocator_api2::alloc::Global;
/// use context_allocator::{AllocToAllocatorAdaptor, Allocator, NonZeroLayout};
///
/// let allocator = AllocToAllocatorAdaptor::new(Global);
/// let layout = NonZeroLayout::of::<u64>().unwrap();
/// let block = allocator.allocate(layout).unwrap();
/// // SAFETY: Just allocated with this layout, and not used again.
/// unsafe { allocator.deallocate(block.cast(), layout) };
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct AllocToAllocatorAdaptor<A, T = Api2> {
    pub(super) allocator: A,
    by: core::marker::PhantomData<T>,
}

/// Names the trait of allocator-api2 0.2 for [`AllocToAllocatorAdaptor`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Api2;

/// Names nightly's trait for [`AllocToAllocatorAdaptor`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Nightly;

impl<A> AllocToAllocatorAdaptor<A> {
    /// `allocator`, of allocator-api2, as our `Allocator`.
    pub const fn new(allocator: A) -> Self {
        Self { allocator, by: core::marker::PhantomData }
    }
}

impl<A> AllocToAllocatorAdaptor<A, Nightly> {
    /// `allocator`, of nightly's trait, as our `Allocator`.
    pub const fn new_nightly(allocator: A) -> Self {
        Self { allocator, by: core::marker::PhantomData }
    }
}

impl<A, T> AllocToAllocatorAdaptor<A, T> {
    /// The allocator inside.
    pub const fn inner(&self) -> &A {
        &self.allocator
    }
}
