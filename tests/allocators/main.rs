//! Tests of allocators that need no process of their own: a module for each thing that is tested.

#![cfg(feature = "testing")]

mod allocators;
mod bit_set;
mod bit_set_places;
mod bit_set_zeroed;
mod bump;
mod bump_values;
mod context;
mod forwarding;
mod held;
mod long_model;
mod misuse;
mod mmap_allocator;
mod sharded;
mod sharded_held;
mod sharded_misuse;
mod slab;
mod support_itself;
mod tree;

#[path = "../support/mod.rs"]
mod support;
