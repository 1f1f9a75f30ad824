//! What is polled in a heap of its own.

use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll};

use super::allocator::Declaration;
use super::heap::Heap;
use super::polled::{drop_in, poll_in};

/// A future, or something else that is polled, in a heap of its own: made by
/// [`FutureExt::in_heap`](super::FutureExt::in_heap) or [`new`](Self::new).
#[must_use = "a future does nothing unless it is polled"]
pub struct InHeap<F, D: Declaration> {
    /// Pinned with this value. `None` once it was dropped.
    inner: Option<F>,
    heap: Heap<D>,
}

impl<F, D: Declaration> InHeap<F, D> {
    /// Puts a future into a heap, as [`FutureExt::in_heap`](super::FutureExt::in_heap); or a
    /// `Stream` (feature `futures`), or an `http_body::Body` (feature `http-body`).
    pub fn new(inner: F, heap: Heap<D>) -> Self {
        Self { inner: Some(inner), heap }
    }

    /// The heap, for its figures.
    pub fn heap(&self) -> &Heap<D> {
        &self.heap
    }

    /// What is polled, pinned as this value is, and the heap.
    pub(super) fn parts(self: Pin<&mut Self>) -> (Pin<&mut Option<F>>, &Heap<D>) {
        // SAFETY: What is polled is not moved out of it: it is reached as pinned, here and in
        // `drop`.
        let this = unsafe { self.get_unchecked_mut() };
        // SAFETY: It stays where it is until it is dropped, since this value does.
        (unsafe { Pin::new_unchecked(&mut this.inner) }, &this.heap)
    }

    /// What is polled, unless it has ended.
    #[cfg(any(feature = "futures", feature = "http-body"))]
    pub(super) fn inner(&self) -> Option<&F> {
        self.inner.as_ref()
    }
}

impl<F: Future, D: Declaration> Future for InHeap<F, D> {
    type Output = F::Output;

    /// # Panics
    /// If the future is polled after it was ready, or if the heap is entered somewhere else.
    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let (future, heap) = self.parts();
        poll_in(future, heap, |future| future.poll(context), Poll::is_ready)
    }
}

impl<F, D: Declaration> Drop for InHeap<F, D> {
    fn drop(&mut self) {
        // SAFETY: The value is dropped, so it is not moved any more.
        let (inner, heap) = unsafe { Pin::new_unchecked(self) }.parts();
        drop_in(inner, heap);
    }
}

impl<F, D: Declaration> fmt::Debug for InHeap<F, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InHeap").field("heap", &self.heap).finish_non_exhaustive()
    }
}
