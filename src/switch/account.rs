//! Accounts as users see them: a limit and figures for all heaps of a tenant, a query, a process.

use core::fmt;
use core::marker::PhantomData;
use std::boxed::Box;

use super::accounts::{AccountView, Callbacks, NotMoved};
use super::allocator::{Declaration, SwitchableAllocator};
use super::name::Name;
use crate::error::AllocError;

/// A node in a tree of limits and figures, such as process, tenant, query, operator. Heaps that are
/// made under it are charged to it, and to all accounts above it, for each region and each large
/// object that they hold.
///
/// Clones are handles of the same account. It stays while there is a handle, a heap that is charged
/// to it (an orphan too), or an account below it. Any thread may use it. It takes 128 bytes, which
/// serve a later account and are never unmapped.
///
/// A request that would pass the limit of any account above its heap is treated as one that would
/// pass the heap's own: as [`Policy::limit_reached`](super::Policy::limit_reached) says.
///
/// What is charged is where a block lies: a buffer that was made before a heap was entered, and
/// grows inside, stays charged where it was made; [`Heap::adopt`](super::Heap::adopt) moves it.
///
/// # Examples
/// ```
/// context_allocator::global_thread_and_coroutine_switchable_allocator!(static ALLOC);
///
/// let process = ALLOC.account("process")?;
/// let tenant = process.child("tenant 7")?;
/// tenant.set_limit(1 << 20);
/// let heap = tenant.heap()?;
/// let kept = heap.enter(|| vec![0_u8; 100_000]);
/// assert!(process.statistics().held_bytes >= 100_000);
/// drop((kept, heap));
/// assert_eq!(process.statistics().held_bytes, 0);
/// # Ok::<(), context_allocator::AllocError>(())
/// ```
pub struct Account<D: Declaration> {
    index: u32,
    declaration: PhantomData<fn() -> D>,
}

/// Names an account of a declaration; see [`Account::id`].
///
/// No two accounts that exist have the same. When one is gone, a later one may get its name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct AccountId(pub(super) u32);

/// What is charged to an account; see [`Account::statistics`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AccountStatistics {
    /// Bytes of regions and large objects that its heaps hold, those of accounts below it included,
    /// and what they spilled.
    pub held_bytes: usize,
    /// The most that `held_bytes` was since the account was made or
    /// [`reset_peak`](Account::reset_peak).
    pub peak_bytes: usize,
    /// Bytes charged since the account was made, whether or not they were given back.
    pub total_bytes: u64,
    /// The most that `held_bytes` should become.
    pub limit_bytes: usize,
    /// Requests that the account's limit refused: see
    /// [`LimitAction::Refuse`](super::LimitAction::Refuse).
    pub refused: u64,
    /// Heaps that are charged to the account itself.
    pub heaps: usize,
}

/// An account was not moved; see [`Account::move_to`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MoveError {
    /// The new parent is the account itself, or below it.
    Circle,
    /// The limit of an account above would be passed.
    LimitReached,
}

impl fmt::Display for MoveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Circle => "the new parent is the account itself, or below it",
            Self::LimitReached => "the limit of an account above would be passed",
        })
    }
}

impl core::error::Error for MoveError {}

impl<D: Declaration> SwitchableAllocator<D> {
    /// Makes an account without a limit, below no other.
    ///
    /// # Errors
    /// If the operating system has no memory for it, or there are 16 million.
    #[inline(never)]
    pub fn account(&self, name: &str) -> Result<Account<D>, AllocError> {
        // The accounts' lock must be known to the fork handlers.
        self.armed(Self::current_thread());
        Account::make(0, Name::new(name), usize::MAX)
    }
}

impl<D: Declaration> Account<D> {
    /// Makes an account below another one, or for 0 below none.
    pub(super) fn make(parent: u32, name: Name, limit: usize) -> Result<Self, AllocError> {
        let index = D::allocator().accounts.make(parent, name, limit)?;
        Ok(Self { index, declaration: PhantomData })
    }

    /// One more handle of an account that a handle, a heap or an account below it keeps; none of 0.
    pub(super) fn share(index: u32) -> Option<Self> {
        if index == 0 {
            return None;
        }
        D::allocator().accounts.share(index);
        Some(Self { index, declaration: PhantomData })
    }

    pub(super) fn index(&self) -> u32 {
        self.index
    }

    /// Makes an account without a limit of its own below this one.
    ///
    /// # Errors
    /// If the operating system has no memory for it, or there are 16 million.
    pub fn child(&self, name: &str) -> Result<Self, AllocError> {
        Self::make(self.index, Name::new(name), usize::MAX)
    }

    /// The account's name; a heap with a name has an account of the same name.
    #[must_use]
    pub fn name(&self) -> Name {
        self.look().name
    }

    /// The account's identity, to compare with those in reports.
    #[must_use]
    pub fn id(&self) -> AccountId {
        AccountId(self.index)
    }

    /// Sets how many bytes the account's heaps, and those of accounts below, should hold at most. A
    /// limit below what they hold takes nothing back; it refuses what is asked for from then on.
    pub fn set_limit(&self, bytes: usize) {
        D::allocator().accounts.set_limit(self.index, bytes);
    }

    /// What is charged to the account at this moment.
    #[must_use]
    pub fn statistics(&self) -> AccountStatistics {
        AccountStatistics::of(&self.look())
    }

    /// Begins the peak anew, at what is held now.
    pub fn reset_peak(&self) {
        D::allocator().accounts.reset_peak(self.index);
    }

    /// Puts the account, with all heaps and accounts below it, below another one, or at the top.
    /// What it holds is charged there from now on, and no longer where it was.
    ///
    /// # Errors
    /// If `parent` is the account or below it, or if a limit there leaves too little room;
    /// then nothing changed.
    pub fn move_to(&self, parent: Option<&Self>) -> Result<(), MoveError> {
        let parent = parent.map_or(0, |parent| parent.index);
        D::allocator().accounts.move_to(self.index, parent).map_err(|not_moved| match not_moved {
            NotMoved::Circle => MoveError::Circle,
            NotMoved::Limit => MoveError::LimitReached,
        })
    }

    /// Has `f` run when the account is [reset](Self::reset) or its last handle is dropped, on the
    /// thread that does it, once. The callback made last runs first.
    pub fn on_reset(&self, f: impl FnOnce() + Send + 'static) {
        let allocator = D::allocator();
        // Neither in a heap nor under the lock.
        let callback = allocator.outside(|| Callbacks::new(Box::new(f)));
        allocator.accounts.add_callback(self.index, callback);
    }

    /// Runs the callbacks of all accounts below this one, those further down first, then its own,
    /// and forgets them. The figures stay.
    pub fn reset(&self) {
        D::allocator().accounts.take_callbacks(self.index).run();
    }

    fn look(&self) -> AccountView {
        D::allocator().accounts.look(self.index)
    }
}

impl AccountStatistics {
    pub(super) fn of(view: &AccountView) -> Self {
        let figures = &view.figures;
        Self {
            held_bytes: figures.held,
            peak_bytes: figures.peak,
            total_bytes: figures.total,
            limit_bytes: figures.limit,
            refused: figures.refused,
            heaps: view.heaps as usize,
        }
    }
}

impl<D: Declaration> Clone for Account<D> {
    fn clone(&self) -> Self {
        D::allocator().accounts.share(self.index);
        Self { index: self.index, declaration: PhantomData }
    }
}

impl<D: Declaration> Drop for Account<D> {
    fn drop(&mut self) {
        D::allocator().accounts.give(self.index).run();
    }
}

impl<D: Declaration> fmt::Debug for Account<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut this = f.debug_struct("Account");
        this.field("name", &self.name()).field("statistics", &self.statistics()).finish_non_exhaustive()
    }
}
