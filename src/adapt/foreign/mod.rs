//! The standard library's unstable `Allocator` trait, and the copies of it for stable Rust.

mod body;
mod references;
pub(crate) mod zero_size;

use body::foreign_allocator;
pub(crate) use body::foreign_methods;
pub(crate) use references::foreign_references;

/// A module for one copy of the trait, since the names in them are the same.
macro_rules! copies {
    ($(#[$feature:meta] $module:ident: $source:path, $marker:ident;)*) => {
        $(
            #[$feature]
            mod $module {
                use core::alloc::Layout;
                use core::ptr::NonNull;

                use $source::{AllocError, Allocator};

                use super::super::{AllocToAllocatorAdaptor, AllocatorAdaptor};
                use crate::unwind::no_unwind;

                super::foreign_allocator!(Allocator, AllocError, crate::adapt::$marker);
            }
        )*
    };
}

copies! {
    #[cfg(feature = "allocator-api2-02")] api02: allocator_api2_02::alloc, Api02;
    #[cfg(feature = "allocator-api2-03")] api03: allocator_api2_03::alloc, Api03;
    #[cfg(feature = "allocator-api2-04")] api04: allocator_api2_04::alloc, Api04;
    #[cfg(feature = "nightly")] nightly: core::alloc, Nightly;
}
