//! Nightly's `Allocator` trait.

use core::alloc::Layout;
use core::ptr::NonNull;

use super::zero_size::{self, Resize};
use super::{AllocToAllocatorAdaptor, AllocatorAdaptor};

super::foreign_allocator!(::core::alloc::Allocator, ::core::alloc::AllocError, super::Nightly);
