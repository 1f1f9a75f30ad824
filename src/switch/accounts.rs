//! The accounts of a declaration: a tree of limits and figures, to which heaps are charged.
//!
//! ```text
//!   process   limit, held, peak, ...
//!     +- tenant 7
//!     |    +- query 1 <--- heap, heap        each region: heap, query 1, tenant 7, process
//!     |    +- query 2 <--- heap
//!     +- tenant 8
//! ```
//!
//! A heap with an account is charged as before, for each region and each large object, and so are
//! its account and all accounts above: all of them, or none if a limit would be passed.
//!
//! Always: an account holds what the heaps and the accounts directly below it hold. An account
//! stays while it has a handle, a heap or an account below it. Everything here is reached under one
//! lock, held for a few instructions and one step for each level (to take callbacks, for each
//! account below); nothing is called under it, so that it may be taken under any other. Accounts
//! lie in maps of their own that are never unmapped.

use core::ptr::null_mut;
use std::boxed::Box;

use super::control::{ControlRef, Shared};
use super::name::Name;
use super::standing::Standing;
use crate::error::SourceError;
use crate::sync::{Guarded, const_fn};
use crate::sys;

/// The first chunk has places for 2 to the power of this many accounts; each chunk after it twice
/// as many as the one before.
const FIRST: u32 = 5;
const CHUNKS: usize = (25 - FIRST) as usize;

/// The accounts of a declaration.
#[derive(Debug)]
pub(crate) struct Accounts {
    tree: Guarded<Tree>,
}

/// What is run when an account is reset or its last handle goes, the one made last first.
#[derive(Default)]
pub(crate) struct Callbacks(Option<Box<Callback>>);

struct Callback {
    run: Box<dyn FnOnce() + Send>,
    next: Callbacks,
}

impl Callbacks {
    /// Puts one more before these, which are none.
    pub(crate) fn new(run: Box<dyn FnOnce() + Send>) -> Self {
        Self(Some(Box::new(Callback { run, next: Self(None) })))
    }

    /// Puts these before `others`.
    fn before(mut self, others: Self) -> Self {
        let mut last = &mut self.0;
        while let Some(callback) = last {
            last = &mut callback.next.0;
        }
        *last = others.0;
        self
    }

    /// Runs all of them.
    pub(crate) fn run(mut self) {
        while let Some(callback) = self.0.take() {
            let Callback { run, next } = *callback;
            self = next;
            run();
        }
    }
}

impl core::fmt::Debug for Callbacks {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Callbacks").finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Account {
    /// The account above, or 0; of an account that is free, the next one that is.
    parent: u32,
    /// The first of those directly below, or 0.
    below: u32,
    /// Its neighbours below the same account, or 0; not kept for those at the top.
    next: u32,
    previous: u32,
    /// Handles of users.
    handles: u32,
    /// Control blocks that are charged here.
    heaps: u32,
    figures: AccountFigures,
    callbacks: Callbacks,
    name: Name,
}

/// The figures of an account.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AccountFigures {
    pub(crate) held: usize,
    pub(crate) limit: usize,
    pub(crate) peak: usize,
    pub(crate) total: u64,
    pub(crate) refused: u64,
}

impl AccountFigures {
    const NONE: Self = Self { held: 0, limit: 0, peak: 0, total: 0, refused: 0 };
}

/// What [`Accounts::look`] sees.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AccountView {
    pub(crate) name: Name,
    pub(crate) figures: AccountFigures,
    pub(crate) parent: u32,
    pub(crate) heaps: u32,
}

/// What the lock guards.
#[derive(Debug)]
struct Tree {
    chunks: [*mut Account; CHUNKS],
    /// Accounts made so far; the next one has the index after it.
    made: u32,
    /// An account that is free, or 0.
    free: u32,
}

// SAFETY: The accounts belong to the declaration, not to a thread.
unsafe impl Send for Tree {}

/// Why an account was not moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotMoved {
    /// The new parent is the account itself, or below it.
    Circle,
    /// A limit above would be passed.
    Limit,
}

impl Accounts {
    const_fn! {
        pub(crate) fn new() -> Self {
            Self { tree: Guarded::new(Tree { chunks: [null_mut(); CHUNKS], made: 0, free: 0 }) }
        }
    }

    /// Makes an account with one handle, below `parent` or, for 0, at the top.
    ///
    /// # Errors
    /// The operating system's, if it has no memory for accounts; `Exhausted` beyond 16 million.
    pub(crate) fn make(&self, parent: u32, name: Name, limit: usize) -> Result<u32, SourceError> {
        let mut tree = self.tree.lock();
        let index = tree.take()?;
        let figures = AccountFigures { limit, ..AccountFigures::NONE };
        *tree.at(index) = Account { handles: 1, figures, name, ..Account::FREE };
        tree.link(index, parent);
        Ok(index)
    }

    /// Counts one handle more.
    pub(crate) fn share(&self, account: u32) {
        self.tree.lock().at(account).handles += 1;
    }

    /// Counts one handle less. The callbacks, if it was the last handle.
    pub(crate) fn give(&self, account: u32) -> Callbacks {
        let mut tree = self.tree.lock();
        let this = tree.at(account);
        this.handles -= 1;
        let last = this.handles == 0;
        let callbacks = if last { core::mem::take(&mut this.callbacks) } else { Callbacks::default() };
        tree.free_unused(account);
        callbacks
    }

    /// Charges a heap that was made just now to an account, for what it holds already too; `false`,
    /// and nothing changed, if a limit leaves no room for that.
    pub(crate) fn attach(&self, heap: &Shared, account: u32) -> bool {
        let mut tree = self.tree.lock();
        let held = heap.held();
        if held != 0 && tree.charge(account, held, 0).is_err() {
            return false;
        }
        tree.at(account).heaps += 1;
        heap.set_standing(Standing::of_account(account));
        true
    }

    /// Ends the accounts of a heap that is over: what it still holds is charged to nobody.
    pub(crate) fn detach(&self, heap: &Shared) {
        let account = heap.standing().account();
        heap.set_standing(Standing::PLAIN);
        if account == 0 {
            return;
        }
        let mut tree = self.tree.lock();
        tree.refund(account, heap.held());
        tree.at(account).heaps -= 1;
        tree.free_unused(account);
    }

    /// Charges bytes to a heap and its accounts; `false`, and nothing changed, if a limit would be
    /// passed. The caller is the heap's user.
    #[inline]
    pub(crate) fn charge(&self, heap: &Shared, bytes: usize) -> bool {
        let standing = heap.standing();
        if standing.is_plain() {
            return heap.charge(bytes, 0);
        }
        self.charge_accounts(heap, standing, bytes)
    }

    #[cold]
    fn charge_accounts(&self, heap: &Shared, standing: Standing, bytes: usize) -> bool {
        let beyond = if standing.reserve_is_open() { heap.next.noted() } else { 0 };
        if !heap.charge(bytes, beyond) {
            return false;
        }
        let account = standing.account();
        if account != 0 && self.tree.lock().charge(account, bytes, beyond).is_err() {
            heap.refund(bytes);
            return false;
        }
        true
    }

    /// Charges bytes to a heap and its accounts, whatever the limits.
    pub(crate) fn charge_beyond_limit(&self, heap: &Shared, bytes: usize) {
        heap.charge_beyond_limit(bytes);
        let account = heap.standing().account();
        if account != 0 {
            self.tree.lock().add(account, bytes);
        }
    }

    /// Takes back what was charged.
    #[inline]
    pub(crate) fn refund(&self, heap: &Shared, bytes: usize) {
        heap.refund(bytes);
        if !heap.standing().is_plain() {
            self.refund_accounts(heap, bytes);
        }
    }

    #[cold]
    fn refund_accounts(&self, heap: &Shared, bytes: usize) {
        let account = heap.standing().account();
        if account != 0 {
            self.tree.lock().refund(account, bytes);
        }
    }

    /// The level whose limit leaves a heap the least room: 1 for its own, 2 for that of its
    /// account, and so on.
    pub(crate) fn tightest(&self, heap: ControlRef) -> u32 {
        let mut room = heap.limit().saturating_sub(heap.held());
        let (mut tightest, mut level, mut next) = (1, 1, heap.standing().account());
        if next == 0 {
            return tightest;
        }
        let mut tree = self.tree.lock();
        while next != 0 {
            level += 1;
            let this = tree.at(next);
            let left = this.figures.limit.saturating_sub(this.figures.held);
            if left < room {
                (room, tightest) = (left, level);
            }
            next = this.parent;
        }
        tightest
    }

    /// The account at a level above a heap, if there is one: none at 1, which is the heap itself.
    pub(crate) fn at_level(&self, heap: ControlRef, level: u32) -> Option<(Name, AccountFigures)> {
        let mut tree = self.tree.lock();
        let account = tree.at_level(heap, level)?;
        Some((account.name, account.figures))
    }

    /// Counts a request that the limit of that level refused.
    pub(crate) fn count_refused(&self, heap: ControlRef, level: u32) {
        if let Some(account) = self.tree.lock().at_level(heap, level) {
            account.figures.refused += 1;
        }
    }

    /// What an account of a handle, a heap or another account is.
    pub(crate) fn look(&self, account: u32) -> AccountView {
        self.tree.lock().look(account)
    }

    /// The accounts made so far have the indices from 1 to this.
    pub(crate) fn made(&self) -> u32 {
        self.tree.lock().made
    }

    /// The account of that index, which was made, if somebody has it.
    pub(crate) fn look_at_any(&self, index: u32) -> Option<AccountView> {
        let mut tree = self.tree.lock();
        if tree.at(index).is_unused() {
            return None;
        }
        Some(tree.look(index))
    }

    pub(crate) fn set_limit(&self, account: u32, limit: usize) {
        self.tree.lock().at(account).figures.limit = limit;
    }

    /// Begins the peak anew.
    pub(crate) fn reset_peak(&self, account: u32) {
        let mut tree = self.tree.lock();
        let figures = &mut tree.at(account).figures;
        figures.peak = figures.held;
    }

    /// Puts an account, with all that is below it, below another one, or at the top for 0.
    pub(crate) fn move_to(&self, account: u32, parent: u32) -> Result<(), NotMoved> {
        let mut tree = self.tree.lock();
        let mut next = parent;
        while next != 0 {
            if next == account {
                return Err(NotMoved::Circle);
            }
            next = tree.at(next).parent;
        }
        let (before, held) = (tree.at(account).parent, tree.at(account).figures.held);
        // Taken back first: what both chains have above is charged once.
        tree.refund(before, held);
        if tree.charge(parent, held, 0).is_err() {
            tree.each_above(before, |figures| figures.held += held);
            return Err(NotMoved::Limit);
        }
        tree.unlink(account);
        tree.link(account, parent);
        tree.free_unused(before);
        Ok(())
    }

    /// Puts a callback before those of an account.
    pub(crate) fn add_callback(&self, account: u32, callback: Callbacks) {
        let mut tree = self.tree.lock();
        let callbacks = &mut tree.at(account).callbacks;
        *callbacks = callback.before(core::mem::take(callbacks));
    }

    /// Takes the callbacks of an account and of all below it, those of each account before those of
    /// the one above.
    pub(crate) fn take_callbacks(&self, account: u32) -> Callbacks {
        let mut tree = self.tree.lock();
        let mut taken = Callbacks::default();
        // From the last to be run to the first, so that each is put before the rest: an account,
        // then those below it.
        let mut next = account;
        loop {
            taken = core::mem::take(&mut tree.at(next).callbacks).before(taken);
            if tree.at(next).below != 0 {
                next = tree.at(next).below;
                continue;
            }
            while next != account && tree.at(next).next == 0 {
                next = tree.at(next).parent;
            }
            if next == account {
                return taken;
            }
            next = tree.at(next).next;
        }
    }

    pub(crate) fn before_fork(&self) {
        self.tree.hold_for_fork();
    }

    /// # Safety
    /// As [`Guarded::release_after_fork`].
    pub(crate) unsafe fn after_fork(&self) {
        // SAFETY: The caller called `before_fork` on this thread, or on the one that forked it.
        unsafe { self.tree.release_after_fork() };
    }
}

impl Tree {
    /// The account of an index that was made.
    fn at(&mut self, index: u32) -> &mut Account {
        let (chunk, place) = place(index);
        debug_assert!(index != 0 && index <= self.made);
        // SAFETY: The index was made, so its chunk was mapped, with room for that place.
        let account = unsafe { self.chunks[chunk].add(place) };
        // SAFETY: The account was written when its index was made; accounts are reached through
        // `self` only, which is borrowed.
        unsafe { &mut *account }
    }

    fn take(&mut self) -> Result<u32, SourceError> {
        if self.free != 0 {
            let index = self.free;
            self.free = self.at(index).parent;
            return Ok(index);
        }
        let index = self.made + 1;
        if index >= Standing::LAST_ACCOUNT {
            return Err(SourceError::Exhausted);
        }
        let (chunk, place) = place(index);
        if self.chunks[chunk].is_null() {
            let bytes = size_of::<Account>() << (FIRST as usize + chunk);
            let bytes = bytes.next_multiple_of(sys::page_size());
            self.chunks[chunk] = sys::map(bytes).map_err(SourceError::System)?.as_ptr().cast();
        }
        // SAFETY: The chunk has room for that place.
        let account = unsafe { self.chunks[chunk].add(place) };
        // SAFETY: The pages were mapped for accounts, and are aligned for them; nobody reached this
        // one yet.
        unsafe { account.write(Account::FREE) };
        self.made = index;
        Ok(index)
    }

    /// Frees an account that nobody has, and those above it that nobody has then.
    fn free_unused(&mut self, mut index: u32) {
        while index != 0 {
            let free = self.free;
            let this = self.at(index);
            if !this.is_unused() {
                return;
            }
            debug_assert!(this.figures.held == 0 && this.callbacks.0.is_none());
            let parent = this.parent;
            self.unlink(index);
            self.at(index).parent = free;
            self.free = index;
            index = parent;
        }
    }

    /// Charges an account and those above, or none of them: the level that has no room then, from 2
    /// on.
    fn charge(&mut self, first: u32, bytes: usize, beyond: usize) -> Result<(), u32> {
        let (mut next, mut level) = (first, 2);
        while next != 0 {
            let Account { figures, parent, .. } = self.at(next);
            if figures.held.saturating_add(bytes) > figures.limit.saturating_add(beyond) {
                return Err(level);
            }
            (next, level) = (*parent, level + 1);
        }
        self.add(first, bytes);
        Ok(())
    }

    fn add(&mut self, first: u32, bytes: usize) {
        self.each_above(first, |figures| {
            figures.held += bytes;
            figures.total = figures.total.wrapping_add(bytes as u64);
            figures.peak = figures.peak.max(figures.held);
        });
    }

    fn refund(&mut self, first: u32, bytes: usize) {
        self.each_above(first, |figures| figures.held -= bytes);
    }

    /// Changes the figures of an account and of all above it; of none for 0.
    fn each_above(&mut self, mut next: u32, mut change: impl FnMut(&mut AccountFigures)) {
        while next != 0 {
            let Account { figures, parent, .. } = self.at(next);
            change(figures);
            next = *parent;
        }
    }

    /// The account at a level above a heap, from 2 on, if there is one.
    fn at_level(&mut self, heap: ControlRef, level: u32) -> Option<&mut Account> {
        let mut account = if level > 1 { heap.standing().account() } else { 0 };
        for _ in 2..level {
            if account != 0 {
                account = self.at(account).parent;
            }
        }
        (account != 0).then(|| self.at(account))
    }

    fn look(&mut self, index: u32) -> AccountView {
        let Account { name, figures, parent, heaps, .. } = *self.at(index);
        AccountView { name, figures, parent, heaps }
    }

    /// Puts an account below another one, or at the top for 0.
    fn link(&mut self, index: u32, parent: u32) {
        self.at(index).parent = parent;
        if parent == 0 {
            return;
        }
        let next = core::mem::replace(&mut self.at(parent).below, index);
        (self.at(index).next, self.at(index).previous) = (next, 0);
        if next != 0 {
            self.at(next).previous = index;
        }
    }

    /// Takes an account from below the one above it.
    fn unlink(&mut self, index: u32) {
        let Account { parent, next, previous, .. } = *self.at(index);
        (self.at(index).next, self.at(index).previous) = (0, 0);
        if parent == 0 {
            return;
        }
        if next != 0 {
            self.at(next).previous = previous;
        }
        match previous {
            0 => self.at(parent).below = next,
            _ => self.at(previous).next = next,
        }
    }
}

impl Account {
    const FREE: Self = Self {
        parent: 0,
        below: 0,
        next: 0,
        previous: 0,
        handles: 0,
        heaps: 0,
        figures: AccountFigures::NONE,
        callbacks: Callbacks(None),
        name: Name::NONE,
    };

    fn is_unused(&self) -> bool {
        self.handles == 0 && self.heaps == 0 && self.below == 0
    }
}

/// The chunk of an index, and the place in it.
fn place(index: u32) -> (usize, usize) {
    let chunk = ((index >> FIRST) + 1).ilog2();
    let before = ((1_u32 << chunk) - 1) << FIRST;
    (chunk as usize, (index - before) as usize)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn each_index_has_a_place_of_its_own() {
        let mut expected = (0, 0);
        for index in 0..100_000 {
            assert_eq!(place(index), expected, "{index}");
            expected.1 += 1;
            if expected.1 == 32 << expected.0 {
                expected = (expected.0 + 1, 0);
            }
        }
        assert!(place(Standing::LAST_ACCOUNT - 1).0 < CHUNKS);
    }

    #[test]
    fn an_account_takes_two_cache_lines() {
        assert_eq!(size_of::<Account>(), 128);
    }
}
