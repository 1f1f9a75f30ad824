//! The cases on mimalloc.

use std::process::ExitCode;

use figures::cases::{self, Role, Tier};
use figures::subject;

#[global_allocator]
static ALLOC: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct Plain;

impl Tier for Plain {
    const NAME: &'static str = "mimalloc";
    const ROLE: Role = Role::Peer;

    #[inline(always)]
    fn within<R>(f: impl FnOnce() -> R) -> R {
        f()
    }
}

fn main() -> ExitCode {
    let mut cases = cases::everywhere::<Plain>();
    cases.extend(cases::region::without::<Plain>());
    subject::main(&cases)
}
