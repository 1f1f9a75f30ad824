//! Red-black trees of free blocks, ordered by size, then address.
//!
//! The algorithms are those of T. Cormen, C. Leiserson, R. Rivest and C. Stein, *Introduction to
//! Algorithms*, chapter 13, with parent links, with no sentinel (a missing child is a black leaf),
//! and with left and right as a value, so that each case is written once. A removal relinks nodes
//! and never copies one into another: a node is a block, and has its address.
//!
//! Always: keys ascend from left to right; a red node has no red child; every path from the root to
//! a missing child has as many black nodes as any other, so that no path is more than twice as long
//! as another; every child's link to its parent is that parent; the root is black.

use core::cell::Cell;

use super::block::{Block, Link};

/// A tree; all zero bits are an empty one.
#[repr(transparent)]
pub(super) struct Tree {
    root: Cell<Link>,
}

/// Whether a node at `address` with `size` belongs to the right of `node`.
#[inline(always)]
fn is_right_of(node: Block, size: usize, address: usize) -> bool {
    // Without a branch: which way a search turns cannot be predicted.
    let key = node.key();
    (size > key) | ((size == key) & (address > node.address()))
}

#[inline(always)]
fn is_red(link: Link) -> bool {
    match link {
        Some(node) => node.is_red(),
        None => false,
    }
}

impl Tree {
    pub(super) const fn new() -> Self {
        Self { root: Cell::new(None) }
    }

    #[inline(always)]
    pub(super) fn root(&self) -> Link {
        self.root.get()
    }

    #[inline(always)]
    pub(super) fn is_empty(&self) -> bool {
        self.root.get().is_none()
    }

    /// Forgets all nodes.
    pub(super) fn clear(&self) {
        self.root.set(None);
    }

    /// The node that is furthest to one side.
    #[inline]
    pub(super) fn last(&self, right: bool) -> Link {
        let mut node = self.root.get()?;
        while let Some(child) = node.child(right) {
            node = child;
        }
        Some(node)
    }

    /// The smallest block of at least `size` bytes, of equals the lowest.
    #[inline]
    pub(super) fn best(&self, size: usize) -> Link {
        let mut best = None;
        let mut next = self.root.get();
        while let Some(node) = next {
            let too_small = node.key() < size;
            best = if too_small { best } else { Some(node) };
            next = node.child(too_small);
        }
        best
    }

    /// The last node at or before `address`, in a tree whose nodes have one size.
    #[inline]
    pub(super) fn at_or_before(&self, address: usize) -> Link {
        let mut found = None;
        let mut next = self.root.get();
        while let Some(node) = next {
            let at_or_before = node.address() <= address;
            found = if at_or_before { Some(node) } else { found };
            next = node.child(at_or_before);
        }
        found
    }

    /// The node behind `node`.
    pub(super) fn behind(node: Block) -> Link {
        if let Some(mut next) = node.child(true) {
            while let Some(left) = next.child(false) {
                next = left;
            }
            return Some(next);
        }
        let mut below = node;
        while let Some(parent) = below.parent() {
            if parent.child(false) == Some(below) {
                return Some(parent);
            }
            below = parent;
        }
        None
    }

    /// Puts a free block of `size` bytes in, writing its words.
    #[inline]
    pub(super) fn insert(&self, node: Block, size: usize) {
        let (parent, right) = self.place_for(node, size);
        node.enter_tree(size, parent);
        self.attach(node, parent, right);
    }

    /// Puts a node in that has its key, and is no free block.
    pub(super) fn insert_header(&self, node: Block) {
        let (parent, right) = self.place_for(node, node.key());
        node.become_leaf(parent);
        self.attach(node, parent, right);
    }

    #[inline(always)]
    fn place_for(&self, node: Block, size: usize) -> (Link, bool) {
        let (mut parent, mut right) = (None, false);
        let mut next = self.root.get();
        while let Some(above) = next {
            parent = next;
            right = is_right_of(above, size, node.address());
            next = above.child(right);
        }
        (parent, right)
    }

    /// Links a red leaf below its parent, and restores what always holds.
    #[inline(always)]
    fn attach(&self, mut node: Block, parent: Link, right: bool) {
        let Some(mut parent) = parent else {
            node.set_red(false);
            return self.root.set(Some(node));
        };
        parent.set_child(right, Some(node));
        // `node` is red. While its parent is too, there is a grandparent, since the root is black.
        while parent.is_red() {
            let Some(grand) = parent.parent() else { return };
            let side = grand.child(true) == Some(parent);
            match grand.child(!side) {
                Some(uncle) if uncle.is_red() => {
                    parent.set_red(false);
                    uncle.set_red(false);
                    node = grand;
                    match grand.parent() {
                        Some(above) => {
                            grand.set_red(true);
                            parent = above;
                        }
                        None => return,
                    }
                }
                _ => {
                    if parent.child(!side) == Some(node) {
                        self.rotate(parent, side);
                        parent = node;
                    }
                    parent.set_red(false);
                    grand.set_red(true);
                    self.rotate(grand, !side);
                    return;
                }
            }
        }
    }

    /// Moves `node` down towards a side; its child on the other side takes its place.
    fn rotate(&self, node: Block, right: bool) {
        let Some(child) = node.child(!right) else { return };
        let inner = child.child(right);
        node.set_child(!right, inner);
        if let Some(inner) = inner {
            inner.set_parent(Some(node));
        }
        self.replace(node, Some(child));
        child.set_parent(node.parent());
        child.set_child(right, Some(node));
        node.set_parent(Some(child));
    }

    /// Makes the link that leads down to `node` lead to `other`.
    #[inline(always)]
    fn replace(&self, node: Block, other: Link) {
        match node.parent() {
            Some(parent) => parent.set_child(parent.child(true) == Some(node), other),
            None => self.root.set(other),
        }
    }

    /// Takes a node of this tree out.
    #[inline]
    pub(super) fn remove(&self, node: Block) {
        let (child, parent, was_red);
        match (node.child(false), node.child(true)) {
            (None, only) | (only, None) => {
                (child, parent, was_red) = (only, node.parent(), node.is_red());
                self.replace(node, child);
                if let Some(child) = child {
                    child.set_parent(parent);
                }
            }
            (Some(left), Some(right)) => {
                // The next node in order takes its place.
                let mut heir = right;
                while let Some(lower) = heir.child(false) {
                    heir = lower;
                }
                was_red = heir.is_red();
                child = heir.child(true);
                if heir == right {
                    parent = Some(heir);
                } else {
                    parent = heir.parent();
                    self.replace(heir, child);
                    if let Some(child) = child {
                        child.set_parent(parent);
                    }
                    heir.set_child(true, Some(right));
                    right.set_parent(Some(heir));
                }
                self.replace(node, Some(heir));
                heir.copy_parent_and_colour(node);
                heir.set_child(false, Some(left));
                left.set_parent(Some(heir));
            }
        }
        if !was_red {
            match child {
                // A lone child of a black node is red.
                Some(child) if child.is_red() => child.set_red(false),
                _ => self.restore_black(child, parent),
            }
        }
    }

    /// Below `parent`, the paths through `child` lack one black node: makes up for it.
    fn restore_black(&self, mut child: Link, mut parent: Link) {
        while let Some(above) = parent {
            if is_red(child) {
                break;
            }
            let side = above.child(true) == child;
            // Paths through the sibling have a black node more, so there is one.
            let Some(mut sibling) = above.child(!side) else { return };
            if sibling.is_red() {
                sibling.set_red(false);
                above.set_red(true);
                self.rotate(above, side);
                let Some(inner) = above.child(!side) else { return };
                sibling = inner;
            }
            if !is_red(sibling.child(!side)) {
                match sibling.child(side) {
                    Some(near) if near.is_red() => {
                        near.set_red(false);
                        sibling.set_red(true);
                        self.rotate(sibling, !side);
                        sibling = near;
                    }
                    _ => {
                        sibling.set_red(true);
                        child = parent;
                        parent = above.parent();
                        continue;
                    }
                }
            }
            sibling.set_red(above.is_red());
            above.set_red(false);
            if let Some(far) = sibling.child(!side) {
                far.set_red(false);
            }
            self.rotate(above, side);
            return;
        }
        if let Some(child) = child {
            child.set_red(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::vec::Vec;

    /// Room for a node.
    #[repr(C, align(16))]
    struct Room([*mut u8; 4]);

    /// Nodes whose keys are often equal go in and out at random; everything is checked after each
    /// step.
    #[test]
    fn a_tree_is_a_sorted_set() {
        let mut rooms: Vec<Room> = (0..600).map(|_| Room([core::ptr::null_mut(); 4])).collect();
        let start = rooms.as_mut_ptr();
        // SAFETY: Each room is one of the vector, which is used through these nodes only.
        let nodes: Vec<Block> =
            (0..600).map(|number| unsafe { Block::at(start.wrapping_add(number).cast()) }).collect();
        let tree = Tree::new();
        let mut model = BTreeSet::new();
        let mut random = 1_u64;
        let mut deepest = 0;
        for step in 0..60_000_u64 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let node = nodes[(random >> 33) as usize % nodes.len()];
            // Now it grows, now it shrinks.
            let grows = (step / 3_000).is_multiple_of(2);
            let is_in = model.contains(&(node.key(), node.address()));
            if is_in && (!grows || random >> 20 & 3 == 0) {
                tree.remove(node);
                model.remove(&(node.key(), node.address()));
            } else if !is_in && (grows || random >> 20 & 3 == 0) {
                node.set_key(4096 + 16 * (random >> 24 & 63) as usize);
                tree.insert_header(node);
                assert!(model.insert((node.key(), node.address())));
            }
            if step % 8 == 0 {
                let found = tree.check().unwrap();
                assert!(found.iter().map(|node| (node.key(), node.address())).eq(model.iter().copied()));
                deepest = deepest.max(found.len());
            }
            let size = 4096 + 16 * (random >> 40 & 63) as usize;
            let best = model.range((size, 0)..).next().copied();
            assert_eq!(tree.best(size).map(|node| (node.key(), node.address())), best);
            assert_eq!(tree.last(true).map(Block::address), model.last().map(|&(_, address)| address));
        }
        assert!(deepest > 400, "{deepest} nodes at most");
    }
}
