//! What happens when a heap would pass a limit: its own, or that of an account above it.
//!
//! ```text
//!   the heap's allocator or a large object is refused: HeapLimitReached
//!     policy: Refuse   null
//!             Spill    thread tier, else global tier; charged beyond the limit, marked
//!             Reserve  the heap again, so many bytes beyond the limits; marked, or null
//!             Retry    the heap again, then the policy again
//! ```
//!
//! Always: a heap that is marked stays marked until its handle is gone or its limit is set anew.
//! What was spilled stays charged until the heap ends, since its blocks are another tier's and
//! their frees are not seen here. A thread that panics never comes here: it is refused nothing.

use core::fmt;
use core::ptr::null_mut;

use super::allocator::{Declaration, PolicyOf, SwitchableAllocator};
use super::context::tier;
use super::control::ControlRef;
use super::declare::{LimitAction, LimitReached, Policy};
use super::heap::Heap;
use super::name::Name;
use super::scope::set_tier;
use crate::layout::NonZeroLayout;
use crate::unwind::no_unwind;

/// A policy that answers [`LimitAction::Retry`] so often is not asked again: the request spills.
const MOST_RETRIES: u32 = 8;

/// A heap went over a limit; see [`Heap::check`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimitExceeded {
    /// The limit in bytes.
    pub limit: usize,
    /// Bytes of the first request that went over it.
    pub requested: usize,
    /// Bytes that are charged against the limit now.
    pub held: usize,
    /// The name of the account whose limit it is; none if it is the heap's own.
    pub account: Name,
}

impl fmt::Display for LimitExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { limit, requested, held, account } = self;
        match account.as_str() {
            "" => f.write_str("the heap")?,
            name => write!(f, "the account \"{name}\"")?,
        }
        write!(f, " went over its limit of {limit} bytes with a request of {requested}, and holds {held}")
    }
}

impl core::error::Error for LimitExceeded {}

impl<D: Declaration> Heap<D> {
    /// Returns an error if the heap went over its limit, or that of an account above it, and was
    /// served beyond it: see [`LimitAction`]. What runs in the heap should end then; nobody else
    /// notices.
    ///
    /// # Errors
    /// See above; the same until the handle is dropped or [`set_limit`](Self::set_limit) raises the
    /// limit.
    ///
    /// # Examples
    /// ```
    /// context_allocator::global_thread_and_coroutine_switchable_allocator!(static ALLOC);
    ///
    /// let heap = ALLOC.heap_with_limit(4096)?;
    /// let lines: Vec<String> = heap.enter(|| (0..1000).map(|n| n.to_string()).collect());
    /// assert_eq!(lines.len(), 1000); // served, from the thread tier
    /// let error = heap.check().unwrap_err();
    /// assert_eq!(error.limit, 4096);
    /// # Ok::<(), context_allocator::AllocError>(())
    /// ```
    #[inline]
    pub fn check(&self) -> Result<(), LimitExceeded> {
        if !self.control().standing().is_over() {
            return Ok(());
        }
        Err(D::allocator().exceeded(self.control()))
    }

    /// Sets the heap's own limit, in bytes. A heap that holds no more than that is no longer marked
    /// as over it.
    #[inline(never)]
    pub fn set_limit(&self, limit: usize) {
        let control = self.control();
        control.set_limit(limit);
        if control.held() <= limit && SwitchableAllocator::<D>::uses(control) {
            control.set_standing(control.standing().with_passed(0));
        }
    }
}

impl<D: Declaration> SwitchableAllocator<D> {
    /// As [`Heap::check`], of the heap that the calling thread entered last; `Ok` if there is none.
    ///
    /// # Errors
    /// As [`Heap::check`].
    #[inline(never)]
    pub fn check(&self) -> Result<(), LimitExceeded> {
        match Self::current_thread().context().heap() {
            Some(heap) if heap.standing().is_over() => Err(self.exceeded(heap)),
            _ => Ok(()),
        }
    }

    /// Whether the caller, who holds the heap's handle or is in it, is its user: not if the heap is
    /// entered on another thread or in a saved context.
    fn uses(heap: ControlRef) -> bool {
        let context = Self::current_thread().context();
        // SAFETY: The context is this thread's.
        !heap.is_entered() || unsafe { context.holds(heap) }
    }

    #[cold]
    #[inline(never)]
    fn exceeded(&self, heap: ControlRef) -> LimitExceeded {
        // If the limit was raised meanwhile, the heap's own.
        let level = heap.standing().passed().unwrap_or(1);
        let requested = if Self::uses(heap) { heap.next.noted() } else { 0 };
        let LimitReached { limit, held, account, .. } = self.limit_at(heap, level);
        LimitExceeded { limit, requested, held, account }
    }

    /// The limit of a level above a heap.
    fn limit_at(&self, heap: ControlRef, level: u32) -> LimitReached {
        let own = LimitReached {
            requested: 0,
            limit: heap.limit(),
            held: heap.held(),
            account: Name::NONE,
            retries: 0,
        };
        match self.accounts.at_level(heap, level) {
            Some((account, figures)) => {
                LimitReached { limit: figures.limit, held: figures.held, account, ..own }
            }
            None => own,
        }
    }

    /// Serves a request that a limit refused a heap which the calling thread uses, as the policy
    /// says; null if it says that it fails.
    ///
    /// The policy's code may enter and leave heaps, so nothing that was known of the thread is used
    /// after it.
    #[cold]
    #[inline(never)]
    pub(super) fn allocate_at_limit(&self, heap: ControlRef, layout: NonZeroLayout) -> *mut u8 {
        let mut level = 1;
        for retries in 0..=MOST_RETRIES {
            level = self.accounts.tightest(heap);
            let reached = LimitReached { requested: layout.size(), retries, ..self.limit_at(heap, level) };
            let action = Self::ask_policy(reached);
            if !Self::uses(heap) {
                // The policy left the heap.
                return self.allocate_block(layout);
            }
            match action {
                LimitAction::Refuse => {
                    self.count_refused(heap, level);
                    return null_mut();
                }
                LimitAction::Spill => break,
                LimitAction::Reserve(bytes) => {
                    return self.allocate_from_reserve(heap, layout, level, bytes);
                }
                LimitAction::Retry => {
                    let block = self.allocate_in_again(heap, layout);
                    if !block.is_null() {
                        return block;
                    }
                }
            }
        }
        self.spill(heap, layout, level)
    }

    /// Asks the policy, outside the heap.
    #[inline(never)]
    fn ask_policy(reached: LimitReached) -> LimitAction {
        let before = set_tier::<D>(tier::DEFAULT);
        let action = no_unwind(|| PolicyOf::<D>::limit_reached(reached));
        set_tier::<D>(before);
        action
    }

    /// Serves a request from the thread tier or the global tier.
    fn spill(&self, heap: ControlRef, layout: NonZeroLayout, level: u32) -> *mut u8 {
        let block = self.allocate_outside(layout);
        if !block.is_null() {
            mark(heap, level, layout.size());
            self.accounts.charge_beyond_limit(&heap, layout.size());
            self.lifetimes.spilled(layout.size());
        }
        block
    }

    /// Serves a request from the heap, up to `bytes` bytes beyond the limits.
    fn allocate_from_reserve(
        &self,
        heap: ControlRef,
        layout: NonZeroLayout,
        level: u32,
        bytes: usize,
    ) -> *mut u8 {
        let (standing, noted) = (heap.standing(), heap.next.noted());
        heap.next.note(bytes);
        heap.set_standing(standing.with_reserve(true));
        let block = self.allocate_in_again(heap, layout);
        heap.set_standing(standing);
        heap.next.note(noted);
        if block.is_null() {
            self.count_refused(heap, level);
        } else {
            mark(heap, level, layout.size());
        }
        block
    }

    fn count_refused(&self, heap: ControlRef, level: u32) {
        self.lifetimes.refused();
        self.accounts.count_refused(heap, level);
    }
}

/// Marks a heap that the caller uses as over the limit of that level, unless it is marked already.
fn mark(heap: ControlRef, level: u32, requested: usize) {
    let standing = heap.standing();
    if standing.passed().is_none() {
        heap.next.note(requested);
        heap.set_standing(standing.with_passed(level));
    }
}
