//! How a heap is made: with a limit, a name, an account.

use core::fmt;

use super::account::Account;
use super::allocator::{Declaration, HasCoroutineTier, SwitchableAllocator};
use super::heap::Heap;
use super::name::Name;
use crate::error::AllocError;

/// A heap that is to be made; see [`SwitchableAllocator::heap_options`].
#[must_use = "`make` makes the heap"]
pub struct HeapOptions<D: Declaration> {
    limit: usize,
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
        Self { limit: usize::MAX, name: Name::NONE, account: None }
    }

    /// Bytes of regions and large objects that the heap should hold at most; see
    /// [`SwitchableAllocator::heap_with_limit`].
    pub fn limit(self, bytes: usize) -> Self {
        Self { limit: bytes, ..self }
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
        let allocator = D::allocator();
        let parent = self.account.as_ref().map_or(0, Account::index);
        if self.name == Name::NONE {
            let heap = allocator.heap_with_limit(self.limit)?;
            if parent != 0 {
                heap.charge_to(parent);
            }
            return Ok(heap);
        }
        // First, since it makes the locks known to the fork handlers.
        let heap = allocator.heap_with_limit(self.limit)?;
        let own = allocator.accounts.make(parent, self.name, usize::MAX)?;
        heap.charge_to(own);
        // The heap keeps its account.
        allocator.accounts.give(own).run();
        Ok(heap)
    }
}

impl<D: Declaration> Clone for HeapOptions<D> {
    fn clone(&self) -> Self {
        Self { limit: self.limit, name: self.name, account: self.account.clone() }
    }
}

impl<D: Declaration> fmt::Debug for HeapOptions<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { limit, name, account } = self;
        let mut this = f.debug_struct("HeapOptions");
        this.field("limit", limit).field("name", name).field("account", account).finish()
    }
}
