//! Scopes of the other tiers, and contexts that are saved.

use core::fmt;
use core::marker::PhantomData;

use super::allocator::{Declaration, HasThreadTier, SwitchableAllocator};
use super::context::{Context, tier};

impl<D: Declaration> SwitchableAllocator<D> {
    /// Runs `f` with the global tier current; afterwards, even if `f` panics, the tier from before
    /// is current again.
    ///
    /// # Examples
    /// ```
    /// context_allocator::global_thread_and_coroutine_switchable_allocator!(static ALLOC);
    ///
    /// let heap = ALLOC.heap().expect("memory for a heap");
    /// heap.enter(|| {
    ///     // Outlives the heap, so it should not keep the heap's memory alive.
    ///     let cached = ALLOC.with_global(|| String::from("for everybody"));
    ///     assert_eq!(heap.statistics().live_blocks, 0);
    ///     cached
    /// });
    /// ```
    #[inline]
    pub fn with_global<R>(&self, f: impl FnOnce() -> R) -> R {
        self.with_tier(tier::GLOBAL, f)
    }

    /// Runs `f` with the thread tier current; afterwards, even if `f` panics, the tier from before
    /// is current again.
    ///
    /// The heap is that of the thread that allocates. In destructors that run when the thread has
    /// given its heap back, the global tier stands in.
    #[inline]
    pub fn with_thread<R>(&self, f: impl FnOnce() -> R) -> R
    where
        D: HasThreadTier,
    {
        self.with_tier(tier::DEFAULT, f)
    }

    /// Runs `f` outside all heaps, in the thread tier or, if there is none, in the global tier;
    /// afterwards, even if `f` panics, what was current before is current again.
    ///
    /// For what should not live in a request's heap: statics that are made on first use, pools,
    /// spans, the spawning of tasks; and for calls that run other people's work while they wait, as
    /// `rayon::join` does.
    ///
    /// # Examples
    /// ```
    /// use std::sync::LazyLock;
    ///
    /// context_allocator::global_thread_and_coroutine_switchable_allocator!(static ALLOC);
    ///
    /// static WORDS: LazyLock<Vec<String>> =
    ///     LazyLock::new(|| ALLOC.outside(|| vec![String::from("for everybody")]));
    ///
    /// let heap = ALLOC.heap()?;
    /// assert_eq!(heap.enter(|| WORDS.len()), 1);
    /// assert_eq!(heap.statistics().live_blocks, 0);
    /// # Ok::<(), context_allocator::AllocError>(())
    /// ```
    #[inline]
    pub fn outside<R>(&self, f: impl FnOnce() -> R) -> R {
        self.with_tier(tier::DEFAULT, f)
    }

    #[inline]
    fn with_tier<R>(&self, wanted: usize, f: impl FnOnce() -> R) -> R {
        struct Restore<D: Declaration>(usize, PhantomData<D>);
        impl<D: Declaration> Drop for Restore<D> {
            fn drop(&mut self) {
                set_tier::<D>(self.0);
            }
        }
        let _restore = Restore::<D>(set_tier::<D>(wanted), PhantomData);
        f()
    }

    /// Makes `context` current in this thread, and returns what was: two calls around a stack
    /// switch save and restore everything.
    ///
    /// A coroutine begins with `SavedContext::default()`. Before a thread resumes it:
    /// `let host = ALLOC.switch(coroutine_context)`; when it has suspended:
    /// `coroutine_context = ALLOC.switch(host)`. The coroutine's heaps then follow it between
    /// threads.
    ///
    /// Without these calls a coroutine shares the thread's context, soundly but confusingly: what
    /// it leaves entered stays current after it has suspended.
    ///
    /// A context holds the heaps entered in it: they can be entered nowhere else until they are
    /// left. Dropping a saved context leaves them all.
    ///
    /// The thread tier is that of the thread that runs, so a context in that tier means another
    /// heap on another thread.
    #[inline(never)]
    pub fn switch(&self, context: SavedContext<D>) -> SavedContext<D> {
        let current = Self::current_thread();
        current.save();
        let saved = SavedContext { context: current.context(), declaration: PhantomData };
        current.load(context.into_inner());
        saved
    }
}

/// Makes a tier current over the heaps that are entered, and returns the one that was. Not inlined:
/// the code around it may have run on different threads.
#[inline(never)]
pub(super) fn set_tier<D: Declaration>(wanted: usize) -> usize {
    let current = SwitchableAllocator::<D>::current_thread();
    let before = current.context().tier();
    current.change_tier(wanted);
    before
}

/// What was current in a thread: a tier, over the heaps that were entered. See
/// [`SwitchableAllocator::switch`].
///
/// It can be sent to another thread. The default is the context of a thread that entered nothing.
#[must_use = "dropping a saved context leaves all heaps that are entered in it"]
pub struct SavedContext<D: Declaration> {
    context: Context,
    declaration: PhantomData<D>,
}

// SAFETY: A context owns the entries of its heaps: while it is saved no thread uses them, and
// whoever switches to it becomes the one that does. The heaps may be used on any thread
// (`LocalAllocator: Send`), and sending the context orders their uses.
unsafe impl<D: Declaration> Send for SavedContext<D> {}

impl<D: Declaration> SavedContext<D> {
    fn into_inner(self) -> Context {
        let context = self.context;
        core::mem::forget(self);
        context
    }
}

impl<D: Declaration> Default for SavedContext<D> {
    fn default() -> Self {
        Self { context: Context::DEFAULT, declaration: PhantomData }
    }
}

impl<D: Declaration> Drop for SavedContext<D> {
    /// Leaves the heaps that are entered in it.
    fn drop(&mut self) {
        // SAFETY: The context is dropped, and nobody else has it.
        unsafe { D::allocator().leave_all(self.context) };
    }
}

impl<D: Declaration> fmt::Debug for SavedContext<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SavedContext").finish_non_exhaustive()
    }
}
