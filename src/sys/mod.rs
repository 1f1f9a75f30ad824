//! The only system calls of the library.
//!
//! One implementation for each platform, behind the same functions: `linux` with the feature `std`, and
//! `bare` without it, which has no memory maps and whose waiting is a hint to the processor.

#[cfg(feature = "std")]
mod linux;
#[cfg(feature = "std")]
pub(crate) use linux::*;

#[cfg(not(feature = "std"))]
mod bare;
#[cfg(not(feature = "std"))]
pub(crate) use bare::*;
