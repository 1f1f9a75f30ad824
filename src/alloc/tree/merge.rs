//! Whether regions that lie one behind the other become one span.

use generic_array::ArrayLength;

#[cfg(feature = "std")]
use crate::source::MmapSource;
use crate::source::{CachingSource, CountingSource, LimitSource, MemorySource, RecordingSource};

mod sealed {
    pub trait Sealed {}
}

/// A source whose regions may be used as one where they happen to lie one behind the other.
///
/// # Safety
/// For the implementor: where the end of one region is the start of another, both held, a pointer
/// into either may be used to access the other. So it is where all regions are cut from one object.
/// A source of separate objects, as any that takes them from `GlobalAlloc` or from statics, must
/// not implement this.
#[diagnostic::on_unimplemented(
    message = "regions of `{Self}` cannot be merged",
    label = "not an `AdjoiningSource`",
    note = "take `KeepApart` in place of `MergeAdjacent`; or implement `AdjoiningSource` if all regions of the source are parts \
            of one object"
)]
pub unsafe trait AdjoiningSource: MemorySource {}

// SAFETY: Mappings are pages of the one address space, which the kernel gives and takes page by
// page: neighbours are told from one mapping by nobody, the kernel itself merges them, and `munmap`
// takes any part. They were made by no allocation function of the language.
#[cfg(feature = "std")]
unsafe impl AdjoiningSource for MmapSource {}
// SAFETY: The regions are those of the source behind the reference.
unsafe impl<S: AdjoiningSource + ?Sized> AdjoiningSource for &S {}
// SAFETY: The regions are those of the source behind the counter.
#[cfg(feature = "std")]
unsafe impl<S: AdjoiningSource + ?Sized> AdjoiningSource for std::rc::Rc<S> {}
// SAFETY: The regions are those of the source behind the counter.
#[cfg(feature = "std")]
unsafe impl<S: AdjoiningSource + ?Sized> AdjoiningSource for std::sync::Arc<S> {}
// SAFETY: The regions are those of the source behind the limit, or begin with all that is used of
// one.
unsafe impl<S: AdjoiningSource> AdjoiningSource for LimitSource<S> {}
// SAFETY: As for a limit.
unsafe impl<S: AdjoiningSource> AdjoiningSource for CountingSource<S> {}
// SAFETY: As for a limit.
unsafe impl<S: AdjoiningSource, N: ArrayLength> AdjoiningSource for CachingSource<S, N> {}
// SAFETY: The regions are those of the source behind it.
unsafe impl<S: AdjoiningSource> AdjoiningSource for RecordingSource<S> {}

/// What an allocator does with adjacent regions: [`KeepApart`] or [`MergeAdjacent`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say what becomes of adjacent regions of `{S}`",
    note = "it is `KeepApart`, for any source, or `MergeAdjacent`, for a source that is an `AdjoiningSource`"
)]
pub trait Merging<S: MemorySource>: sealed::Sealed + 'static {
    /// Whether adjacent regions become one.
    const MERGES: bool;
}

/// Each block lies in one region of the source. The default; what a tier needs.
#[derive(Debug)]
pub enum KeepApart {}

/// Regions that lie one behind the other become one, whose free blocks merge across the border.
///
/// They are released together, each as it was obtained, once no block in any of them is live.
#[derive(Debug)]
pub enum MergeAdjacent {}

impl sealed::Sealed for KeepApart {}
impl sealed::Sealed for MergeAdjacent {}

impl<S: MemorySource> Merging<S> for KeepApart {
    const MERGES: bool = false;
}

impl<S: AdjoiningSource> Merging<S> for MergeAdjacent {
    const MERGES: bool = true;
}
