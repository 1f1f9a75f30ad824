//! All that always holds, checked: for the tests.

use core::ptr::NonNull;
use std::collections::BTreeMap;
use std::vec::Vec;

use super::block::{Block, GRANULE, Link};
use super::count::{BINNED, BINS, bin_of, size_of_bin, tree_of};
use super::free_set::FreeSet;
use super::merge::Merging;
use super::quick_fit::most;
use super::red_black::Tree;
use super::{MultipleBinarySearchTreeAllocator, TreeCount};
use crate::ptr;
use crate::source::MemorySource;

impl Tree {
    /// Checks order, colours, heights and links; returns the nodes in order.
    pub(super) fn check(&self) -> Result<Vec<Block>, &'static str> {
        let mut nodes = Vec::new();
        if let Some(root) = self.root() {
            if root.is_red() {
                return Err("the root is red");
            }
            black_height(Some(root), None, &mut nodes)?;
        }
        if !nodes.is_sorted_by(|a, b| (a.key(), a.address()) < (b.key(), b.address())) {
            return Err("the keys do not ascend");
        }
        let behind = core::iter::successors(self.last(false), |&node| Tree::behind(node));
        if !behind.eq(nodes.iter().copied()) {
            return Err("the walk by links differs from the tree");
        }
        Ok(nodes)
    }
}

fn black_height(link: Link, parent: Link, nodes: &mut Vec<Block>) -> Result<usize, &'static str> {
    let Some(node) = link else { return Ok(1) };
    if node.parent() != parent {
        return Err("a link to a parent is wrong");
    }
    if node.is_red() && parent.is_some_and(Block::is_red) {
        return Err("a red node has a red child");
    }
    let left = black_height(node.child(false), link, nodes)?;
    nodes.push(node);
    let right = black_height(node.child(true), link, nodes)?;
    if left != right {
        return Err("the black heights differ");
    }
    Ok(left + usize::from(!node.is_red()))
}

impl<T: TreeCount> FreeSet<T> {
    /// Checks bins, trees and bitmaps; returns address and size of each block.
    fn check(&self) -> Result<BTreeMap<usize, usize>, &'static str> {
        let mut blocks = Vec::new();
        let (bins, trees) = self.parts();
        let (bins_map, trees_map) = self.maps();
        for (number, bin) in bins.iter().enumerate() {
            if bin.get().is_some() != (bins_map[number / 64].get() >> (number % 64) & 1 == 1) {
                return Err("the map of bins is wrong");
            }
            let mut before = None;
            let mut next = bin.get();
            while let Some(block) = next {
                let size = size_of_bin(number);
                if before.is_some() && block.previous(size) != before {
                    return Err("a link back is wrong");
                }
                if block.size() != size || size > BINNED || bin_of(size) != number {
                    return Err("a block is in the wrong bin");
                }
                blocks.push((block, size));
                (before, next) = (next, block.next());
            }
        }
        for (number, tree) in trees.iter().enumerate() {
            if tree.is_empty() == (trees_map >> number & 1 == 1) {
                return Err("the map of trees is wrong");
            }
            for node in tree.check()? {
                if node.key() <= BINNED || tree_of::<T>(node.key()) != number {
                    return Err("a block is in the wrong tree");
                }
                blocks.push((node, node.key()));
            }
        }
        if trees_map.checked_shr(T::TREES as u32).unwrap_or(0) != 0 {
            return Err("the map has a bit for no tree");
        }
        let count = blocks.len();
        for &(block, size) in &blocks {
            // SAFETY: The block is free, and `size` bytes long.
            if unsafe { Block::size_below(block.start().wrapping_add(size)) } != size {
                return Err("a block's last word is wrong");
            }
        }
        let by_address: BTreeMap<_, _> =
            blocks.into_iter().map(|(block, size)| (block.address(), size)).collect();
        if by_address.len() != count { Err("a block is in twice") } else { Ok(by_address) }
    }
}

impl<S, T, M> MultipleBinarySearchTreeAllocator<S, T, M>
where
    S: MemorySource,
    T: TreeCount,
    M: Merging<S>,
{
    /// Checks everything, given start and rounded size of each live block.
    pub(super) fn check(&self, live: &BTreeMap<usize, usize>) -> Result<(), &'static str> {
        let free = self.free.check()?;
        let mut waiting = BTreeMap::new();
        for size in (0..BINS).map(size_of_bin) {
            if self.quick.waiting(size) > most(size) || !self.quick.is_sound(size) {
                return Err("more blocks wait than may, or others than are counted");
            }
        }
        let mut count = 0;
        self.quick.for_each(|block, size| {
            count += 1;
            waiting.insert(block.address(), size);
        });
        if count != waiting.len() {
            return Err("a block waits twice");
        }
        self.spans.check()?;
        for (block, size) in self.free.from(BINNED + 1) {
            // What is known to be zero is.
            let (clean, end) = (block.clean_from(), block.address() + size - size_of::<usize>());
            if clean < end {
                let start = NonNull::new(ptr::at(block.start(), clean)).ok_or("a block is at address 0")?;
                // SAFETY: The bytes lie in a free block, and are said to be initialised.
                let bytes = unsafe { NonNull::slice_from_raw_parts(start, end - clean).as_ref() };
                if bytes.iter().any(|&byte| byte != 0) {
                    return Err("what is said to be zero is not");
                }
            }
        }
        let (mut counted, mut held) = (0, 0);
        for span in self.spans.iter() {
            held += span.len();
            if span.regions().map(|piece| piece.len & !(GRANULE - 1)).sum::<usize>() != span.len() {
                return Err("the pieces do not make up the span");
            }
            let (first, end) = (span.first_block(), span.first_block() + span.usable());
            let mut edges = Vec::new();
            let mut address = first;
            let mut before_free = false;
            let mut used = 0;
            while address < end {
                let (size, is_free) = match (live.get(&address), free.get(&address), waiting.get(&address)) {
                    (Some(&size), None, None) => {
                        used += size;
                        (size, false)
                    }
                    (None, Some(&size), None) => (size, true),
                    (None, None, Some(&size)) => (size, false),
                    (None, None, None) => return Err("a granule belongs to no block"),
                    _ => return Err("a block is two of live, free and waiting"),
                };
                if is_free && before_free {
                    return Err("two free blocks are neighbours");
                }
                if is_free {
                    edges.push(address);
                    edges.push(address + size - GRANULE);
                }
                before_free = is_free;
                counted += 1;
                address += size;
            }
            if address != end {
                return Err("a block reaches beyond its span");
            }
            edges.dedup();
            let mut edges = edges.into_iter().peekable();
            for granule in (span.address()..=span.address() + span.len()).step_by(GRANULE) {
                if span.bitmap().has(granule) != edges.next_if_eq(&granule).is_some() {
                    return Err("the bitmap of edges is wrong");
                }
            }
            if span.used() != used {
                return Err("a span does not know how much of it is live");
            }
        }
        if counted != live.len() + free.len() + waiting.len() {
            return Err("a block lies in no span");
        }
        if held != self.bytes_held()
            || free.values().chain(waiting.values()).sum::<usize>() != self.free_bytes()
        {
            return Err("the sums are wrong");
        }
        Ok(())
    }

    /// As [`check`](Self::check), before and after what waits is merged.
    pub(super) fn check_merged(&self, live: &BTreeMap<usize, usize>) -> Result<(), &'static str> {
        self.check(live)?;
        let largest = self.largest_free_block();
        if self.flush_quick() {
            return Err("the largest free block was asked for, and blocks wait");
        }
        self.check(live)?;
        if self.free.check()?.into_values().max().unwrap_or(0) != largest {
            return Err("the largest free block is another");
        }
        match self.spans.iter().any(|span| span.is_unused() && self.spans.spare().get() != Some(span)) {
            true => Err("a span is held of which nothing is live"),
            false => Ok(()),
        }
    }
}
