//! Collections in this library's allocators (feature `collections`).
//!
//! Aliases for those of allocator-api2 and hashbrown with the adaptor written out, and [`Rc`],
//! [`Arc`] and [`String`], for which stable Rust has no well-kept crate. To make one, adapt an
//! allocator, or a reference to one:
//!
//! ```
//! use context_allocator::collections::{HashMap, String, Vec};
//! use context_allocator::{Allocator, BumpAllocator, MmapSource};
//!
//! let bump = BumpAllocator::new(MmapSource::new());
//! let mut words: HashMap<String<&BumpAllocator<MmapSource>>, usize, _> =
//!     HashMap::with_hasher_in(Default::default(), (&bump).adapt());
//! let mut order = Vec::new_in((&bump).adapt());
//! for word in "the quick fox and the lazy dog".split(' ') {
//!     *words.entry(String::from_str_in(word, &bump)).or_insert(0) += 1;
//!     order.push(word.len());
//! }
//! assert_eq!((words["the"], order.len()), (2, 7));
//! ```
//! With the feature `nightly`, `collections::nightly` has the same for the collections of the
//! standard library.

mod count;
mod counted;
mod string;

pub use allocator_api2_02::collections::TryReserveError;
pub use count::{Atomic, Count, Unshared};
pub use counted::{Arc, ArcWeak, Counted, Rc, RcWeak, WeakCounted};
pub use hashbrown::DefaultHashBuilder;
pub use string::String;

use crate::adapt::AllocatorAdaptor;

/// A vector in an allocator of this library.
pub type Vec<T, A> = allocator_api2_02::vec::Vec<T, AllocatorAdaptor<A>>;
/// A value in an allocator of this library.
pub type Box<T, A> = allocator_api2_02::boxed::Box<T, AllocatorAdaptor<A>>;
/// A hash map in an allocator of this library.
pub type HashMap<K, V, A, S = DefaultHashBuilder> = hashbrown::HashMap<K, V, S, AllocatorAdaptor<A>>;
/// A hash set in an allocator of this library.
pub type HashSet<T, A, S = DefaultHashBuilder> = hashbrown::HashSet<T, S, AllocatorAdaptor<A>>;

/// The standard library's collections in this library's allocators (feature `nightly`).
#[cfg(feature = "nightly")]
pub mod nightly {
    use crate::adapt::AllocatorAdaptor;

    /// A vector in an allocator of this library.
    pub type Vec<T, A> = std_alloc::vec::Vec<T, AllocatorAdaptor<A>>;
    /// A value in an allocator of this library.
    pub type Box<T, A> = std_alloc::boxed::Box<T, AllocatorAdaptor<A>>;
    /// A double-ended queue in an allocator of this library.
    pub type VecDeque<T, A> = std_alloc::collections::VecDeque<T, AllocatorAdaptor<A>>;
    /// A sorted map in an allocator of this library.
    pub type BTreeMap<K, V, A> = std_alloc::collections::BTreeMap<K, V, AllocatorAdaptor<A>>;
    /// A sorted set in an allocator of this library.
    pub type BTreeSet<T, A> = std_alloc::collections::BTreeSet<T, AllocatorAdaptor<A>>;
    /// A binary heap in an allocator of this library.
    pub type BinaryHeap<T, A> = std_alloc::collections::BinaryHeap<T, AllocatorAdaptor<A>>;
    /// A value with several owners on one thread in an allocator of this library.
    pub type Rc<T, A> = std_alloc::rc::Rc<T, AllocatorAdaptor<A>>;
    /// A value with several owners on any threads in an allocator of this library.
    pub type Arc<T, A> = std_alloc::sync::Arc<T, AllocatorAdaptor<A>>;
}
