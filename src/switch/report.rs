//! Lists of what there is: all heaps, all accounts.

use std::vec::Vec;

use super::account::{AccountId, AccountStatistics};
use super::allocator::{Coroutine, Declaration, SwitchableAllocator, present};
use super::control::{ControlRef, Phase};
use super::heap::HeapStatistics;
use super::name::Name;
use super::owner::HeapId;

/// A heap of the coroutine tier; see [`SwitchableAllocator::heaps`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeapInfo {
    /// The heap's identity.
    pub id: HeapId,
    /// The heap's name, or that of its account; none if it has none.
    pub name: Name,
    /// The account that the heap is charged to.
    pub account: Option<AccountId>,
    /// Whether it has a handle.
    pub state: HeapState,
    /// What it holds. Of a heap that another thread is in, as it was when that thread entered it.
    pub statistics: HeapStatistics,
}

/// Whether a heap has a handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeapState {
    /// It has, or is entered.
    Alive,
    /// Its handle is gone, and blocks of it are allocated still.
    Orphan,
    /// As an orphan, and its memory stays for ever: see
    /// [`OrphanAction::Leak`](super::OrphanAction::Leak).
    Leaked,
}

/// An account; see [`SwitchableAllocator::accounts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AccountInfo {
    /// The account's identity.
    pub id: AccountId,
    /// The account above.
    pub parent: Option<AccountId>,
    /// The account's name.
    pub name: Name,
    /// What is charged to it.
    pub statistics: AccountStatistics,
}

impl<D: Declaration> SwitchableAllocator<D> {
    /// Returns all heaps of the coroutine tier that there are, in no order. The list lies outside
    /// the heap that is current.
    ///
    /// # Examples
    /// ```
    /// use context_allocator::switch::HeapState;
    ///
    /// context_allocator::global_thread_and_coroutine_switchable_allocator!(static ALLOC);
    ///
    /// let heap = ALLOC.heap_options().name("GET /").make()?;
    /// let kept = heap.enter(|| String::from("escapes"));
    /// drop(heap);
    /// let heaps = ALLOC.heaps();
    /// assert_eq!((heaps[0].name.as_str(), heaps[0].state), ("GET /", HeapState::Orphan));
    /// # drop(kept);
    /// # Ok::<(), context_allocator::AllocError>(())
    /// ```
    #[must_use]
    pub fn heaps(&self) -> Vec<HeapInfo> {
        if !present::<D, Coroutine>() {
            return Vec::new();
        }
        self.look_from_here();
        self.outside(|| self.coroutine_pool.all().filter_map(|heap| self.heap_info(heap)).collect())
    }

    /// Returns all accounts that there are, in no order. The list lies outside the heap that is
    /// current.
    #[must_use]
    pub fn accounts(&self) -> Vec<AccountInfo> {
        self.look_from_here();
        self.outside(|| (1..=self.accounts.made()).filter_map(|index| self.account_info(index)).collect())
    }

    /// Makes what this thread has in registers known.
    #[inline(never)]
    fn look_from_here(&self) {
        let current = Self::current_thread();
        // The locks that are taken must be known to the fork handlers.
        self.armed(current);
        current.save();
    }

    fn heap_info(&self, heap: ControlRef) -> Option<HeapInfo> {
        let state = match heap.phase() {
            Phase::Alive => HeapState::Alive,
            Phase::Orphan => HeapState::Orphan,
            Phase::Leaked => HeapState::Leaked,
            Phase::Free | Phase::Parked | Phase::Emptying => return None,
        };
        let account = heap.standing().account();
        // Meanwhile the heap may be gone, and its account.
        let view = if account == 0 { None } else { self.accounts.look_at_any(account) };
        Some(HeapInfo {
            id: HeapId(heap.addr()),
            name: view.map_or(Name::NONE, |view| view.name),
            account: view.map(|_| AccountId(account)),
            state,
            statistics: HeapStatistics::of(heap),
        })
    }

    fn account_info(&self, index: u32) -> Option<AccountInfo> {
        let view = self.accounts.look_at_any(index)?;
        Some(AccountInfo {
            id: AccountId(index),
            parent: (view.parent != 0).then_some(AccountId(view.parent)),
            name: view.name,
            statistics: AccountStatistics::of(&view),
        })
    }
}
