//! The adaptor from our allocators to other traits, as a struct; [`adapt`](crate::adapt) implements
//! the traits.

/// One of our allocators, as the other traits want it: made by
/// [`Allocator::adapt`](crate::Allocator::adapt).
///
/// It is a [`GlobalAlloc`](core::alloc::GlobalAlloc); with the features `allocator-api2-02`, `-03`
/// and `-04` it is the `Allocator` of that version of allocator-api2, and with the feature
/// `nightly` it is `core::alloc::Allocator`, so that collections take it. A reference to an
/// allocator of this library is all of that but a `GlobalAlloc` without an adaptor: so collections
/// take `&allocator`, and the adaptor is for an allocator that a collection owns, or that is behind
/// an `Rc` or `Arc`.
///
/// # Examples
/// As the global allocator:
/// ```
/// use context_allocator::{BumpAllocator, Locked, MmapSource};
/// use context_allocator::adapt::AllocatorAdaptor;
///
/// #[global_allocator]
/// static GLOBAL: AllocatorAdaptor<Locked<BumpAllocator<MmapSource>>> =
///     AllocatorAdaptor::new(Locked::new(BumpAllocator::new(MmapSource::new())));
///
/// assert_eq!(vec![1, 2, 3].len(), 3);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct AllocatorAdaptor<A> {
    pub(crate) allocator: A,
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

    /// The allocator inside, for instance to reset it.
    pub const fn inner_mut(&mut self) -> &mut A {
        &mut self.allocator
    }

    /// The allocator inside, by value.
    pub fn into_inner(self) -> A {
        self.allocator
    }
}
