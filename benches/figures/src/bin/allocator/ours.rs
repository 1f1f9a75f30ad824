//! This library's switchable allocator with the recommended tiers.

use figures::cases::{self, Case, Role, Tier};
use figures::situations;

context_allocator::global_thread_and_coroutine_switchable_allocator!(static ALLOC);

/// A heap for each thing that is done.
pub struct Coroutine;

impl Tier for Coroutine {
    const NAME: &'static str = "coroutine tier";
    const ROLE: Role = Role::Ours;
    const LASTING: bool = false;

    #[inline(always)]
    fn within<R>(f: impl FnOnce() -> R) -> R {
        ALLOC.heap().expect("memory for a heap").enter(f)
    }
}

/// A heap for each thread.
pub struct Thread;

impl Tier for Thread {
    const NAME: &'static str = "thread tier";
    const ROLE: Role = Role::Ours;

    #[inline(always)]
    fn within<R>(f: impl FnOnce() -> R) -> R {
        ALLOC.with_thread(f)
    }
}

/// What stands behind the others: the system's allocator.
pub struct Global;

impl Tier for Global {
    const NAME: &'static str = "global tier (glibc)";
    const ROLE: Role = Role::Ours;

    #[inline(always)]
    fn within<R>(f: impl FnOnce() -> R) -> R {
        ALLOC.with_global(f)
    }
}

/// The cases in each tier.
pub fn cases() -> Vec<Case> {
    let mut cases = cases::everywhere::<Coroutine>();
    cases.extend(cases::everywhere::<Thread>());
    cases.extend(cases::everywhere::<Global>());
    cases.extend(cases::region::heaps::<ALLOC>());
    cases.extend(situations::everywhere::<Thread>());
    cases.push(situations::trimmed::<ALLOC, Thread>());
    cases.extend(situations::heaps::<ALLOC, Coroutine>());
    cases
}
