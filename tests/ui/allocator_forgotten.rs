//! A `GlobalAlloc` is not an allocator of this library.

// says: `std::alloc::System` is not an `Allocator` of context-allocator
// says: for a `GlobalAlloc` write `GlobalAllocToAllocatorAdaptor::new(&allocator)`, for an allocator of allocator-api2 `AllocToAllocatorAdaptor::new(allocator)`

use context_allocator::adapt::AllocatorSource;
use context_allocator::{Allocator, BumpAllocator};
use std::alloc::System;

fn main() {
    allocates(&BumpAllocator::new(AllocatorSource::new(System)));
}

fn allocates(_: &impl Allocator) {}
