//! The index of all chunks: a tree of 64-fold nodes over the numbers of chunks, which are their
//! addresses divided by their size.
//!
//! ```text
//!   branch (height 1)                       leaf (height 0)
//!   +------+-----------+---------------+    +------+-----------+--------------------------+
//!   | head | summaries | 64 nodes below| -> | head | summaries | 64 x (start, states)     |
//!   +------+-----------+---------------+    +------+-----------+--------------------------+
//!              16 words: which of the 64 have a chunk of that class below them
//! ```
//!
//! Always: a bit of a leaf's summary says whether that chunk's [`classes`](States::classes) have
//! the class, a bit of a branch's whether the node below has any. So the chunk with the lowest
//! address that can serve a request is found by one look for each level, and the tree is only as
//! high as the chunks' numbers differ: one level for 256 MiB of addresses, two for 16 GiB, with
//! chunks of 4 MiB. It is a radix tree as Linux' page cache has it.
//!
//! Nodes lie in memory of their own, so that all of a chunk can be handed out, and stay until the
//! end: addresses come back.

use core::ptr::{NonNull, null_mut};

use super::states::States;
use super::words::{CLASSES, classes};
use crate::error::SourceError;
use crate::layout::NonZeroLayout;
use crate::ptr;
use crate::source::MemorySource;

/// Children of a node.
const FAN: usize = 64;
const FAN_BITS: u32 = FAN.ilog2();

/// The first of the classes of dirty runs; those of free runs begin at 0.
pub(super) const DIRTY: usize = CLASSES;

/// What every node begins with.
#[repr(C)]
struct Head {
    summary: [u64; 2 * CLASSES],
    above: *mut Head,
    /// Which child of the node above this is.
    slot: u32,
    /// How many levels lie below.
    height: u32,
    /// The numbers of all chunks below, without the bits that tell them apart.
    prefix: usize,
}

#[repr(C)]
struct Branch {
    head: Head,
    below: [*mut Head; FAN],
}

#[repr(C)]
struct Leaf {
    head: Head,
    chunks: [Chunk; FAN],
}

/// The index of a chunk.
#[repr(C)]
pub(super) struct Chunk {
    /// Its first byte; null where there is no chunk of this number.
    pub(super) start: *mut u8,
    pub(super) states: States,
}

impl Chunk {
    /// Whether there is a chunk, of which all of these slices are held.
    pub(super) const fn is_held(&self, slices: u64) -> bool {
        !self.start.is_null() && self.states.are_held(slices)
    }
}

/// Where the index of a chunk are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    leaf: NonNull<Head>,
    slot: usize,
}

/// The tree.
pub(super) struct Index {
    root: *mut Head,
}

// SAFETY: The nodes belong to the index, not to a thread.
unsafe impl Send for Index {}

/// The layouts of nodes.
const fn layout_of(height: u32) -> NonZeroLayout {
    let layout = if height == 0 { NonZeroLayout::of::<Leaf>() } else { NonZeroLayout::of::<Branch>() };
    layout.expect("nodes have a size")
}

/// The numbers below a node of that height, without the bits that tell them apart.
const fn prefix_of(number: usize, height: u32) -> usize {
    // Beyond all bits of a number there is one prefix for all.
    match number.checked_shr(FAN_BITS * (height + 1)) {
        Some(prefix) => prefix,
        None => 0,
    }
}

const fn slot_of(number: usize, height: u32) -> usize {
    (number >> (FAN_BITS * height)) % FAN
}

impl Index {
    pub(super) const fn new() -> Self {
        Self { root: null_mut() }
    }

    fn head(&mut self, node: NonNull<Head>) -> &mut Head {
        // SAFETY: Nodes are made by `node`, which fills them, and live as long as the index; `self`
        // is borrowed for as long as the result, so nobody else reaches it.
        unsafe { &mut *node.as_ptr() }
    }

    /// The node below a branch.
    fn below(&mut self, branch: NonNull<Head>, slot: usize) -> &mut *mut Head {
        debug_assert!(self.head(branch).height > 0);
        // SAFETY: As in `head`; a node above others is a branch.
        &mut unsafe { &mut *branch.cast::<Branch>().as_ptr() }.below[slot % FAN]
    }

    /// The index of a chunk.
    pub(super) fn chunk(&mut self, place: Place) -> &mut Chunk {
        // SAFETY: As in `head`; a place names a leaf.
        &mut unsafe { &mut *place.leaf.cast::<Leaf>().as_ptr() }.chunks[place.slot % FAN]
    }

    /// A new node in memory from `source`.
    fn node<S: MemorySource>(source: &S, number: usize, height: u32) -> Result<NonNull<Head>, SourceError> {
        let node = source.obtain(layout_of(height))?.cast::<Head>();
        let head = Head {
            summary: [0; 2 * CLASSES],
            above: null_mut(),
            slot: 0,
            height,
            prefix: prefix_of(number, height),
        };
        if height == 0 {
            let chunks = [const { Chunk { start: null_mut(), states: States::new(0) } }; FAN];
            // SAFETY: The region is ours, and was obtained for a leaf.
            unsafe { node.cast::<Leaf>().write(Leaf { head, chunks }) };
        } else {
            // SAFETY: The region is ours, and was obtained for a branch.
            unsafe { node.cast::<Branch>().write(Branch { head, below: [null_mut(); FAN] }) };
        }
        Ok(node)
    }

    /// Where the index of the chunk with that number are, or will be: nodes that are missing are
    /// made.
    ///
    /// # Errors
    /// The source's; nothing that anybody can see has changed then.
    fn place_of<S: MemorySource>(&mut self, source: &S, number: usize) -> Result<Place, SourceError> {
        let mut root = match NonNull::new(self.root) {
            Some(root) => root,
            None => Self::node(source, number, 0)?,
        };
        self.root = root.as_ptr();
        loop {
            let Head { height, prefix, summary, .. } = *self.head(root);
            if prefix == prefix_of(number, height) {
                break;
            }
            let taller = Self::node(source, number, height + 1)?;
            let slot = prefix % FAN;
            *self.below(taller, slot) = root.as_ptr();
            let head = self.head(taller);
            head.prefix = prefix >> FAN_BITS;
            head.summary = summary.map(|word| u64::from(word != 0) << slot);
            let below = self.head(root);
            below.above = taller.as_ptr();
            below.slot = slot as u32;
            self.root = taller.as_ptr();
            root = taller;
        }
        let mut node = root;
        loop {
            let height = self.head(node).height;
            let slot = slot_of(number, height);
            if height == 0 {
                return Ok(Place { leaf: node, slot });
            }
            let next = match NonNull::new(*self.below(node, slot)) {
                Some(next) => next,
                None => {
                    let next = Self::node(source, number, height - 1)?;
                    let head = self.head(next);
                    head.above = node.as_ptr();
                    head.slot = slot as u32;
                    *self.below(node, slot) = next.as_ptr();
                    next
                }
            };
            node = next;
        }
    }

    /// Enters a chunk whose slices, `whole`, are all free and clean.
    ///
    /// # Errors
    /// The source's, of which the index obtain their own memory; the chunk is not entered then.
    pub(super) fn enter<S: MemorySource>(
        &mut self,
        source: &S,
        start: NonNull<u8>,
        number: usize,
        whole: u64,
    ) -> Result<Place, SourceError> {
        let place = self.place_of(source, number)?;
        let chunk = self.chunk(place);
        debug_assert!(chunk.start.is_null());
        *chunk = Chunk { start: start.as_ptr(), states: States::new(whole) };
        self.update(place, whole);
        Ok(place)
    }

    /// Strikes a chunk out.
    pub(super) fn strike(&mut self, place: Place) {
        let classes = self.chunk(place).states.classes;
        *self.chunk(place) = Chunk { start: null_mut(), states: States::new(0) };
        self.propagate(place, classes);
    }

    /// Where the index of the chunk with that number are; none where it was never entered.
    #[inline]
    pub(super) fn find(&mut self, number: usize) -> Option<Place> {
        let mut node = NonNull::new(self.root)?;
        let Head { mut height, prefix, .. } = *self.head(node);
        if prefix != prefix_of(number, height) {
            return None;
        }
        while height > 0 {
            node = NonNull::new(*self.below(node, slot_of(number, height)))?;
            height -= 1;
        }
        Some(Place { leaf: node, slot: number % FAN })
    }

    /// The number of a chunk.
    pub(super) fn number(&mut self, place: Place) -> usize {
        self.head(place.leaf).prefix << FAN_BITS | place.slot
    }

    /// Brings the summaries up to date after a change of a chunk's states.
    #[inline]
    pub(super) fn update(&mut self, place: Place, whole: u64) {
        let states = &mut self.chunk(place).states;
        let new = classes(states.free, whole) | classes(states.dirty, whole) << DIRTY;
        let changed = states.classes ^ new;
        if changed != 0 {
            states.classes = new;
            self.propagate(place, changed);
        }
    }

    /// Flips the bits of a chunk in the summaries of its leaf, for the classes in `changed`, and in
    /// the nodes above those that follow: a node's own bit changes with the first chunk of a class
    /// below it and with the last.
    fn propagate(&mut self, place: Place, mut changed: u16) {
        let (mut node, mut slot) = (place.leaf, place.slot);
        loop {
            let head = self.head(node);
            let mut above = 0;
            while changed != 0 {
                let class = changed.trailing_zeros() as usize;
                changed &= changed - 1;
                let word = &mut head.summary[class % (2 * CLASSES)];
                let before = *word;
                *word = before ^ 1 << slot;
                if before == 0 || *word == 0 {
                    above |= 1 << class;
                }
            }
            let Some(next) = NonNull::new(head.above) else { return };
            if above == 0 {
                return;
            }
            (slot, changed) = (head.slot as usize, above);
            node = next;
        }
    }

    /// The chunk of a class with the lowest address.
    #[inline]
    pub(super) fn first(&mut self, class: usize) -> Option<Place> {
        let mut node = NonNull::new(self.root)?;
        loop {
            let head = self.head(node);
            let word = head.summary[class % (2 * CLASSES)];
            if word == 0 {
                return None;
            }
            let slot = word.trailing_zeros() as usize;
            if head.height == 0 {
                return Some(Place { leaf: node, slot });
            }
            node = NonNull::new(*self.below(node, slot))?;
        }
    }

    /// The chunk of a class with the lowest address or, going down, the highest, below a node.
    fn outermost(&mut self, mut node: NonNull<Head>, class: usize, way: Way) -> Option<Place> {
        loop {
            let head = self.head(node);
            let (word, height) = (head.summary[class % (2 * CLASSES)], head.height);
            let slot = way.first(word)?;
            if height == 0 {
                return Some(Place { leaf: node, slot });
            }
            node = NonNull::new(*self.below(node, slot))?;
        }
    }

    /// The chunk of a class whose number is the next one above or below `number`.
    pub(super) fn next(&mut self, class: usize, number: usize, way: Way) -> Option<Place> {
        let root = NonNull::new(self.root)?;
        self.next_below(root, class, number, way)
    }

    fn next_below(&mut self, node: NonNull<Head>, class: usize, number: usize, way: Way) -> Option<Place> {
        let Head { height, prefix, .. } = *self.head(node);
        let word = self.head(node).summary[class % (2 * CLASSES)];
        let own = prefix_of(number, height);
        if prefix != own {
            let ahead = (prefix > own) == (way == Way::Up);
            return if ahead { self.outermost(node, class, way) } else { None };
        }
        let slot = slot_of(number, height);
        if height > 0
            && let Some(below) = NonNull::new(*self.below(node, slot))
            && let Some(found) = self.next_below(below, class, number, way)
        {
            return Some(found);
        }
        let slot = way.first(way.beyond(word, slot))?;
        if height == 0 {
            return Some(Place { leaf: node, slot });
        }
        let below = NonNull::new(*self.below(node, slot))?;
        self.outermost(below, class, way)
    }

    /// Gives the memory of the index back to `source`; there are none then.
    pub(super) fn dissolve<S: MemorySource>(&mut self, source: &S) {
        if let Some(root) = NonNull::new(core::mem::replace(&mut self.root, null_mut())) {
            self.dissolve_node(source, root);
        }
    }

    fn dissolve_node<S: MemorySource>(&mut self, source: &S, node: NonNull<Head>) {
        let height = self.head(node).height;
        for slot in 0..if height > 0 { FAN } else { 0 } {
            if let Some(below) = NonNull::new(*self.below(node, slot)) {
                self.dissolve_node(source, below);
            }
        }
        let layout = layout_of(height);
        // SAFETY: `node` obtained the region with this layout, and nothing leads to it any more.
        unsafe { source.release(ptr::bytes(node.cast(), layout.size()), layout) };
    }
}

/// In which order chunks are gone through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Up,
    Down,
}

impl Way {
    /// The first set bit of a word.
    const fn first(self, word: u64) -> Option<usize> {
        if word == 0 {
            return None;
        }
        Some(match self {
            Self::Up => word.trailing_zeros(),
            Self::Down => u64::BITS - 1 - word.leading_zeros(),
        } as usize)
    }

    /// The bits of a word that come after that of `slot`.
    const fn beyond(self, word: u64, slot: usize) -> u64 {
        match self {
            Self::Up => word & !(u64::MAX >> (FAN - 1 - slot)),
            Self::Down => word & !(u64::MAX << slot),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::MmapSource;
    use crate::source::SLICE;
    use std::collections::BTreeMap;
    use std::vec::Vec;

    const WHOLE_CHUNK: u64 = u64::MAX;

    /// A chunk's start, which is only compared.
    fn start(number: usize) -> NonNull<u8> {
        NonNull::new(core::ptr::without_provenance_mut(number * 64 * SLICE + 1)).unwrap()
    }

    /// Numbers near to each other, in other leaves, in other branches, and at the ends of the
    /// addresses that there are.
    fn numbers(random: &mut fastrand::Rng) -> Vec<usize> {
        let mut numbers: Vec<usize> = (0..300)
            .map(|_| match random.usize(0..4) {
                0 => random.usize(0..100),
                1 => 5_000 + random.usize(0..300),
                2 => (1 << 25) - 1 - random.usize(0..5_000),
                _ => random.usize(0..1 << 31),
            })
            .collect();
        numbers.sort_unstable();
        numbers.dedup();
        random.shuffle(&mut numbers);
        numbers
    }

    #[test]
    fn the_tree_finds_what_a_list_finds() {
        let source = MmapSource::new();
        for seed in 0..8 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut index = Index::new();
            let mut model = BTreeMap::new();
            assert!(index.first(0).is_none() && index.find(5).is_none());
            for number in numbers(&mut random) {
                let place = index.enter(&source, start(number), number, WHOLE_CHUNK).unwrap();
                assert_eq!(index.number(place), number);
                model.insert(number, WHOLE_CHUNK);
            }
            let known: Vec<usize> = model.keys().copied().collect();
            for round in 0..4_000 {
                let number = known[random.usize(0..known.len())];
                let place = index.find(number).unwrap();
                let chunk = index.chunk(place);
                if chunk.start.is_null() {
                    index.enter(&source, start(number), number, WHOLE_CHUNK).unwrap();
                    model.insert(number, WHOLE_CHUNK);
                } else if random.u8(..) < 10 {
                    index.strike(place);
                    model.insert(number, 0);
                } else {
                    assert_eq!(chunk.start.addr(), start(number).addr().get());
                    let free = [0, 1, 0xf0, 0xf << 6, random.u64(..), WHOLE_CHUNK][random.usize(0..6)];
                    chunk.states.free = free;
                    index.update(place, WHOLE_CHUNK);
                    model.insert(number, free);
                }
                if round % 16 != 0 {
                    continue;
                }
                let from = random.usize(0..1 << 26);
                for class in 0..CLASSES {
                    let is = |(_, free): &(&usize, &u64)| classes(**free, WHOLE_CHUNK) >> class & 1 == 1;
                    let number = |index: &mut Index, place: Option<Place>| place.map(|at| index.number(at));
                    let found = index.first(class);
                    assert_eq!(number(&mut index, found), model.iter().find(is).map(|at| *at.0));
                    let found = index.next(class, from, Way::Up);
                    let above = model.range(from + 1..).find(is).map(|at| *at.0);
                    assert_eq!(number(&mut index, found), above);
                    let found = index.next(class, from, Way::Down);
                    let below = model.range(..from).rev().find(is).map(|at| *at.0);
                    assert_eq!(number(&mut index, found), below);
                    assert!(index.first(DIRTY + class).is_none());
                }
            }
            index.dissolve(&source);
        }
    }
}
