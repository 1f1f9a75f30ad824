//! Sets of NUMA nodes, and policies for where pages are to lie.
//!
//! Always: a [`NodeSet`] holds numbers below 1,024, the most nodes that Linux can be configured
//! for; bit `n % 64` of word `n / 64` stands for node `n`, which is how the kernel reads it.

#![forbid(unsafe_code)]

use core::fmt;

use crate::error::SourceError;
use crate::sys;

/// A set of NUMA nodes, each a number from 0 to 1,023; 128 bytes, no memory of its own.
///
/// # Examples
/// ```
/// use context_allocator::source::NodeSet;
///
/// const NEAR: NodeSet = NodeSet::of(&[0, 1]);
/// assert!(NEAR.contains(1) && !NEAR.contains(2));
/// assert_eq!(NEAR.with(700).iter().collect::<Vec<_>>(), [0, 1, 700]);
/// // Where memory of this process may come from: on a machine without NUMA, node 0.
/// assert!(NodeSet::allowed().is_ok_and(|nodes| !nodes.is_empty()));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct NodeSet {
    bits: sys::NodeBits,
}

impl NodeSet {
    /// No nodes.
    pub const EMPTY: Self = Self { bits: [0; sys::MOST_NODES / 64] };

    /// The nodes with these numbers.
    ///
    /// # Panics
    /// Where a number is 1,024 or more; in a constant, when the program is compiled.
    #[must_use]
    pub const fn of(nodes: &[u16]) -> Self {
        let mut set = Self::EMPTY;
        let mut index = 0;
        while index < nodes.len() {
            set = set.with(nodes[index]);
            index += 1;
        }
        set
    }

    /// This set and one node more.
    ///
    /// # Panics
    /// Where the number is 1,024 or more; in a constant, when the program is compiled.
    #[must_use]
    pub const fn with(mut self, node: u16) -> Self {
        assert!((node as usize) < sys::MOST_NODES, "a node's number is at most 1023");
        self.bits[node as usize / 64] |= 1 << (node % 64);
        self
    }

    /// Whether the node is in the set.
    #[must_use]
    pub const fn contains(&self, node: u16) -> bool {
        (node as usize) < sys::MOST_NODES && self.bits[node as usize / 64] & (1 << (node % 64)) != 0
    }

    /// Whether the set has no nodes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of nodes in the set.
    #[must_use]
    pub const fn len(&self) -> usize {
        let (mut count, mut word) = (0, 0);
        while word < self.bits.len() {
            count += self.bits[word].count_ones() as usize;
            word += 1;
        }
        count
    }

    /// The numbers of the nodes, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        (0..1024).filter(|&node| self.contains(node))
    }

    /// The node of the processor on which the calling thread runs at this moment.
    ///
    /// # Errors
    /// [`SourceError::System`] where the kernel does not say.
    pub fn current() -> Result<Self, SourceError> {
        super::MmapSource::current_node().map(|node| Self::EMPTY.with(node))
    }

    /// The nodes that memory of the calling thread may come from: those that are online and have
    /// memory, and that its control group allows.
    ///
    /// # Errors
    /// [`SourceError::Unsupported`] in a kernel without NUMA; [`SourceError::System`] where it does
    /// not say.
    pub fn allowed() -> Result<Self, SourceError> {
        let bits = sys::allowed_nodes().map_err(super::report::lacking)?;
        Ok(Self { bits })
    }

    pub(super) const fn bits(&self) -> &sys::NodeBits {
        &self.bits
    }
}

impl fmt::Debug for NodeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// On which nodes the pages of a region are to lie; see `docs/numa.md` for which to choose.
///
/// The kernel decides the node of a page when the page is first touched. Where it names the nodes,
/// a policy names those that the kernel numbers so. Should the process be moved to other nodes (by
/// its control group), the kernel translates them, unless [`static_nodes`](Self::static_nodes) or
/// [`relative_nodes`](Self::relative_nodes) says otherwise.
///
/// | policy | the page lies | Linux |
/// |---|---|---|
/// | [`DEFAULT`](Self::DEFAULT) | where the thread's own policy says, which is local if nobody set it | 2.6.7 |
/// | [`LOCAL`](Self::LOCAL) | on the node of the thread that touches it first, others if that is full | 3.8 |
/// | [`bind`](Self::bind) | on these nodes only: if they are full the process is out of memory | 2.6.7 |
/// | [`preferred`](Self::preferred) | on this node, others if that is full | 2.6.7 |
/// | [`preferred_many`](Self::preferred_many) | on these nodes, others if they are full | 5.15 |
/// | [`interleave`](Self::interleave) | on these nodes in turn, page by page | 2.6.7 |
/// | [`weighted_interleave`](Self::weighted_interleave) | on these in turn, by the weights that the administrator set | 6.9 |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NumaPolicy {
    mode: usize,
    nodes: NodeSet,
    or_default: bool,
}

const PREFERRED: usize = 1;
const BIND: usize = 2;
const INTERLEAVE: usize = 3;
const LOCAL: usize = 4;
const PREFERRED_MANY: usize = 5;
const WEIGHTED_INTERLEAVE: usize = 6;
const STATIC_NODES: usize = 1 << 15;
const RELATIVE_NODES: usize = 1 << 14;

impl NumaPolicy {
    /// What the thread that touches a page has for its policy.
    pub const DEFAULT: Self = Self::new(0, NodeSet::EMPTY);

    /// The node of the thread that touches a page, whatever the thread's policy.
    pub const LOCAL: Self = Self::new(LOCAL, NodeSet::EMPTY);

    /// These nodes and no others. A process that touches a page when they are full is killed by the
    /// kernel.
    #[must_use]
    pub const fn bind(nodes: NodeSet) -> Self {
        Self::new(BIND, nodes)
    }

    /// This node, and others when it is full.
    ///
    /// # Panics
    /// Where the number is 1,024 or more; in a constant, when the program is compiled.
    #[must_use]
    pub const fn preferred(node: u16) -> Self {
        Self::new(PREFERRED, NodeSet::EMPTY.with(node))
    }

    /// Any of these nodes, the nearest first, and others when they are full.
    #[must_use]
    pub const fn preferred_many(nodes: NodeSet) -> Self {
        Self::new(PREFERRED_MANY, nodes)
    }

    /// These nodes in turn, page by page.
    #[must_use]
    pub const fn interleave(nodes: NodeSet) -> Self {
        Self::new(INTERLEAVE, nodes)
    }

    /// These nodes in turn, on each as many pages in a row as its weight in
    /// `/sys/kernel/mm/mempolicy/weighted_interleave` says.
    #[must_use]
    pub const fn weighted_interleave(nodes: NodeSet) -> Self {
        Self::new(WEIGHTED_INTERLEAVE, nodes)
    }

    const fn new(mode: usize, nodes: NodeSet) -> Self {
        Self { mode, nodes, or_default: false }
    }

    /// The same nodes even if the process is moved to others; those of them that it may not use are
    /// left out (Linux 2.6.26).
    ///
    /// Only where the policy names nodes: otherwise the kernel refuses it, or takes no notice.
    #[must_use]
    pub const fn static_nodes(mut self) -> Self {
        self.mode = self.mode & !RELATIVE_NODES | STATIC_NODES;
        self
    }

    /// The numbers are places among the nodes that the process may use, counted from 0 and wrapping
    /// around (Linux 2.6.26).
    ///
    /// Only where the policy names nodes: otherwise the kernel refuses it, or takes no notice.
    #[must_use]
    pub const fn relative_nodes(mut self) -> Self {
        self.mode = self.mode & !STATIC_NODES | RELATIVE_NODES;
        self
    }

    /// Where the kernel does not take this policy, whatever the reason (it is too old, has no NUMA,
    /// has no such node, forbids it), the default is used;
    /// [`MapReport::policy`](super::MapReport::policy) tells. Without this it is an error.
    #[must_use]
    pub const fn or_default(mut self) -> Self {
        self.or_default = true;
        self
    }

    pub(super) const fn mode(&self) -> usize {
        self.mode
    }

    pub(super) const fn nodes(&self) -> &NodeSet {
        &self.nodes
    }

    pub(super) const fn may_fail(&self) -> bool {
        self.or_default
    }

    /// Whether a page may lie on the policy's nodes only.
    pub(super) const fn is_strict(&self) -> bool {
        self.mode & !(STATIC_NODES | RELATIVE_NODES) == BIND
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn a_set_holds_what_was_put_in() {
        const SET: NodeSet = NodeSet::of(&[0, 63, 64, 1023]);
        assert_eq!(SET.iter().collect::<Vec<_>>(), [0, 63, 64, 1023]);
        assert_eq!(SET.len(), 4);
        assert_eq!(SET.bits()[0], 1 | 1 << 63);
        assert_eq!((SET.bits()[1], SET.bits()[15]), (1, 1 << 63));
        assert!(!SET.contains(1024) && !SET.contains(u16::MAX) && !SET.contains(1));
        assert!(NodeSet::EMPTY.is_empty() && !SET.is_empty());
        assert_eq!(SET.with(63), SET);
    }

    #[test]
    #[should_panic(expected = "at most 1023")]
    fn a_set_holds_no_node_1024() {
        let _ = NodeSet::of(&[1024]);
    }

    /// No kernel has this policy yet: what an old kernel says of the newer ones.
    #[test]
    fn a_policy_that_the_kernel_does_not_know_is_unsupported() {
        use crate::layout::NonZeroLayout;
        use crate::source::{MemorySource, MmapSource};
        let unknown = NumaPolicy::new(99, NodeSet::of(&[0]));
        assert!(!sys::knows_mode(unknown.mode()) && !sys::knows_mode(unknown.static_nodes().mode()));
        assert!(sys::knows_mode(BIND) && sys::knows_mode(INTERLEAVE | STATIC_NODES));
        let layout = NonZeroLayout::from_size_align(4096, 8).unwrap();
        let strict = MmapSource::builder().numa(unknown).build();
        assert_eq!(strict.obtain(layout), Err(SourceError::Unsupported));
        let source = MmapSource::builder().numa(unknown.or_default()).build();
        // The page is left to the end of the process, since this file has no unsafe code.
        let (_leaked, report) = source.obtain_reporting(layout).unwrap();
        assert!(!report.policy);
    }

    #[test]
    fn the_flags_exclude_each_other() {
        let policy = NumaPolicy::bind(NodeSet::of(&[1]));
        assert_eq!(policy.static_nodes().relative_nodes(), policy.relative_nodes());
        assert_eq!(policy.relative_nodes().static_nodes(), policy.static_nodes());
        assert_ne!(policy.static_nodes(), policy);
        assert!(policy.static_nodes().is_strict() && !NumaPolicy::LOCAL.is_strict());
    }
}
