//! The cases on the system's allocator, and those that no global allocator serves.

use std::process::ExitCode;

use figures::cases::{self, Role, Tier};
use figures::subject;

#[global_allocator]
static ALLOC: std::alloc::System = std::alloc::System;

struct Plain;

impl Tier for Plain {
    const NAME: &'static str = "system";
    const ROLE: Role = Role::Peer;

    #[inline(always)]
    fn within<R>(f: impl FnOnce() -> R) -> R {
        f()
    }
}

fn main() -> ExitCode {
    let mut cases = cases::everywhere::<Plain>();
    cases.extend(cases::region::without::<Plain>());
    cases.push(cases::pair::harness());
    cases.extend(cases::classes::cases());
    cases.extend(cases::bump::cases());
    cases.extend(cases::alone::cases());
    cases.extend(cases::region::arenas());
    cases.extend(cases::growth::cases());
    subject::main(&cases)
}
