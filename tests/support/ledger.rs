//! The library's ledger, from which tests take blocks out.

pub use context_allocator::testing::ledger::{Held, Ledger, Way};

use context_allocator::Allocator;

/// Blocks that change hands. Tests free each of them once, by a ledger of the allocator that it is
/// from, or leave it.
pub trait Taking {
    /// As [`Ledger::take_out`].
    fn take(&mut self, address: usize) -> Held;
    /// As [`Ledger::take_all_out`].
    fn take_all(&mut self) -> Vec<Held>;
}

impl<A: Allocator + ?Sized> Taking for Ledger<'_, A> {
    fn take(&mut self, address: usize) -> Held {
        // SAFETY: What tests do with blocks, as the trait says.
        unsafe { self.take_out(address) }
    }

    fn take_all(&mut self) -> Vec<Held> {
        // SAFETY: As above.
        unsafe { self.take_all_out() }
    }
}
