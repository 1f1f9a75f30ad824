//! An intrusive doubly linked list: its nodes hold the links.
//!
//! ```text
//!   List          node            node            node
//!   first ------> | next ------> | next ------> | next --> null
//!         null <-- previous | <-- previous | <-- previous |
//! ```
//!
//! Head and links are plain cells: one thread at a time uses a list, or a lock guards it. A node
//! that is in several lists at once has links for each, which `Which` tells apart.
//!
//! Always: the nodes in a list are alive and stay where they are. [`List::push`] asks for that
//! once, so that looking at nodes and popping them is safe.

use core::cell::Cell;
use core::fmt;
use core::marker::PhantomData;
use core::ptr::{NonNull, null_mut};

/// The links of a node in one list.
pub(crate) struct Links<T> {
    next: Cell<*mut T>,
    previous: Cell<*mut T>,
}

impl<T> Links<T> {
    pub(crate) const fn new() -> Self {
        Self { next: Cell::new(null_mut()), previous: Cell::new(null_mut()) }
    }
}

impl<T> fmt::Debug for Links<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Links").finish_non_exhaustive()
    }
}

/// A node of lists that `Which` names.
///
/// # Safety
/// `links` always gives the same field of the node, which no other `Which` gives and nothing else
/// touches.
pub(crate) unsafe trait Linked<Which>: Sized {
    fn links(&self) -> &Links<Self>;
}

/// See the head of this file.
pub(crate) struct List<T, Which = ()> {
    first: Cell<*mut T>,
    which: PhantomData<fn() -> Which>,
}

impl<T, Which> fmt::Debug for List<T, Which> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("List").finish_non_exhaustive()
    }
}

impl<T, Which> List<T, Which> {
    /// An empty list.
    pub(crate) const fn new() -> Self {
        Self { first: Cell::new(null_mut()), which: PhantomData }
    }

    #[cfg(feature = "std")]
    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.first.get().is_null()
    }

    /// Forgets all nodes, whose links stay as they are.
    pub(crate) fn clear(&self) {
        self.first.set(null_mut());
    }

    /// The pointer by which the first node was pushed.
    #[cfg(feature = "std")]
    pub(crate) fn first_pointer(&self) -> Option<NonNull<T>> {
        NonNull::new(self.first.get())
    }

    /// The first node.
    #[inline(always)]
    pub(crate) fn first(&self) -> Option<&T> {
        // SAFETY: A node in a list is alive, as `push` was promised.
        unsafe { self.first.get().as_ref() }
    }
}

impl<T: Linked<Which>, Which> List<T, Which> {
    /// Puts a node at the head.
    ///
    /// # Safety
    /// The node is in no list of this `Which`, and until it is taken off it is alive and stays
    /// where it is.
    #[inline]
    pub(crate) unsafe fn push(&self, node: NonNull<T>) {
        let this = node.as_ptr();
        // SAFETY: The node is alive, as this function was promised.
        let node = unsafe { node.as_ref() };
        let next = self.first.replace(this);
        node.links().next.set(next);
        node.links().previous.set(null_mut());
        // SAFETY: A node in a list is alive, as this function was promised.
        if let Some(next) = unsafe { next.as_ref() } {
            next.links().previous.set(this);
        }
    }

    /// Puts a node behind the first.
    ///
    /// # Safety
    /// As [`push`](Self::push).
    #[inline]
    pub(crate) unsafe fn push_second(&self, node: NonNull<T>) {
        let Some(first) = self.first() else {
            // SAFETY: The caller promises the same.
            return unsafe { self.push(node) };
        };
        let this = node.as_ptr();
        // SAFETY: The node is alive, as this function was promised.
        let node = unsafe { node.as_ref() };
        let next = first.links().next.replace(this);
        node.links().next.set(next);
        node.links().previous.set(self.first.get());
        // SAFETY: A node in a list is alive, as `push` was promised.
        if let Some(next) = unsafe { next.as_ref() } {
            next.links().previous.set(this);
        }
    }

    /// Takes a node off the list.
    ///
    /// # Safety
    /// The node is in this list.
    #[inline]
    pub(crate) unsafe fn remove(&self, node: &T) {
        let (next, previous) = (node.links().next.get(), node.links().previous.get());
        // SAFETY: The neighbours of a node in a list are nodes in it, and so alive.
        match unsafe { previous.as_ref() } {
            Some(previous) => previous.links().next.set(next),
            None => self.first.set(next),
        }
        // SAFETY: As above.
        if let Some(next) = unsafe { next.as_ref() } {
            next.links().previous.set(previous);
        }
    }

    /// Takes the first node off the list.
    #[cfg(feature = "std")]
    #[inline]
    pub(crate) fn pop(&self) -> Option<&T> {
        let first = self.first()?;
        // SAFETY: The first node is in this list.
        unsafe { self.remove(first) };
        Some(first)
    }

    /// The nodes, from the first on. A node may be taken off, and its memory released, once the
    /// next one was asked for.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.iter_behind(None)
    }

    /// The nodes behind one of the list, or all.
    pub(crate) fn iter_behind<'a>(&'a self, node: Option<&'a T>) -> impl Iterator<Item = &'a T> {
        let mut next = node.map_or(self.first.get(), |node| node.links().next.get());
        core::iter::from_fn(move || {
            // SAFETY: A node in a list is alive, as `push` was promised.
            let node = unsafe { next.as_ref() }?;
            next = node.links().next.get();
            Some(node)
        })
    }

    /// As [`iter`](Self::iter), and checks the links backwards.
    #[cfg(all(test, feature = "std", not(loom)))]
    pub(crate) fn checked(&self) -> impl Iterator<Item = &T> {
        let mut previous: *const T = null_mut();
        self.iter().inspect(move |node| {
            assert_eq!(node.links().previous.get().cast_const(), previous);
            previous = core::ptr::from_ref(*node);
        })
    }
}

#[cfg(all(test, feature = "std", not(loom)))]
mod tests {
    use super::*;
    use std::vec::Vec;

    struct Node(u32, Links<Node>, Links<Node>);
    struct Other;

    // SAFETY: The field is for these lists only.
    unsafe impl Linked<()> for Node {
        fn links(&self) -> &Links<Self> {
            &self.1
        }
    }
    // SAFETY: As above.
    unsafe impl Linked<Other> for Node {
        fn links(&self) -> &Links<Self> {
            &self.2
        }
    }

    fn numbers<Which>(list: &List<Node, Which>) -> Vec<u32>
    where
        Node: Linked<Which>,
    {
        list.checked().map(|node| node.0).collect()
    }

    #[test]
    fn nodes_come_and_go_in_two_lists_at_once() {
        let nodes: Vec<_> = (0..5).map(|number| Node(number, Links::new(), Links::new())).collect();
        let (list, other) = (List::<Node>::new(), List::<Node, Other>::new());
        assert!(list.is_empty() && list.pop().is_none());
        for node in &nodes {
            // SAFETY: The nodes outlive the lists, and each is pushed once on each.
            unsafe { list.push(NonNull::from(node)) };
            // SAFETY: As above.
            unsafe { other.push_second(NonNull::from(node)) };
        }
        assert_eq!(numbers(&list), [4, 3, 2, 1, 0]);
        assert_eq!(numbers(&other), [0, 4, 3, 2, 1]);
        for (removed, left) in [(4, &[3, 2, 1, 0][..]), (0, &[3, 2, 1]), (2, &[3, 1])] {
            // SAFETY: The node is in the list.
            unsafe { list.remove(&nodes[removed]) };
            assert_eq!(numbers(&list), left);
        }
        assert_eq!(list.pop().map(|node| node.0), Some(3));
        assert_eq!(numbers(&list), [1]);
        assert_eq!(numbers(&other), [0, 4, 3, 2, 1]);
    }
}
