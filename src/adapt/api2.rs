//! The `Allocator` trait of allocator-api2 0.2.

use core::alloc::Layout;
use core::ptr::NonNull;

use super::zero_size::{self, Resize};
use super::{AllocToAllocatorAdaptor, AllocatorAdaptor};

super::foreign_allocator!(
    ::allocator_api2::alloc::Allocator,
    ::allocator_api2::alloc::AllocError,
    super::Api2
);
