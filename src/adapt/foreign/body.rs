//! One body for every copy of the standard library's unstable `Allocator` trait.

/// The methods of a foreign trait, for a type whose allocator of this library is `$inner`.
macro_rules! foreign_methods {
    ($error:path, |$this:ident| $inner:expr) => {
        #[inline(always)]
        fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, $error> {
            let $this = self;
            $crate::adapt::zero_size::allocate($inner, layout, false).map_err(|_| $error)
        }

        #[inline(always)]
        fn allocate_zeroed(&self, layout: Layout) -> Result<NonNull<[u8]>, $error> {
            let $this = self;
            $crate::adapt::zero_size::allocate($inner, layout, true).map_err(|_| $error)
        }

        #[inline(always)]
        unsafe fn deallocate(&self, block: NonNull<u8>, layout: Layout) {
            let $this = self;
            // SAFETY: The foreign trait asks the caller for the same.
            unsafe { $crate::adapt::zero_size::deallocate($inner, block, layout) };
        }

        #[inline(always)]
        unsafe fn grow(&self, block: NonNull<u8>, old: Layout, new: Layout) -> Result<NonNull<[u8]>, $error> {
            let $this = self;
            // SAFETY: The foreign trait asks the caller for the same.
            unsafe {
                $crate::adapt::zero_size::resize(
                    $inner,
                    block,
                    old,
                    new,
                    $crate::adapt::zero_size::Resize::Grow,
                )
            }
            .map_err(|_| $error)
        }

        #[inline(always)]
        unsafe fn grow_zeroed(
            &self,
            block: NonNull<u8>,
            old: Layout,
            new: Layout,
        ) -> Result<NonNull<[u8]>, $error> {
            let $this = self;
            // SAFETY: The foreign trait asks the caller for the same.
            unsafe {
                $crate::adapt::zero_size::resize(
                    $inner,
                    block,
                    old,
                    new,
                    $crate::adapt::zero_size::Resize::GrowZeroed,
                )
            }
            .map_err(|_| $error)
        }

        #[inline(always)]
        unsafe fn shrink(
            &self,
            block: NonNull<u8>,
            old: Layout,
            new: Layout,
        ) -> Result<NonNull<[u8]>, $error> {
            let $this = self;
            // SAFETY: The foreign trait asks the caller for the same.
            unsafe {
                $crate::adapt::zero_size::resize(
                    $inner,
                    block,
                    old,
                    new,
                    $crate::adapt::zero_size::Resize::Shrink,
                )
            }
            .map_err(|_| $error)
        }
    };
}
pub(crate) use foreign_methods;

/// Implements the trait `$foreign` for `AllocatorAdaptor`, and our `Allocator` for
/// `AllocToAllocatorAdaptor<_, $marker>`.
macro_rules! foreign_allocator {
    ($foreign:ident, $error:ident, $marker:path) => {
        // SAFETY: Our `Allocator` promises the same. Moving the adaptor moves the allocator, which
        // does not move its blocks; it is not `Clone` unless the allocator inside is, which then
        // promises that clones share blocks.
        unsafe impl<A: crate::alloc::Allocator> $foreign for AllocatorAdaptor<A> {
            crate::adapt::foreign_methods!($error, |this| &this.allocator);
        }

        // SAFETY: The foreign trait promises the same, and defines "currently allocated" and "fits"
        // the same way; it may panic, which `no_unwind` lets go no further.
        unsafe impl<A: $foreign> crate::alloc::Allocator for AllocToAllocatorAdaptor<A, $marker> {
            #[inline(always)]
            fn allocate(
                &self,
                layout: crate::layout::NonZeroLayout,
            ) -> Result<NonNull<[u8]>, crate::error::AllocError> {
                no_unwind(|| self.allocator.allocate(layout.layout()))
                    .map_err(|_| crate::error::AllocError::Refused)
            }

            #[inline(always)]
            fn allocate_zeroed(
                &self,
                layout: crate::layout::NonZeroLayout,
            ) -> Result<NonNull<[u8]>, crate::error::AllocError> {
                no_unwind(|| self.allocator.allocate_zeroed(layout.layout()))
                    .map_err(|_| crate::error::AllocError::Refused)
            }

            #[inline(always)]
            unsafe fn deallocate(&self, block: NonNull<u8>, layout: crate::layout::NonZeroLayout) {
                // SAFETY: The block is allocated here, the layout fits it, and the caller gives it
                // up.
                no_unwind(|| unsafe { self.allocator.deallocate(block, layout.layout()) });
            }

            #[inline(always)]
            unsafe fn grow(
                &self,
                block: NonNull<u8>,
                old: crate::layout::NonZeroLayout,
                new: crate::layout::NonZeroLayout,
            ) -> Result<NonNull<[u8]>, crate::error::AllocError> {
                // SAFETY: The block is allocated here, `old` fits it, and `new` is not smaller:
                // `grow`'s contract.
                no_unwind(|| unsafe { self.allocator.grow(block, old.layout(), new.layout()) })
                    .map_err(|_| crate::error::AllocError::Refused)
            }

            #[inline(always)]
            unsafe fn grow_zeroed(
                &self,
                block: NonNull<u8>,
                old: crate::layout::NonZeroLayout,
                new: crate::layout::NonZeroLayout,
            ) -> Result<NonNull<[u8]>, crate::error::AllocError> {
                // SAFETY: The block is allocated here, `old` fits it, and `new` is not smaller:
                // `grow`'s contract.
                no_unwind(|| unsafe { self.allocator.grow_zeroed(block, old.layout(), new.layout()) })
                    .map_err(|_| crate::error::AllocError::Refused)
            }

            #[inline(always)]
            unsafe fn shrink(
                &self,
                block: NonNull<u8>,
                old: crate::layout::NonZeroLayout,
                new: crate::layout::NonZeroLayout,
            ) -> Result<NonNull<[u8]>, crate::error::AllocError> {
                // SAFETY: The block is allocated here, `old` fits it, and `new` is not larger:
                // `shrink`'s contract.
                no_unwind(|| unsafe { self.allocator.shrink(block, old.layout(), new.layout()) })
                    .map_err(|_| crate::error::AllocError::Refused)
            }
        }
    };
}
pub(super) use foreign_allocator;
