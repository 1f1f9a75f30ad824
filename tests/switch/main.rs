//! Tests of the switchable allocator that need no process of their own: a module for each thing
//! that is tested.

#![cfg(feature = "testing")]

mod accounts;
mod faults;
mod fork_shared;
mod future;
mod heap_allocator;
mod holes;
mod large;
mod let_go;
mod limits;
mod locked;
mod model;
mod nested;
mod policy;
mod regions;
mod remote_cache;
mod slab;
mod thread_end;

#[path = "../support/mod.rs"]
mod support;
