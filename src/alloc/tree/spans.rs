//! The spans of an allocator, found by address.
//!
//! A block has no header, so freeing it begins with the search for its span. Spans have any size
//! and lie anywhere: no source needs to align them. Their headers are nodes of a red-black tree, by
//! address, and a small table remembers where the last searches ended:
//!
//! ```text
//!   address -> (address / 64 KiB) mod 8 -> { start, len } -> the span, if the address is in it
//!                                             | otherwise
//!                                             +-> tree: logarithm of the number of spans
//! ```
//!
//! Always: an entry of the table is a span that is held, or has a length of zero.

use core::cell::Cell;
use core::ptr::NonNull;

use super::red_black::Tree;
use super::span::Span;

const RECENT: usize = 8;
const RECENT_SHIFT: u32 = crate::source::SLICE.ilog2();

#[derive(Clone, Copy)]
struct Recent {
    header: NonNull<u8>,
    len: usize,
}

const NONE: Recent = Recent { header: NonNull::dangling(), len: 0 };

pub(super) struct Spans {
    recent: [Cell<Recent>; RECENT],
    by_address: Tree,
    /// Bytes of all spans.
    held: Cell<usize>,
    /// The span that was last kept though no block of it was live.
    spare: Cell<Option<Span>>,
}

impl Spans {
    pub(super) const fn new() -> Self {
        Self {
            recent: [const { Cell::new(NONE) }; RECENT],
            by_address: Tree::new(),
            held: Cell::new(0),
            spare: Cell::new(None),
        }
    }

    pub(super) fn held(&self) -> usize {
        self.held.get()
    }

    pub(super) fn spare(&self) -> &Cell<Option<Span>> {
        &self.spare
    }

    #[inline(always)]
    fn recent_place(&self, address: usize) -> &Cell<Recent> {
        &self.recent[(address >> RECENT_SHIFT) % RECENT]
    }

    /// The span of an address, if it is one of those at hand.
    #[inline(always)]
    pub(super) fn at_hand(&self, address: usize) -> Option<Span> {
        let recent = self.recent_place(address).get();
        if address.wrapping_sub(recent.header.addr().get()) < recent.len {
            // SAFETY: An entry with a length is a span that is held.
            Some(unsafe { Span::of_header(recent.header) })
        } else {
            None
        }
    }

    /// The span that an address lies in.
    #[inline(always)]
    pub(super) fn find(&self, address: usize) -> Option<Span> {
        match self.at_hand(address) {
            Some(span) => Some(span),
            None => self.search(address),
        }
    }

    #[cold]
    #[inline(never)]
    fn search(&self, address: usize) -> Option<Span> {
        let span = self.at_or_before(address).filter(|span| span.contains(address))?;
        self.recent_place(address).set(Recent { header: span.node().header(), len: span.len() });
        Some(span)
    }

    /// The last span that begins at or before an address.
    pub(super) fn at_or_before(&self, address: usize) -> Option<Span> {
        let node = self.by_address.at_or_before(address)?;
        // SAFETY: The nodes of this tree are spans that are held.
        Some(unsafe { Span::of_node(node) })
    }

    /// Any span.
    pub(super) fn any(&self) -> Option<Span> {
        // SAFETY: As in `at_or_before`.
        Some(unsafe { Span::of_node(self.by_address.root()?) })
    }

    pub(super) fn enter(&self, span: Span) {
        self.by_address.insert_header(span.node());
        self.held.set(self.held.get() + span.len());
    }

    /// Takes out a span that is in.
    pub(super) fn leave(&self, span: Span) {
        self.by_address.remove(span.node());
        self.held.set(self.held.get() - span.len());
        self.recent.iter().filter(|recent| recent.get().header.addr().get() == span.address()).for_each(
            |recent| {
                recent.set(NONE);
            },
        );
        if self.spare.get() == Some(span) {
            self.spare.set(None);
        }
    }

    /// All spans, by address.
    pub(super) fn iter(&self) -> impl Iterator<Item = Span> {
        let mut next = self.by_address.last(false);
        core::iter::from_fn(move || {
            let node = next?;
            next = Tree::behind(node);
            // SAFETY: As in `at_or_before`; the iterator borrows the spans, and no caller takes one
            // out meanwhile.
            Some(unsafe { Span::of_node(node) })
        })
    }

    /// Checks the tree and the table.
    #[cfg(test)]
    pub(super) fn check(&self) -> Result<(), &'static str> {
        let nodes = self.by_address.check()?;
        let held = |address: usize| nodes.iter().any(|node| node.address() == address);
        for recent in self.recent.iter().map(Cell::get).filter(|recent| recent.len > 0) {
            let span = self.at_or_before(recent.header.addr().get());
            let (address, len) = span.map_or((0, 0), |span| (span.address(), span.len()));
            if (address, len) != (recent.header.addr().get(), recent.len) {
                return Err("the table has a span that is not held");
            }
        }
        match self.spare.get() {
            Some(spare) if !held(spare.address()) => Err("the spare span is not held"),
            _ => Ok(()),
        }
    }
}
