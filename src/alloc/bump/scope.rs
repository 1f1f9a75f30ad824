//! Scopes: what is allocated in one is freed at its end.

use core::fmt;
use core::marker::PhantomData;
use core::ops::Deref;

use super::{BumpAllocator, Checkpoint};
use crate::source::MemorySource;

/// A scope of a [`BumpAllocator`], made by [`BumpAllocator::scope`]: what is allocated in it is
/// freed when it ends.
///
/// A reference from [`alloc`](Self::alloc) and its kin may be used until then, in inner scopes too.
/// A collection that borrows the scope may not be: while it is there, an inner scope cannot begin.
///
/// # Examples
/// ```
/// use context_allocator::{BumpAllocator, MmapSource};
///
/// let mut bump = BumpAllocator::new(MmapSource::new());
/// let longest = bump.scope(|mut outer| {
///     let words = outer.alloc_iter("the words of a line".split(' '));
///     let longest = outer.scope(|inner| {
///         let lengths = inner.alloc_iter(words.iter().map(|word| word.len()));
///         lengths.iter().copied().max()
///     });
///     // The inner scope is gone, the words are not.
///     words.iter().find(|word| Some(word.len()) == longest).map(|word| word.to_string())
/// });
/// assert_eq!(longest.as_deref(), Some("words"));
/// ```
///
/// Nothing of an inner scope outlives it:
/// ```compile_fail
/// use context_allocator::{BumpAllocator, MmapSource};
///
/// let mut bump = BumpAllocator::new(MmapSource::new());
/// bump.scope(|mut outer| {
///     let escaped = outer.scope(|inner| inner.alloc(1));
///     *escaped += 1;
/// });
/// ```
pub struct Scope<'a, S: MemorySource> {
    bump: &'a BumpAllocator<S>,
    /// Invariant, so that the references from one scope are not taken for those of another.
    life: PhantomData<fn(&'a ()) -> &'a ()>,
}

impl<S: MemorySource> BumpAllocator<S> {
    /// Runs `f` in a scope; at its end, even if `f` panics, frees what was allocated meanwhile.
    ///
    /// Scopes nest, by [`Scope::scope`]. Values are not dropped.
    ///
    /// # Examples
    /// ```
    /// use context_allocator::{Allocator, BumpAllocator, MmapSource, NonZeroLayout};
    ///
    /// let mut bump = BumpAllocator::new(MmapSource::new());
    /// let layout = NonZeroLayout::of::<u64>().unwrap();
    /// let first = bump.scope(|bump| bump.allocate(layout).map(|block| block.addr()));
    /// let second = bump.scope(|bump| bump.allocate(layout).map(|block| block.addr()));
    /// assert_eq!(first, second);
    /// ```
    pub fn scope<R>(&mut self, f: impl for<'a> FnOnce(Scope<'a, S>) -> R) -> R {
        run(self, f)
    }
}

impl<S: MemorySource> Scope<'_, S> {
    /// Runs `f` in an inner scope, as [`BumpAllocator::scope`].
    pub fn scope<R>(&mut self, f: impl for<'b> FnOnce(Scope<'b, S>) -> R) -> R {
        run(self.bump, f)
    }
}

/// Runs `f` in a new scope of `bump`, which the caller has borrowed for itself: directly, or as the
/// innermost scope.
fn run<S: MemorySource, R>(bump: &BumpAllocator<S>, f: impl for<'b> FnOnce(Scope<'b, S>) -> R) -> R {
    struct Rewind<'a, S: MemorySource>(&'a BumpAllocator<S>, Checkpoint);
    impl<S: MemorySource> Drop for Rewind<'_, S> {
        fn drop(&mut self) {
            // SAFETY: The checkpoint is this allocator's. The allocator or the innermost scope was
            // borrowed mutably when it was made, so no collection that borrows either held an older
            // block that it could resize or free; of values that were allocated as references,
            // none is. What was allocated since borrows the scope, or lives as long as its
            // lifetime, which `f` does not know and cannot let out. `f` cannot reset the allocator,
            // and inner scopes are over; the caller of `rewind` promises not to go back beyond a
            // scope that is running.
            unsafe { self.0.rewind(self.1) };
        }
    }
    let rewind = Rewind(bump, bump.checkpoint());
    f(Scope { bump: rewind.0, life: PhantomData })
}

/// The allocator, for collections; they borrow the scope.
impl<S: MemorySource> Deref for Scope<'_, S> {
    type Target = BumpAllocator<S>;

    fn deref(&self) -> &BumpAllocator<S> {
        self.bump
    }
}

impl<S: MemorySource> fmt::Debug for Scope<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").finish_non_exhaustive()
    }
}
