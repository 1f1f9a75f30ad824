//! Another global allocator, as its crate ships it, chosen by the feature that is called like it.

use figures::cases::{self, Case, Role, Tier};
use figures::situations;

/// The peer of a feature.
macro_rules! peer {
    ($feature:literal, $($install:tt)*) => {
        #[cfg(feature = $feature)]
        mod chosen {
            pub const NAME: &str = $feature;
            $($install)*
        }
    };
}

peer!(
    "glibc",
    #[global_allocator]
    static ALLOC: std::alloc::System = std::alloc::System;
);
peer!(
    "jemalloc",
    #[global_allocator]
    static ALLOC: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
);
peer!(
    "mimalloc-2",
    #[global_allocator]
    static ALLOC: mimalloc::MiMalloc = mimalloc::MiMalloc;
);
peer!(
    "mimalloc-3",
    #[global_allocator]
    static ALLOC: mimalloc::MiMalloc = mimalloc::MiMalloc;
);
peer!(
    "numalloc",
    #[global_allocator]
    static ALLOC: numalloc::NumaAlloc = numalloc::NumaAlloc::new();
);
peer!("rallocator", rallocator::rallocator!(););
peer!(
    "rpmalloc",
    #[global_allocator]
    static ALLOC: rpmalloc::RpMalloc = rpmalloc::RpMalloc;
);
peer!(
    "snmalloc",
    #[global_allocator]
    static ALLOC: snmalloc_rs::SnMalloc = snmalloc_rs::SnMalloc;
);
peer!(
    "tcmalloc",
    #[global_allocator]
    static ALLOC: tcmalloc_better::TCMalloc = tcmalloc_better::TCMalloc;
);

/// The only way to run code on it.
pub struct Plain;

impl Tier for Plain {
    const NAME: &'static str = chosen::NAME;
    const ROLE: Role = Role::Peer;

    #[inline(always)]
    fn within<R>(f: impl FnOnce() -> R) -> R {
        f()
    }
}

/// The cases.
pub fn cases() -> Vec<Case> {
    let mut cases = cases::everywhere::<Plain>();
    cases.extend(cases::region::without::<Plain>());
    cases.extend(situations::everywhere::<Plain>());
    cases.extend(situations::without::<Plain>());
    #[cfg(any(feature = "mimalloc-2", feature = "mimalloc-3"))]
    cases.extend(cases::mimalloc_heap::cases());
    cases
}
