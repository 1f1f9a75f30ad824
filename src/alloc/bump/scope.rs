//! Scopes: what is allocated in one is freed at its end.

use core::fmt;
use core::marker::PhantomData;
use core::ops::Deref;
use core::ptr::NonNull;

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
///
/// `'scope` is the scope itself, and `'env` what is around it: values in the scope may borrow from
/// there, as in [`std::thread::scope`](https://doc.rust-lang.org/std/thread/fn.scope.html).
pub struct Scope<'scope, 'env: 'scope, S: MemorySource> {
    /// Borrowed for `'scope`. As a reference it would tell the compiler that `S` outlives the
    /// scope, which it then asks of what the values borrow too.
    bump: NonNull<BumpAllocator<S>>,
    /// Invariant, so that the references from one scope are not taken for those of another.
    life: PhantomData<(Invariant<'scope>, Invariant<'env>)>,
}

type Invariant<'a> = fn(&'a ()) -> &'a ();

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
    pub fn scope<'env, R>(&'env mut self, f: impl for<'scope> FnOnce(Scope<'scope, 'env, S>) -> R) -> R {
        run(self, f)
    }
}

impl<S: MemorySource> Scope<'_, '_, S> {
    /// Runs `f` in an inner scope, as [`BumpAllocator::scope`].
    pub fn scope<'env, R>(&'env mut self, f: impl for<'scope> FnOnce(Scope<'scope, 'env, S>) -> R) -> R {
        run(&**self, f)
    }
}

/// Runs `f` in a new scope of `bump`, which the caller has borrowed for itself: directly, or as the
/// innermost scope.
fn run<'env, S: MemorySource, R>(
    bump: &'env BumpAllocator<S>,
    f: impl for<'scope> FnOnce(Scope<'scope, 'env, S>) -> R,
) -> R {
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
    f(Scope { bump: NonNull::from(rewind.0), life: PhantomData })
}

/// The allocator, for collections; they borrow the scope.
impl<S: MemorySource> Deref for Scope<'_, '_, S> {
    type Target = BumpAllocator<S>;

    fn deref(&self) -> &BumpAllocator<S> {
        // SAFETY: `run` has borrowed the allocator until the scope's end.
        unsafe { self.bump.as_ref() }
    }
}

impl<S: MemorySource> fmt::Debug for Scope<'_, '_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").finish_non_exhaustive()
    }
}
