//! Collections in this library's allocators (feature `collections`).
//!
//! The vector and box of allocator-api2 and the hash maps of hashbrown, and [`Rc`], [`Arc`] and
//! [`String`], for which stable Rust has no well-kept crate. All take a reference to an allocator
//! of this library, or to a [`Heap`](crate::Heap):
//!
//! ```
//! use context_allocator::collections::{HashMap, String, Vec};
//! use context_allocator::{BumpAllocator, MmapSource};
//!
//! let bump = BumpAllocator::new(MmapSource::new());
//! let mut words = HashMap::new_in(&bump);
//! let mut order = Vec::new_in(&bump);
//! for word in "the quick fox and the lazy dog".split(' ') {
//!     *words.entry(String::from_str_in(word, &bump)).or_insert(0) += 1;
//!     order.push(word.len());
//! }
//! assert_eq!((words["the"], order.len()), (2, 7));
//! ```
//! A collection that owns its allocator, or shares it through a pointer that counts, takes
//! `allocator.adapt()`.
//!
//! With the feature `nightly`, the collections of the standard library take the same references.

mod count;
mod counted;
mod string;

pub use allocator_api2_02::collections::TryReserveError;
pub use count::{Atomic, Count, Unshared};
pub use counted::{Arc, ArcWeak, Counted, Rc, RcWeak, WeakCounted};
pub use hashbrown::DefaultHashBuilder;
pub use string::{Bytes, String};

pub use allocator_api2_02::boxed::Box;
pub use allocator_api2_02::vec::Vec;

/// A hash map in the allocator `A`, such as `&BumpAllocator<MmapSource>`.
pub type HashMap<K, V, A, S = DefaultHashBuilder> = hashbrown::HashMap<K, V, S, A>;
/// A hash set in the allocator `A`, such as `&BumpAllocator<MmapSource>`.
pub type HashSet<T, A, S = DefaultHashBuilder> = hashbrown::HashSet<T, S, A>;
