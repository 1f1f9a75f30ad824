//! The contracts of the traits, as functions that any implementation can call.
//!
//! | function                                   | contract                                              |
//! |--------------------------------------------|-------------------------------------------------------|
//! | [`allocator`]                              | `Allocator`, up to [`LARGEST`] bytes                  |
//! | [`forwarded_allocator`], [`cloned_allocator`] | the same through `&A`, `Rc`, `Arc`; between clones  |
//! | [`resize_in_place`], [`owns`], [`reset`]   | the capability traits                                 |
//! | [`local_allocator`]                        | `LocalAllocator`, and all of the above over its types |
//! | [`source`], [`forwarded_source`]           | `MemorySource`; the same through `&S`, `Rc`, `Arc`    |

mod allocator;
mod capability;
mod local;
mod source;

pub use allocator::{allocator, cloned_allocator, forwarded_allocator};
pub use capability::{owns, reset, resize_in_place};
pub use local::local_allocator;
pub use source::{forwarded_source, source};

/// The largest block in bytes that [`allocator`] asks for and expects to get.
pub const LARGEST: usize = 32 * 1024;

/// Every alignment that the suite asks for.
pub fn alignments() -> impl Iterator<Item = usize> {
    (0..=12).map(|power| 1 << power)
}

/// Sizes from 1 to `largest` bytes: every small one, then the powers of two and their neighbours.
pub fn sizes(largest: usize) -> impl Iterator<Item = usize> {
    let small = 1..=130;
    let around = (8..usize::BITS - 1).map(|power| 1 << power).flat_map(|power| [power - 1, power, power + 1]);
    small.chain(around).take_while(move |&size| size <= largest)
}

/// Sizes that no memory of this machine holds, up to the largest that there are.
pub fn impossible_sizes() -> impl Iterator<Item = usize> {
    let most = isize::MAX as usize;
    [most, most - 7, most - 15, most - 4096, most / 2 + 1, most / 4].into_iter()
}
