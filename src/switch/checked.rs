//! Futures that end with an error when their heap goes over a limit.

use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll, ready};

use super::allocator::Declaration;
use super::heap::Heap;
use super::in_heap::InHeap;
use super::limit::LimitExceeded;
use super::polled::poll_checked_in;
use crate::error::AllocError;

/// As [`InHeap`], and ends with an error if its heap goes over a limit: made by
/// [`InHeap::checked`].
#[must_use = "a future does nothing unless it is polled"]
pub struct Checked<F, D: Declaration>(InHeap<F, D>);

impl<F, D: Declaration> InHeap<F, D> {
    /// Has it end with an error if the heap goes over a limit.
    ///
    /// After each poll, [`Heap::check`] is asked. If the heap is over a limit, the future, and an
    /// output that it has just made, are dropped in the heap, and the output is the error. A poll
    /// is not interrupted: what allocates without end and without an `await` asks
    /// [`check`](super::SwitchableAllocator::check) itself.
    ///
    /// # Examples
    /// ```
    /// use context_allocator::switch::FutureExt;
    ///
    /// context_allocator::global_thread_and_coroutine_switchable_allocator!(static ALLOC);
    ///
    /// async fn runaway() {
    ///     let mut lines = Vec::new();
    ///     loop {
    ///         lines.push(format!("line {}", lines.len()));
    /// #       let mut polled = false;
    /// #       std::future::poll_fn(|_| {
    /// #           if std::mem::replace(&mut polled, true) {
    /// #               std::task::Poll::Ready(())
    /// #           } else {
    /// #               std::task::Poll::Pending
    /// #           }
    /// #       })
    /// #       .await;
    /// #       /*
    ///         tokio::task::yield_now().await;
    /// #       */
    ///     }
    /// }
    ///
    /// # fn block_on<F: Future>(future: F) -> F::Output {
    /// #     let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    /// #     let mut future = std::pin::pin!(future);
    /// #     loop {
    /// #         if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut context) {
    /// #             return output;
    /// #         }
    /// #     }
    /// # }
    /// let heap = ALLOC.heap_with_limit(64 << 10)?;
    /// let error = block_on(runaway().in_heap(heap).checked()).unwrap_err();
    /// assert_eq!(error.limit, 64 << 10);
    /// assert_eq!(ALLOC.statistics().orphans, 0);
    /// # Ok::<(), context_allocator::AllocError>(())
    /// ```
    pub fn checked(self) -> Checked<F, D> {
        Checked(self)
    }
}

impl<F, D: Declaration> Checked<F, D> {
    /// The heap, for its figures.
    pub fn heap(&self) -> &Heap<D> {
        self.0.heap()
    }

    /// What is polled, pinned as this value is, and the heap.
    pub(super) fn parts(self: Pin<&mut Self>) -> (Pin<&mut Option<F>>, &Heap<D>) {
        // SAFETY: The field is pinned as this value is, and nothing else reaches it but by shared
        // reference.
        unsafe { self.map_unchecked_mut(|this| &mut this.0) }.parts()
    }

    /// The same without the check.
    #[cfg(any(feature = "futures", feature = "http-body"))]
    pub(super) fn in_heap(&self) -> &InHeap<F, D> {
        &self.0
    }
}

impl<F: Future, D: Declaration> Future for Checked<F, D> {
    type Output = Result<F::Output, LimitExceeded>;

    /// # Panics
    /// As [`InHeap`].
    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let (future, heap) = self.parts();
        match poll_checked_in(future, heap, |future| future.poll(context), Poll::is_ready) {
            Ok(polled) => polled.map(Ok),
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

impl<F, D: Declaration> fmt::Debug for Checked<F, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checked").field("heap", self.heap()).finish_non_exhaustive()
    }
}

/// Why what should run in a heap of its own ended without its output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeapError {
    /// There is no memory for the heap's control block or its account; nothing was run.
    NoHeap(AllocError),
    /// The heap went over a limit.
    LimitExceeded(LimitExceeded),
}

impl fmt::Display for HeapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHeap(error) => write!(f, "no heap could be made: {error}"),
            Self::LimitExceeded(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for HeapError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::NoHeap(error) => Some(error),
            Self::LimitExceeded(_) => None,
        }
    }
}

impl From<AllocError> for HeapError {
    fn from(error: AllocError) -> Self {
        Self::NoHeap(error)
    }
}

impl From<LimitExceeded> for HeapError {
    fn from(error: LimitExceeded) -> Self {
        Self::LimitExceeded(error)
    }
}

/// A future in a heap that was made for it: made by
/// [`FutureExt::in_heap_with`](super::FutureExt::in_heap_with).
#[must_use = "a future does nothing unless it is polled"]
pub struct InHeapWith<F, D: Declaration>(Result<Checked<F, D>, AllocError>);

impl<F, D: Declaration> InHeapWith<F, D> {
    pub(super) fn new(future: Result<Checked<F, D>, AllocError>) -> Self {
        Self(future)
    }

    /// The heap, for its figures; none if it could not be made.
    pub fn heap(&self) -> Option<&Heap<D>> {
        self.0.as_ref().ok().map(Checked::heap)
    }
}

impl<F: Future, D: Declaration> Future for InHeapWith<F, D> {
    type Output = Result<F::Output, HeapError>;

    /// # Panics
    /// As [`InHeap`].
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: The future is reached as pinned, and only here.
        let this = unsafe { self.get_unchecked_mut() };
        let future = match &mut this.0 {
            Ok(future) => future,
            Err(error) => return Poll::Ready(Err(HeapError::NoHeap(*error))),
        };
        // SAFETY: It stays where it is until it is dropped, since this value does.
        let future = unsafe { Pin::new_unchecked(future) };
        Poll::Ready(ready!(future.poll(context)).map_err(HeapError::LimitExceeded))
    }
}

impl<F, D: Declaration> fmt::Debug for InHeapWith<F, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InHeapWith").field("heap", &self.heap()).finish_non_exhaustive()
    }
}
