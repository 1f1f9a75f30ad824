//! Tests of collections, values and adaptors to other traits that need no process of their own: a
//! module for each thing that is tested.

#![cfg(feature = "testing")]
#![cfg_attr(feature = "nightly", feature(allocator_api, btreemap_alloc))]

mod adaptors;
#[cfg(feature = "collections")]
mod collections;
#[cfg(feature = "collections")]
mod shared_values;
#[cfg(feature = "collections")]
mod strings;

#[path = "../support/mod.rs"]
mod support;
