//! What the methods of the allocator are made of: taking from free blocks, giving back with
//! coalescing, obtaining and releasing.

use core::ptr::NonNull;

use super::block::zero_up_to;
use super::block::{Block, DIRTY, GRANULE, WORDS};
use super::count::BINNED;
use super::merge::Merging;
use super::span::{Keep, Piece, REGION_ALIGN, Span, needed};
use super::waiting::may_cut_ahead;
use super::{MultipleBinarySearchTreeAllocator, TreeCount};
use crate::error::{AllocError, SourceError};
use crate::layout::NonZeroLayout;
use crate::misuse::{check, end_process};
use crate::ptr;
use crate::source::MemorySource;
use crate::source::Obtained;
use crate::source::request::obtain_between;

/// The first region in bytes, and the most that a later one has if nothing larger is needed.
const FIRST_REGION: usize = 64 * 1024;
const LAST_REGION: usize = 64 * 1024 * 1024;

/// What is kept in bytes, though no block of it is live and it is most of what is held.
const MODERATE: usize = 1024 * 1024;

/// How many free blocks are looked at for an alignment, before a region is obtained.
const TRIES: usize = 64;

/// To look at a free block takes as long as to clear the bitmap of so many bytes.
const BYTES_A_BLOCK: usize = 128 * 1024;

pub(super) const FREED_TWICE: &str = "a block was freed twice, or written to after it was freed";

/// `size` in whole granules. It is at most `isize::MAX`, as in every layout, so this does not
/// overflow.
#[inline(always)]
pub(super) const fn rounded(size: usize) -> usize {
    (size + (GRANULE - 1)) & !(GRANULE - 1)
}

/// What a free block must have, at worst, for `size` bytes (whole granules) at a multiple of
/// `align`.
#[inline(always)]
fn with_slack(size: usize, align: usize) -> Option<usize> {
    if align <= GRANULE { Some(size) } else { size.checked_add(align - GRANULE) }
}

impl<S, T, M> MultipleBinarySearchTreeAllocator<S, T, M>
where
    S: MemorySource,
    T: TreeCount,
    M: Merging<S>,
{
    /// The span of a block of this allocator.
    ///
    /// # Safety
    /// The address lies in a block, live or free, of this allocator.
    #[inline(always)]
    pub(super) unsafe fn span_of(&self, address: usize) -> Span {
        // SAFETY: Every block lies in a span, as the caller promises of this one.
        unsafe { self.spans.find(address).unwrap_unchecked() }
    }

    /// The span of a block that is to be freed: ends the process if it is none of this allocator's,
    /// or free already, as far as its first granule says.
    #[inline(always)]
    pub(super) fn span_of_live(&self, start: usize) -> Span {
        let Some(span) = self.spans.find(start) else {
            end_process("a block was freed that is not this allocator's", start);
        };
        check(!span.bitmap().has(start), FREED_TWICE, start);
        span
    }

    /// Takes `size` bytes, in whole granules, from the free blocks.
    #[inline(never)]
    pub(super) fn take(&self, size: usize, align: usize) -> Option<NonNull<u8>> {
        if align > GRANULE {
            return Some(self.take_aligned(size, align, TRIES)?.0);
        }
        if size <= BINNED
            && let Some((block, found)) = self.free.take_best_of_bins(size)
        {
            return Some(self.keep(block, found, 0, size));
        }
        if may_cut_ahead(size) { self.take_run(size) } else { Some(self.take_from_trees(size)?.0) }
    }

    /// Takes `size` bytes from the trees, and says from which address on they are zero, but for the
    /// last word.
    #[inline(always)]
    fn take_from_trees(&self, size: usize) -> Option<(NonNull<u8>, usize)> {
        let (block, found) = self.free.take_best_of_trees(size)?;
        Some(self.keep_of_tree(block, found, size))
    }

    /// The same of a block of `found` bytes that was just taken out of the trees.
    #[inline(always)]
    pub(super) fn keep_of_tree(&self, block: Block, found: usize, size: usize) -> (NonNull<u8>, usize) {
        let clean = block.clean_from();
        let start = self.keep(block, found, 0, size);
        if found - size > BINNED && clean != DIRTY {
            // SAFETY: Behind what was taken lies a free block, which `keep` put into a tree.
            let rest = unsafe { Block::at(ptr::up(block.start(), size)) };
            rest.set_clean_from(clean.max(rest.address() + WORDS));
        }
        (start, clean)
    }

    /// Takes from the best block if it happens to have room at the alignment, otherwise from one
    /// that has room anyhow. If there is none, it looks through the blocks between, so many of them
    /// at most. Says what [`take_from_trees`](Self::take_from_trees) does.
    #[inline(never)]
    fn take_aligned(&self, size: usize, align: usize, tries: usize) -> Option<(NonNull<u8>, usize)> {
        let front = |block: Block| ptr::padding(block.address(), align);
        let fits = |&(block, found): &(Block, usize)| found - size >= front(block);
        let enough = with_slack(size, align)?;
        let between = || {
            let candidates = self.free.from(size).take(tries);
            candidates.take_while(|&(_, found)| found < enough).find(fits)
        };
        let best = self.free.best(size)?;
        let best = Some(best).filter(fits).or_else(|| self.free.best(enough)).or_else(between);
        let (block, found) = best?;
        Some(self.cut(block, found, front(block), size))
    }

    /// Cuts `size` bytes out of a free block of `found` bytes, `front` bytes behind its start; what
    /// is left over stays free. Says what [`take_from_trees`](Self::take_from_trees) does.
    #[inline(always)]
    pub(super) fn cut(&self, block: Block, found: usize, front: usize, size: usize) -> (NonNull<u8>, usize) {
        let clean = if found > BINNED { block.clean_from() } else { DIRTY };
        self.free.remove(block, found);
        let start = self.keep(block, found, front, size);
        if clean != DIRTY {
            self.pass_on_clean(block, found, front, size, clean);
        }
        (start, clean)
    }

    /// Says of what was left over of a free block, before and behind what was cut out, from where
    /// on it is zero.
    fn pass_on_clean(&self, block: Block, found: usize, front: usize, size: usize, clean: usize) {
        let (limit, end) = (block.address() + found, block.address() + front + size);
        if clean >= limit {
            return;
        }
        if front > BINNED && clean < block.address() + front {
            block.set_clean_from(clean);
        }
        if limit - end > BINNED {
            // SAFETY: The bytes from `end` to `limit` are a free block, which `keep` put into a
            // tree.
            let rest = unsafe { Block::at(ptr::at(block.start(), end)) };
            rest.set_clean_from(clean.max(end + WORDS));
        }
    }

    /// Says of the free block that ends where a range does, which it includes, that the range is
    /// zero.
    pub(super) fn note_clean(&self, span: Span, (start, end): (usize, usize)) {
        // SAFETY: The range is free, so the end of a free block is there.
        let size = unsafe { Block::size_below(span.pointer(end)) };
        if size > BINNED {
            // SAFETY: The free block has this size and ends at `end`.
            let block = unsafe { Block::at(span.pointer(end - size)) };
            block.set_clean_from(start + WORDS);
        }
    }

    /// Takes a block beyond `BINNED`, and makes zero what of it is not known to be.
    #[inline(never)]
    pub(super) fn take_zeroed(&self, size: usize, align: usize) -> Result<NonNull<u8>, AllocError> {
        let take = |tree: &Self, tries| {
            if align > GRANULE { tree.take_aligned(size, align, tries) } else { tree.take_from_trees(size) }
        };
        let (block, clean) = match take(self, TRIES) {
            Some(taken) => taken,
            None => self.take_elsewhere_by(size, align, take)?,
        };
        let start = block.addr().get();
        // SAFETY: The block was just taken. Its last granule may have the last word of the free one
        // that it was.
        unsafe { zero_up_to(ptr::bytes(block, size), 0, clean.clamp(start, start + size)) };
        Ok(block)
    }

    /// As [`cut`](Self::cut), of a block that was just taken out of the free ones.
    #[inline(always)]
    fn keep(&self, block: Block, found: usize, front: usize, size: usize) -> NonNull<u8> {
        debug_assert!(front + size <= found && size > 0);
        // SAFETY: The block is a free one of this allocator.
        let span = unsafe { self.span_of(block.address()) };
        span.add_used(size);
        let start = block.address() + front;
        let (end, limit) = (start + size, block.address() + found);
        let edges = span.bitmap();
        // The first and the last granule of the free block are edges already.
        if front == 0 {
            edges.clear(start);
        } else {
            edges.set(start - GRANULE);
            self.free.insert(block, front);
        }
        if end == limit {
            edges.clear(limit - GRANULE);
        } else {
            edges.set(end);
            // SAFETY: The bytes from `end` to `limit` are the rest of a free block, which nobody
            // uses; the span's pointer may access them.
            self.free.insert(unsafe { Block::at(span.pointer(end)) }, limit - end);
        }
        span.block(start)
    }

    /// The free block that begins at `end`, and its size.
    ///
    /// # Safety
    /// A live block of the span ends at `end`.
    #[inline(always)]
    pub(super) unsafe fn free_behind(&self, span: Span, end: usize) -> Option<(Block, usize)> {
        if !span.bitmap().has(end) {
            return None;
        }
        // SAFETY: An edge behind a block that is not free is the first granule of a free block.
        let block = unsafe { Block::at(span.pointer(end)) };
        Some((block, block.size()))
    }

    /// Makes a range free, merging it with its neighbours, and returns the size of the free block
    /// that it is now part of.
    ///
    /// # Safety
    /// The bytes from `start` to `end`, whole granules, lie in the span's range of blocks, are not
    /// free, are used by nobody, and their bits are clear.
    #[inline(always)]
    unsafe fn merge_and_enter(&self, span: Span, mut start: usize, mut end: usize) -> usize {
        let edges = span.bitmap();
        // Each end of the range becomes an edge or, where a neighbour is free, the neighbour's edge
        // moves: its far one stays, the near one goes, unless both are the same granule.
        let mut clean = DIRTY;
        // SAFETY: The range ends at `end` and is not free.
        if let Some((above, size)) = unsafe { self.free_behind(span, end) } {
            if size > BINNED {
                clean = above.clean_from();
            }
            self.free.remove(above, size);
            if size > GRANULE {
                edges.clear(end);
            }
            end += size;
        } else {
            edges.set(end - GRANULE);
        }
        if edges.has(start - GRANULE) {
            // SAFETY: An edge before a range that is not free is the last granule of a free block.
            let size = unsafe { Block::size_below(span.pointer(start)) };
            // SAFETY: The free block has this size and ends at `start`.
            let below = unsafe { Block::at(span.pointer(start - size)) };
            self.free.remove(below, size);
            if size > GRANULE {
                edges.clear(start - GRANULE);
            }
            start -= size;
        } else {
            edges.set(start);
        }
        // SAFETY: The range and its neighbours are free and in no list.
        let merged = unsafe { Block::at(span.pointer(start)) };
        self.free.insert(merged, end - start);
        // What was clean of the block above ends where the merged one does, which is larger and in
        // a tree too.
        if clean != DIRTY {
            merged.set_clean_from(clean);
        }
        end - start
    }

    /// As [`merge_and_enter`](Self::merge_and_enter), where it need not be fast.
    ///
    /// # Safety
    /// As there.
    #[inline(never)]
    pub(super) unsafe fn give_back(&self, span: Span, start: usize, end: usize) -> usize {
        // SAFETY: The range is the span's, allocated, and the caller gives it up.
        unsafe { self.merge_and_enter(span, start, end) }
    }

    /// Frees a block, and sees to its span if that was the last one.
    ///
    /// # Safety
    /// The block is a live one of this allocator, of `size` bytes in whole granules, and is not
    /// used any more.
    #[inline(always)]
    pub(super) unsafe fn free_block(&self, start: usize, size: usize) {
        let (span, waits) = if size <= BINNED {
            // SAFETY: The block is one of this allocator.
            let span = unsafe { self.span_of(start) };
            // SAFETY: The block is given up; its span is released only after what waits was merged.
            (span, self.quick.push(unsafe { Block::at(span.pointer(start)) }, size))
        } else {
            let span = self.span_of_live(start);
            check(!span.bitmap().has(start + size - GRANULE), FREED_TWICE, start);
            (span, false)
        };
        if !waits {
            let (start, end) =
                if size <= BINNED { self.run_of(span, start, size) } else { (start, start + size) };
            // SAFETY: The block's range is live, and is given up, and so are those that waited.
            unsafe { self.give_back(span, start, end) };
        }
        if span.sub_used(size) {
            self.emptied(span);
        }
    }

    /// Takes a block without another region, and without merging what waits.
    #[inline(always)]
    pub(super) fn take_at_hand(&self, size: usize, align: usize) -> Option<NonNull<u8>> {
        if align <= GRANULE
            && size <= BINNED
            && let Some(block) = self.quick.pop(size)
        {
            // SAFETY: What waits is a block of this allocator.
            unsafe { self.span_of(block.address()) }.add_used(size);
            return Some(block.header());
        }
        self.take(size, align)
    }

    /// Takes a block once what waits was merged, or from a new region.
    #[cold]
    #[inline(never)]
    pub(super) fn take_elsewhere(&self, size: usize, align: usize) -> Result<NonNull<u8>, AllocError> {
        self.take_elsewhere_by(size, align, |tree, tries| {
            if align > GRANULE {
                Some(tree.take_aligned(size, align, tries)?.0)
            } else {
                tree.take(size, align)
            }
        })
    }

    /// The same with a function that takes the block from the free ones, looking through so many at
    /// most.
    fn take_elsewhere_by<R>(
        &self,
        size: usize,
        align: usize,
        take: impl Fn(&Self, usize) -> Option<R>,
    ) -> Result<R, AllocError> {
        // Where this leaves some to wait, a free block has room at any address.
        if self.flush_for(with_slack(size, align).unwrap_or(usize::MAX))
            && let Some(block) = take(self, TRIES)
        {
            return Ok(block);
        }
        // Before a request is refused, all blocks are looked at.
        self.take_from_new_region(size, align, &take).or_else(|refusal| take(self, usize::MAX).ok_or(refusal))
    }

    /// A region as the source gave it, for a block of `size` bytes at a multiple of `align`.
    fn request(&self, size: usize, align: usize) -> Result<(Obtained, Keep), AllocError> {
        let worst = with_slack(size, align).and_then(needed).ok_or(AllocError::TooLarge)?;
        let least = NonZeroLayout::from_size_align(worst, REGION_ALIGN)?;
        let preferred = self.spans.held().clamp(FIRST_REGION, LAST_REGION);
        let obtained = match obtain_between(&self.source, least, preferred) {
            Err(_) if align > GRANULE => {
                // Where the source's regions are just large enough, the block may fit by good luck.
                let lucky = least.with_size(needed(size).ok_or(AllocError::TooLarge)?)?;
                obtain_between(&self.source, lucky, lucky.size())
            }
            obtained => obtained,
        }?;
        let keep = if obtained.region.len() / 2 > preferred.max(worst) {
            Keep::Alone
        } else if worst > preferred {
            Keep::Never
        } else {
            Keep::IfModerate
        };
        Ok((obtained, keep))
    }

    /// Obtains a region and takes a block from it; nothing waits.
    fn take_from_new_region<R>(
        &self,
        size: usize,
        align: usize,
        take: impl Fn(&Self, usize) -> Option<R>,
    ) -> Result<R, AllocError> {
        let (obtained, keep) = self.request(size, align)?;
        if M::MERGES && self.join(obtained, with_slack(size, align).unwrap_or(size)) {
            return take(self, TRIES).ok_or(AllocError::Source(SourceError::TooLarge));
        }
        let Obtained { region, zeroed } = obtained;
        // SAFETY: The region was just obtained, at that alignment; what a source calls zeroed is.
        let Some(span) = (unsafe { Span::new(region, keep, zeroed) }) else {
            // SAFETY: Just obtained, and used by nobody.
            unsafe { self.release(Piece { start: region.cast(), len: region.len() }) };
            return Err(AllocError::Source(SourceError::TooLarge));
        };
        self.spans.enter(span);
        let (start, end) = (span.first_block(), span.first_block() + span.usable());
        // SAFETY: The range is the new span's whole range of blocks, which nobody uses; its bits
        // are clear.
        unsafe { self.give_back(span, start, end) };
        if zeroed {
            self.note_clean(span, (start, end));
        }
        match take(self, TRIES) {
            Some(block) => Ok(block),
            None => {
                self.release_span(span);
                Err(AllocError::Source(SourceError::TooLarge))
            }
        }
    }

    /// Decides what becomes of a span of which no block is live any more.
    ///
    /// One is kept, so that a program that allocates and frees at the edge of a region does not
    /// obtain one each time; but not if it is most of what is held, so that memory comes back once
    /// nothing is live.
    #[cold]
    #[inline(never)]
    pub(super) fn emptied(&self, span: Span) {
        if span.keep() == Keep::Never {
            return self.release_span(span);
        }
        let kept = match self.spans.spare().get() {
            Some(spare) if spare != span && spare.is_unused() => {
                let (smaller, larger) = if spare.len() < span.len() { (spare, span) } else { (span, spare) };
                self.release_span(smaller);
                larger
            }
            _ => span,
        };
        if kept.keep() == Keep::IfModerate && kept.len() > MODERATE.max(self.spans.held() / 2) {
            return self.release_span(kept);
        }
        self.spans.spare().set(Some(kept));
    }

    /// Releases a span of which no block is live.
    fn release_span(&self, span: Span) {
        self.flush_quick();
        // SAFETY: All of the span's range of blocks is one free block.
        let block = unsafe { Block::at(span.pointer(span.first_block())) };
        let whole = span.bitmap().has(span.first_block()) && block.size() == span.usable();
        check(whole, "a block was freed twice", span.address());
        self.free.remove(block, span.usable());
        self.spans.leave(span);
        // SAFETY: The span is held, has left the spans, and its blocks the free ones.
        unsafe { self.release_pieces(span) };
    }

    /// Releases the regions of a span.
    ///
    /// # Safety
    /// The span is held, nothing leads to it or its blocks any more, and it is not used again.
    pub(super) unsafe fn release_pieces(&self, span: Span) {
        for piece in span.regions() {
            // SAFETY: The source holds the region, as it did the whole span.
            unsafe { self.release(piece) };
        }
    }

    /// # Safety
    /// The piece is a region that the source holds, which nobody uses.
    unsafe fn release(&self, piece: Piece) {
        if let Ok(layout) = NonZeroLayout::of_region(piece.len, REGION_ALIGN) {
            // SAFETY: The caller's promises; the layout fits the region, which was asked for at
            // this alignment.
            unsafe { self.source.release(ptr::bytes(piece.start, piece.len), layout) };
        }
    }

    /// Frees every block and releases every span but the largest.
    ///
    /// # Safety
    /// No block is used any more.
    pub(super) unsafe fn free_all_but_largest(&self) {
        let Some(largest) = self.spans.iter().max_by_key(|span| span.len()) else { return };
        let only = self.spans.any() == Some(largest) && self.spans.held() == largest.len();
        if only && largest.is_unused() {
            return;
        }
        let cleared = self.clear_edges(largest);
        self.free.clear();
        self.quick.clear();
        if !only {
            self.spans.leave(largest);
            self.release_all();
            self.spans.enter(largest);
        }
        if !cleared {
            largest.clear_bits();
        }
        largest.clear_used();
        let (start, end) = (largest.first_block(), largest.first_block() + largest.usable());
        // SAFETY: The range is the span's whole range of blocks, which nobody uses, as the caller
        // promises, and which is in no list; its bits are clear.
        unsafe { self.give_back(largest, start, end) };
        self.spans.spare().set(Some(largest));
    }

    /// Clears the bits of a span one by one, if there are few free blocks for the size of its
    /// bitmap; says whether it did. Such a bitmap may have pages that were never touched.
    fn clear_edges(&self, span: Span) -> bool {
        let few = span.len() / BYTES_A_BLOCK;
        if self.free.from(0).nth(few).is_some() {
            return false;
        }
        let edges = span.bitmap();
        for (block, size) in self.free.from(0).filter(|(block, _)| span.contains(block.address())) {
            edges.clear(block.address());
            edges.clear(block.address() + size - GRANULE);
        }
        true
    }

    /// Releases all spans; nothing of the allocator's memory is used any more.
    pub(super) fn release_all(&self) {
        while let Some(span) = self.spans.any() {
            self.spans.leave(span);
            // SAFETY: The span was held and has just left; the callers have forgotten the free
            // blocks.
            unsafe { self.release_pieces(span) };
        }
    }
}
