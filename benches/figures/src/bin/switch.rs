//! The cases on the switchable allocator with the recommended tiers.

use std::process::ExitCode;

use figures::cases::{self, Role, Tier};
use figures::subject;

context_allocator::global_thread_and_coroutine_switchable_allocator!(static ALLOC);

struct Coroutine;

impl Tier for Coroutine {
    const NAME: &'static str = "coroutine tier";
    const ROLE: Role = Role::Ours;

    #[inline(always)]
    fn within<R>(f: impl FnOnce() -> R) -> R {
        ALLOC.heap().expect("memory for a heap").enter(f)
    }
}

struct Thread;

impl Tier for Thread {
    const NAME: &'static str = "thread tier";
    const ROLE: Role = Role::Ours;

    #[inline(always)]
    fn within<R>(f: impl FnOnce() -> R) -> R {
        ALLOC.with_thread(f)
    }
}

struct Global;

impl Tier for Global {
    const NAME: &'static str = "global tier (system)";
    const ROLE: Role = Role::Ours;

    #[inline(always)]
    fn within<R>(f: impl FnOnce() -> R) -> R {
        ALLOC.with_global(f)
    }
}

fn main() -> ExitCode {
    let mut cases = cases::everywhere::<Coroutine>();
    cases.extend(cases::everywhere::<Thread>());
    cases.extend(cases::everywhere::<Global>());
    cases.extend(cases::region::heaps::<ALLOC>());
    subject::main(&cases)
}
