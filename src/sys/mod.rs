//! The only system calls of the library.
//!
//! One implementation for each platform, behind the same functions: `linux` with the feature `std`,
//! and `bare` without it, which has no memory maps and whose waiting is a hint to the processor.

#[cfg(feature = "std")]
mod linux;
#[cfg(feature = "std")]
pub(crate) use linux::*;

#[cfg(not(feature = "std"))]
mod bare;
#[cfg(not(feature = "std"))]
pub(crate) use bare::*;

/// Whether all addresses of a program lie in the lower half, so that an address, a size and an
/// alignment add up without overflow: Linux gives programs nothing else on 64-bit processors. A
/// kernel or a microcontroller may have its memory anywhere.
pub(crate) const LOWER_HALF: bool = cfg!(all(target_os = "linux", target_pointer_width = "64"));
