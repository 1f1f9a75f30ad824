//! The tests that build something: examples, programs that must not compile, a user's crate.

#[cfg(feature = "std")]
mod compile_fail;
#[cfg(all(feature = "std", feature = "collections"))]
mod example_collections;
#[cfg(feature = "std")]
mod example_coroutines;
#[cfg(feature = "std")]
mod names;
#[cfg(all(feature = "std", not(miri)))]
mod parse_sources;
#[cfg(feature = "std")]
mod users_crate;
