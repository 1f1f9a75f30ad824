// The examples use memory maps: without `std`, rustdoc finds none to run.
#![cfg(any(feature = "std", not(doctest)))]
//! A heap of its own for each request, query, task or frame, behind the `Vec`, `String` and
//! `HashMap` that you use already: a `#[global_allocator]` that switches, per thread and at run
//! time, between a heap for each context, a lockless heap for each thread, and any other allocator.
//!
//! ```
//! context_allocator::global_thread_and_coroutine_switchable_allocator!(static ALLOC);
//!
//! let heap = ALLOC.heap_with_limit(64 << 20)?; // for one request: at most 64 MiB
//! let words: usize = heap.enter(|| "GET / HTTP/1.1".split(' ').map(String::from).count());
//! drop(heap); // its memory serves the next heap
//! # assert_eq!(words, 3);
//! # Ok::<(), context_allocator::AllocError>(())
//! ```
//!
//! Begin with `SwitchableAllocator` and `Heap`, or with an allocator by itself, such as
//! [`BumpAllocator`], over a source of memory, such as `MmapSource`. The repository's README says
//! what it costs; docs/choosing.md has recipes.
//!
//! Features: `std` (default): Linux, memory maps, the switchable allocator; `allocator-api2-02`,
//! `-03`, `-04` and `nightly`: `&allocator` is an `Allocator` of that crate, or of the standard
//! library; `collections`: `Vec`, maps, `Rc`, `Arc`, `String` in an allocator; `futures`,
//! `http-body`, `tower`: streams, bodies and requests in heaps; `testing`: tests for allocators and
//! sources of your own.
#![no_std]
#![deny(clippy::must_use_candidate, clippy::return_self_not_must_use)]
#![cfg_attr(feature = "nightly", feature(allocator_api))]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "collections")]
extern crate alloc as std_alloc;
#[cfg(any(feature = "std", test))]
extern crate std;

// What follows is compiled where it can be; elsewhere, one sentence stands for all of it. (Of
// macros, rustfmt looks for modules in those of this name alone.)
macro_rules! cfg_if {
    (if #[cfg($runs:meta)] { $($item:item)* } else { $($refusal:item)* }) => {
        $(#[cfg($runs)] $item)*
        $(#[cfg(not($runs))] $refusal)*
    };
}

cfg_if! { if #[cfg(any(not(feature = "std"), target_os = "linux"))] {

pub mod adapt;
pub mod alloc;
#[cfg(feature = "collections")]
pub mod collections;
pub mod error;
mod layout;
mod list;
mod misuse;
#[cfg(feature = "std")]
mod page_map;
mod ptr;
pub mod size;
pub mod source;
#[cfg(feature = "std")]
pub mod switch;
mod sync;
mod sys;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(any(
    feature = "std",
    feature = "allocator-api2-02",
    feature = "allocator-api2-03",
    feature = "allocator-api2-04",
    feature = "nightly"
))]
mod unwind;

/// Locks, for allocators that threads share.
pub mod lock {
    pub use crate::sync::{RawLock, SpinFutexLock};
}

#[cfg(feature = "std")]
#[doc(inline)]
pub use alloc::MmapAllocator;
#[doc(inline)]
pub use alloc::{
    Allocator, BitSetAllocator, BumpAllocator, ContextAllocator, Locked, MultipleBinarySearchTreeAllocator,
    SlabAllocator,
};
#[doc(inline)]
pub use error::AllocError;
#[doc(inline)]
pub use layout::NonZeroLayout;
#[cfg(feature = "std")]
#[doc(inline)]
pub use source::MmapSource;
#[doc(inline)]
pub use source::{ArenaSource, MemorySource};
#[cfg(feature = "std")]
#[doc(inline)]
pub use switch::{Builder, HasCoroutineTier, Heap, SwitchableAllocator, Tiers};

} else {
    compile_error!("the feature `std` of context-allocator needs Linux; on other systems, and without one, write `default-features = false`");
}}

/// The pages of docs/ whose programs are tests.
#[cfg(all(doctest, feature = "collections", feature = "testing"))]
mod pages {
    #[doc = include_str!("../README.md")]
    struct Readme;
    #[doc = include_str!("../docs/choosing.md")]
    struct Choosing;
    #[doc = include_str!("../docs/extending.md")]
    struct Extending;
}

// Here, since the crate cannot name exported macros by path that another macro's expansion
// declares.
#[cfg(all(feature = "std", target_os = "linux"))]
#[path = "switch/macros.rs"]
mod macros;

#[cfg(all(test, loom))]
#[path = "../loom-tests/mod.rs"]
mod loom_tests;
