//! How a heap is made: with a limit, a name, an account.

use core::fmt;

use super::account::Account;
use super::allocator::{Declaration, HasCoroutineTier, SwitchableAllocator};
use super::control::ControlRef;
use super::heap::Heap;
use super::name::Name;
use crate::error::AllocError;

/// A heap that is to be made; see [`SwitchableAllocator::heap_options`].
#[must_use = "`make` makes the heap"]
pub struct HeapOptions<D: Declaration> {
    limit: usize,
    shared_limit: Option<usize>,
    name: Name,
    account: Option<Account<D>>,
}

impl<D: Declaration> SwitchableAllocator<D> {
    /// Begins to make a heap with a limit, a name, an account.
    ///
    /// # Examples
    /// ```
    /// context_allocator::global_thread_and_coroutine_switchable_allocator!(static ALLOC);
    ///
    /// let tenant = ALLOC.account("tenant 7")?;
    /// let heap = ALLOC.heap_options().limit(16 << 20).name("GET /").account(&tenant).make()?;
    /// assert_eq!(heap.name().as_str(), "GET /");
    /// # Ok::<(), context_allocator::AllocError>(())
    /// ```
    pub fn heap_options(&self) -> HeapOptions<D> {
        HeapOptions::new()
    }

    /// As [`Heap::child_options`], of the heap that the calling thread entered last; as
    /// [`heap_options`](Self::heap_options) if there is none.
    #[inline(never)]
    pub fn child_options(&self) -> HeapOptions<D> {
        match Self::current_thread().context().heap() {
            // The thread is in the heap, which keeps its account.
            Some(heap) => HeapOptions::below(heap),
            None => HeapOptions::new(),
        }
    }
}

impl<D: Declaration> Heap<D> {
    /// Begins to make a heap for a part of what runs in this one, on another thread or in another
    /// task. It is charged to the same account, so that it shares the limits of all accounts above:
    /// that of [`HeapOptions::shared_limit`] too.
    ///
    /// A heap without an account shares nothing. In any case the new heap has a limit of its own,
    /// as high as this one's own.
    ///
    /// # Examples
    /// ```
    /// context_allocator::global_thread_and_coroutine_switchable_allocator!(static ALLOC);
    ///
    /// let heap = ALLOC.heap_options().shared_limit(1 << 20).make()?;
    /// let child = heap.child_options().make()?;
    /// let rows = child.enter(|| vec![0_u8; 800 << 10]);
    /// assert_eq!(heap.check(), Ok(()));
    /// let more = heap.enter(|| vec![0_u8; 800 << 10]);
    /// assert!(heap.check().is_err()); // 1 MiB for both
    /// # drop((rows, more));
    /// # Ok::<(), context_allocator::AllocError>(())
    /// ```
    pub fn child_options(&self) -> HeapOptions<D> {
        HeapOptions::below(self.control())
    }
}

impl<D: Declaration> Account<D> {
    /// Makes a heap that is charged to this account, without a limit of its own.
    ///
    /// # Errors
    /// If the operating system has no memory for its control block.
    pub fn heap(&self) -> Result<Heap<D>, AllocError>
    where
        D: HasCoroutineTier,
    {
        let heap = D::allocator().heap()?;
        heap.charge_to(self.index());
        Ok(heap)
    }

    /// Begins to make a heap that is charged to this account.
    pub fn heap_options(&self) -> HeapOptions<D> {
        HeapOptions::new().account(self)
    }
}

impl<D: Declaration> HeapOptions<D> {
    fn new() -> Self {
        Self { limit: usize::MAX, shared_limit: None, name: Name::NONE, account: None }
    }

    /// Those of a child of a heap that has a handle or is entered, and so keeps its account.
    fn below(heap: ControlRef) -> Self {
        let account = Account::share(heap.standing().account());
        Self { limit: heap.limit(), account, ..Self::new() }
    }

    /// Bytes of regions and large objects that the heap should hold at most; see
    /// [`SwitchableAllocator::heap_with_limit`].
    pub fn limit(self, bytes: usize) -> Self {
        Self { limit: bytes, ..self }
    }

    /// As [`limit`](Self::limit), for the heap and its [children](Heap::child_options) together: an
    /// account without a name, 128 bytes more, is made for them. Errors name no account then, as
    /// if the limit were the heap's own.
    pub fn shared_limit(self, bytes: usize) -> Self {
        Self { shared_limit: Some(bytes), ..self }
    }

    /// A name for reports, cut at 55 bytes. A heap with a name has an account of its own, below the
    /// one that it is charged to: 128 bytes more.
    pub fn name(self, name: &str) -> Self {
        Self { name: Name::new(name), ..self }
    }

    /// The account that the heap is charged to.
    pub fn account(self, account: &Account<D>) -> Self {
        Self { account: Some(account.clone()), ..self }
    }

    /// Makes the heap.
    ///
    /// # Errors
    /// If the operating system has no memory for its control block, or for the account that goes
    /// with a name.
    pub fn make(self) -> Result<Heap<D>, AllocError>
    where
        D: HasCoroutineTier,
    {
        // First, since it makes the locks known to the fork handlers.
        let heap = D::allocator().heap_with_limit(self.limit)?;
        // Each account is kept by the one below it, or by the heap.
        let mut account = self.account;
        if let Some(limit) = self.shared_limit {
            account = Some(below(account.as_ref(), Name::NONE, limit)?);
        }
        if self.name != Name::NONE {
            account = Some(below(account.as_ref(), self.name, usize::MAX)?);
        }
        if let Some(account) = &account {
            heap.charge_to(account.index());
        }
        Ok(heap)
    }
}

/// Makes an account below another one, or below none.
fn below<D: Declaration>(
    parent: Option<&Account<D>>,
    name: Name,
    limit: usize,
) -> Result<Account<D>, AllocError> {
    Account::make(parent.map_or(0, Account::index), name, limit)
}

impl<D: Declaration> Clone for HeapOptions<D> {
    fn clone(&self) -> Self {
        Self { account: self.account.clone(), ..*self }
    }
}

impl<D: Declaration> fmt::Debug for HeapOptions<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { limit, shared_limit, name, account } = self;
        let mut this = f.debug_struct("HeapOptions");
        this.field("limit", limit).field("shared_limit", shared_limit);
        this.field("name", name).field("account", account).finish()
    }
}
