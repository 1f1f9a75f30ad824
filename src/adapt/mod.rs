//! To and from the other allocator traits.
//!
//! Each adaptor settles requests for no bytes, which our [`Allocator`](crate::Allocator) never
//! sees. Where the other trait allows them, a dangling pointer stands for them, and freeing it does
//! nothing; `GlobalAlloc`, which leaves them undefined, gets one byte.

#[cfg(any(
    feature = "allocator-api2-02",
    feature = "allocator-api2-03",
    feature = "allocator-api2-04",
    feature = "nightly"
))]
mod foreign;
mod from_alloc;
mod from_global_alloc;
mod global_alloc;

pub use from_alloc::{AllocToAllocatorAdaptor, Api02, Api03, Api04, Nightly};
pub use from_global_alloc::GlobalAllocToAllocatorAdaptor;

/// One of our allocators, as the other traits want it: made by
/// [`Allocator::adapt`](crate::Allocator::adapt).
///
/// It is a [`GlobalAlloc`](core::alloc::GlobalAlloc); with the features `allocator-api2-02`, `-03`
/// and `-04` it is the `Allocator` of that version of allocator-api2, and with the feature
/// `nightly` it is `core::alloc::Allocator`, so that collections take it. To lend an allocator to
/// several collections, adapt a reference to it.
///
/// # Examples
/// As the global allocator:
/// ```
/// use context_allocator::{AllocatorAdaptor, BumpAllocator, Locked, MmapSource, SpinFutexLock};
///
/// #[global_allocator]
/// static GLOBAL: AllocatorAdaptor<Locked<SpinFutexLock, BumpAllocator<MmapSource>>> =
///     AllocatorAdaptor::new(Locked::new(BumpAllocator::new(MmapSource::new())));
///
/// assert_eq!(vec![1, 2, 3].len(), 3);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct AllocatorAdaptor<A> {
    allocator: A,
}

impl<A> AllocatorAdaptor<A> {
    /// `allocator` as the other traits want it.
    pub const fn new(allocator: A) -> Self {
        Self { allocator }
    }

    /// The allocator inside.
    pub const fn inner(&self) -> &A {
        &self.allocator
    }

    /// The allocator inside, by value.
    pub fn into_inner(self) -> A {
        self.allocator
    }
}
