//! Why memory could not be had.
//!
//! The types are `Copy`, hold no memory of their own, and fit beside the niche of a
//! `NonNull<[u8]>`, so that a `Result` of one is two words.

#![forbid(unsafe_code)]

use core::fmt;

/// Why a [`MemorySource`](crate::MemorySource) refused a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SourceError {
    /// The source has no memory left; the same request may succeed once a region was released.
    Exhausted,
    /// The source never gives a region of this size.
    TooLarge,
    /// The source never gives a region of this alignment.
    AlignmentTooLarge,
    /// A limit in bytes that was set for this source would be passed.
    LimitReached,
    /// The limit in bytes of the heap, or of an account above it, would be passed.
    HeapLimitReached,
    /// The region lies at addresses that the page map does not cover.
    AddressOutOfRange,
    /// The operating system lacks what the source was told to ask of it: a placement policy, a kind
    /// of page, an advice.
    Unsupported,
    /// The operating system refused; the value is its error number (`errno`).
    System(i32),
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exhausted => f.write_str("the memory source has no memory left"),
            Self::TooLarge => f.write_str("the memory source gives no region of this size"),
            Self::AlignmentTooLarge => f.write_str("the memory source gives no region of this alignment"),
            Self::LimitReached => f.write_str("the limit in bytes would be passed"),
            Self::HeapLimitReached => f.write_str("the heap's limit in bytes would be passed"),
            Self::AddressOutOfRange => f.write_str("the region lies beyond the addresses of the page map"),
            Self::Unsupported => f.write_str("the operating system lacks what the memory source asks of it"),
            Self::System(errno) => write!(f, "the operating system refused memory (error number {errno})"),
        }
    }
}

impl core::error::Error for SourceError {}

/// Why an [`Allocator`](crate::Allocator) refused a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AllocError {
    /// The size together with what must be kept beside it passes `isize::MAX` bytes, or is larger
    /// than this allocator ever gives.
    TooLarge,
    /// The block could not be resized where it is; it is unchanged.
    NotInPlace,
    /// The memory source refused, for the reason given.
    Source(SourceError),
    /// The adapted allocator refused and gave no reason.
    Refused,
    /// The heap is entered in another scope, on another thread or in a saved context.
    Entered,
}

impl From<SourceError> for AllocError {
    fn from(error: SourceError) -> Self {
        Self::Source(error)
    }
}

impl fmt::Display for AllocError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => f.write_str("the block is larger than the allocator ever gives"),
            Self::NotInPlace => f.write_str("the block cannot be resized where it is"),
            Self::Source(error) => error.fmt(f),
            Self::Refused => f.write_str("the adapted allocator refused the block"),
            Self::Entered => f.write_str("the heap is entered somewhere else already"),
        }
    }
}

impl core::error::Error for AllocError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Source(error) => Some(error),
            _ => None,
        }
    }
}

/// Why there is no [`NonZeroLayout`](crate::NonZeroLayout): the size is zero, the alignment is no
/// power of two, or both together pass `isize::MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayoutError;

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "not a layout: the size is zero, the alignment no power of two, or both pass isize::MAX bytes",
        )
    }
}

impl core::error::Error for LayoutError {}

impl From<LayoutError> for AllocError {
    fn from(_: LayoutError) -> Self {
        Self::TooLarge
    }
}

impl From<LayoutError> for SourceError {
    fn from(_: LayoutError) -> Self {
        Self::TooLarge
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::ptr::NonNull;

    #[test]
    fn a_result_is_two_words() {
        assert_eq!(size_of::<Result<NonNull<[u8]>, AllocError>>(), 2 * size_of::<usize>());
        assert_eq!(size_of::<Result<NonNull<[u8]>, SourceError>>(), 2 * size_of::<usize>());
    }
}
