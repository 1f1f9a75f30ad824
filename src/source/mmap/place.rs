//! Where threads run and pages lie.

use core::ptr::{self, NonNull};

use super::report::lacking;
use crate::error::SourceError;
use crate::layout::round_up;
use crate::sys;

/// Pages asked about in one system call.
const BATCH: usize = 128;

/// The node of the processor that the calling thread runs on.
pub(super) fn current_node() -> Result<u16, SourceError> {
    let node = sys::current_node().map_err(lacking)?;
    u16::try_from(node)
        .ok()
        .filter(|&node| usize::from(node) < sys::MOST_NODES)
        .ok_or(SourceError::Unsupported)
}

/// Calls `each` for every base page that has a byte of `range`, in order, with its number in the
/// range and its node.
pub(super) fn nodes_of_pages(
    range: NonNull<[u8]>,
    mut each: impl FnMut(usize, Option<u16>),
) -> Result<(), SourceError> {
    let page = sys::page_size();
    let start = range.cast::<u8>().as_ptr().cast_const();
    let into_page = start.addr() & (page - 1);
    let first = start.wrapping_sub(into_page);
    let span = into_page.checked_add(range.len()).and_then(|len| round_up(len, page));
    let count = span.ok_or(SourceError::TooLarge)? / page;
    let mut done = 0;
    while done < count {
        let len = BATCH.min(count - done);
        let mut pages = [ptr::null(); BATCH];
        let mut status = [0_i32; BATCH];
        for (index, page_start) in pages[..len].iter_mut().enumerate() {
            *page_start = first.wrapping_add((done + index) * page);
        }
        sys::nodes_of_pages(&pages[..len], &mut status[..len]).map_err(lacking)?;
        for (index, &status) in status[..len].iter().enumerate() {
            each(done + index, node(status)?);
        }
        done += len;
    }
    Ok(())
}

/// What the kernel says of a page: a node, that nothing was written there yet, or why it does not
/// say.
fn node(status: i32) -> Result<Option<u16>, SourceError> {
    match u16::try_from(status) {
        Ok(node) => Ok(Some(node)),
        // `EFAULT` for the page of zeros that a page which was only read shares with others.
        Err(_) if status == -libc::ENOENT || status == -libc::EFAULT => Ok(None),
        Err(_) => Err(SourceError::System(-status)),
    }
}
