//! Tests of memory sources that need no process of their own: a module for each thing that is
//! tested.

#![cfg(feature = "testing")]

#[cfg(target_os = "linux")]
mod forwarding_sources;
#[cfg(target_os = "linux")]
mod misuse_sources;
mod mmap;
mod mmap_huge;
#[cfg(target_os = "linux")]
mod mmap_limits;
mod runs;
#[cfg(target_os = "linux")]
mod shared_maps;
#[cfg(target_os = "linux")]
mod shared_maps_limit;
mod source_adaptors;
mod source_lengths;
mod source_stacks;
mod sources;

#[path = "../support/mod.rs"]
mod support;
