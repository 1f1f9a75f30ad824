//! What the kernel gave of what was asked for, and what it says if it gave nothing.

use super::PageKind;
use crate::error::SourceError;

/// What a region got of what was asked for; see
/// [`MmapSource::obtain_reporting`](super::MmapSource::obtain_reporting).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MapReport {
    /// What its pages are.
    pub pages: PageKind,
    /// Whether a NUMA policy was set.
    pub policy: bool,
    /// Whether its pages are locked.
    pub locked: bool,
    /// Whether it has a name.
    pub named: bool,
}

/// The error for a call whose arguments are right: `EINVAL` and `ENOSYS` then mean that the kernel
/// does not know what is asked.
pub(super) fn lacking(errno: i32) -> SourceError {
    match errno {
        libc::ENOSYS | libc::EINVAL | libc::EOPNOTSUPP => SourceError::Unsupported,
        errno => SourceError::System(errno),
    }
}
