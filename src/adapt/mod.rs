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
#[cfg(any(
    feature = "allocator-api2-02",
    feature = "allocator-api2-03",
    feature = "allocator-api2-04",
    feature = "nightly"
))]
pub(crate) use foreign::{foreign_methods, foreign_references, zero_size};
mod from_alloc;
mod from_global_alloc;
mod global_alloc;
mod source_from_alloc;

pub use crate::alloc::AllocatorAdaptor;
pub use from_alloc::{AllocToAllocatorAdaptor, Api02, Api03, Api04, Nightly};
pub use from_global_alloc::GlobalAllocToAllocatorAdaptor;
pub use source_from_alloc::AllocatorSource;
