//! Joining a new region to a span that it adjoins; see [`MergeAdjacent`](super::MergeAdjacent).
//!
//! The bitmap of the joined span takes a part of the new region, at the end that stays an end, so
//! that the blocks on both sides of the border become neighbours; where the old index were (and the
//! old header, if the region lies below) there is a free block then:
//!
//! ```text
//!   above:   | header | index | blocks . . . . . . | + | new region . . . . . . . . |
//!            | header | blocks . . . . . . . . . . . . . . . . . . . . . . . | index |
//!
//!   below:                 | new region . . . . . . | + | header | index | blocks . . . |
//!            | header | index | blocks . . . . . . . . . . . . . . . . . . . . . . . . |
//! ```
//!
//! A region is joined only if that takes at most an eighth of it, so that copying the bitmap costs
//! a fixed number of instructions for each byte obtained, and if the block that it was obtained for
//! still fits. A region that fills a gap joins the span below it; the border to the one above
//! stays.

use super::merge::Merging;
use super::span::{Piece, Span, whole_granules};
use super::{MultipleBinarySearchTreeAllocator, TreeCount};
use crate::source::MemorySource;
use crate::source::Obtained;

/// What header and index of the joined span take of a new region is at most one part in so many.
const SHARE: usize = 8;

impl<S, T, M> MultipleBinarySearchTreeAllocator<S, T, M>
where
    S: MemorySource,
    T: TreeCount,
    M: Merging<S>,
{
    /// Joins a region, just obtained, to a span that it adjoins, if then a free block of `needed`
    /// bytes lies in it; whether it did. Only for a source whose regions may be merged.
    #[cold]
    pub(super) fn join(&self, Obtained { region, zeroed }: Obtained, needed: usize) -> bool {
        let piece = Piece { start: region.cast(), len: region.len() };
        let start = piece.start.addr().get();
        let len = whole_granules(start, piece.len);
        let fits = |span: &Span| {
            let taken = span.bytes_to_join(len);
            taken <= len / SHARE && len - taken >= needed
        };
        let below = self.spans.at_or_before(start).filter(|span| span.address() + span.len() == start);
        let above = self.spans.at_or_before(start + len).filter(|span| span.address() == start + len);
        if let Some(span) = below.filter(fits) {
            let left_behind = span.left_behind(false);
            self.spans.leave(span);
            // SAFETY: The region is new, begins where the span ends, and has room; the source says
            // that they may be used as one.
            let range = unsafe { span.join_above(piece, len, zeroed) };
            self.settle(span, left_behind, range);
            if zeroed {
                self.note_clean(span, range);
            }
            return true;
        }
        if let Some(span) = above.filter(fits) {
            let left_behind = span.left_behind(true);
            self.spans.leave(span);
            // SAFETY: The region is new, ends where the span begins, and has room; the source says
            // that they may be used as one.
            let (joined, range) = unsafe { span.join_below(piece, len, zeroed) };
            self.settle(joined, left_behind, range);
            return true;
        }
        false
    }

    /// Enters a joined span, and makes free what was in use for its parts and what is new.
    fn settle(&self, span: Span, left_behind: [(usize, usize); 2], range: (usize, usize)) {
        self.spans.enter(span);
        for (start, end) in left_behind.into_iter().chain([range]).filter(|(start, end)| start < end) {
            // SAFETY: The range lies in the joined span, was in use for header or index of its
            // parts or is new, so that it is not free and has no bit set, and nobody uses it any
            // more.
            unsafe { self.give_back(span, start, end) };
        }
    }
}
