//! What is measured. Each case is a function that does the same thing so many times.

pub mod alone;
pub mod batch;
pub mod bump;
pub mod churn;
pub mod classes;
mod description;
pub mod direct;
pub mod growth;
pub mod json;
pub mod large;
pub mod larson;
#[cfg(any(feature = "mimalloc-2", feature = "mimalloc-3"))]
pub mod mimalloc_heap;
pub mod pair;
pub mod region;
pub mod remote;
pub mod request;
pub mod thread;

pub use description::{Case, Description, Kind, Role};

/// A way to run code on the global allocator of the program.
pub trait Tier {
    /// What it is called.
    const NAME: &'static str;
    /// What it is in a comparison.
    const ROLE: Role;
    /// Whether it is meant for blocks that come and go for long.
    const LASTING: bool = true;

    /// Runs `f` there, on any thread; what `f` does is a context of its own where the tier has
    /// contexts.
    fn within<R>(f: impl FnOnce() -> R) -> R;
}

/// The cases that run on any global allocator.
pub fn everywhere<T: Tier>() -> Vec<Case> {
    let mut cases = pair::cases::<T>();
    cases.extend(batch::cases::<T>());
    cases.extend(churn::cases::<T>());
    cases.extend(request::cases::<T>());
    cases.extend(json::cases::<T>());
    cases.extend(remote::cases::<T>());
    cases.extend(larson::cases::<T>());
    cases.extend(growth::cases::<T>());
    cases.extend(large::cases::<T>());
    cases.extend(thread::cases::<T>());
    cases.extend(crate::memory::cases::<T>());
    cases.extend(crate::programs::cases::<T>());
    cases
}
