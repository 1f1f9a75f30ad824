//! A future that runs in a heap of its own.

use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll};

use super::allocator::Declaration;
use super::heap::Heap;

/// Adds [`in_heap`](Self::in_heap) to every future.
pub trait FutureExt: Future + Sized {
    /// Returns a future that runs this one in `heap`: each poll enters the heap and leaves it at
    /// its end, even if the poll panics. So the future may be polled by any executor and move
    /// between threads, and other tasks do not allocate from its heap.
    ///
    /// The future is dropped in the heap, and the heap's handle with it. The output is made in the
    /// heap: what it owns keeps memory of the heap until it is dropped.
    ///
    /// # Examples
    /// ```
    /// use context_allocator::switch::FutureExt;
    ///
    /// context_allocator::global_thread_and_coroutine_switchable_allocator!(static ALLOC);
    ///
    /// async fn answer(request: &str) -> usize {
    ///     let words: Vec<String> = request.split(' ').map(String::from).collect();
    ///     std::future::ready(()).await; // any executor's timers and sockets
    ///     words.len()
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
    /// let heap = ALLOC.heap_with_limit(1 << 20)?;
    /// assert_eq!(block_on(answer("GET / HTTP/1.1").in_heap(heap)), 3);
    /// # Ok::<(), context_allocator::AllocError>(())
    /// ```
    fn in_heap<D: Declaration>(self, heap: Heap<D>) -> InHeap<Self, D> {
        InHeap { future: Some(self), heap }
    }
}

impl<F: Future> FutureExt for F {}

/// A future in a heap of its own: made by [`FutureExt::in_heap`].
#[must_use = "a future does nothing unless it is polled"]
pub struct InHeap<F, D: Declaration> {
    /// Pinned with this value. `None` once it was dropped.
    future: Option<F>,
    heap: Heap<D>,
}

impl<F, D: Declaration> InHeap<F, D> {
    /// The heap, for its figures.
    pub fn heap(&self) -> &Heap<D> {
        &self.heap
    }

    /// The future, pinned as this value is, and the heap.
    fn parts(self: Pin<&mut Self>) -> (Pin<&mut Option<F>>, &Heap<D>) {
        // SAFETY: The future is not moved out of it: it is reached as pinned, here and in `drop`.
        let this = unsafe { self.get_unchecked_mut() };
        // SAFETY: It stays where it is until it is dropped, since this value does.
        (unsafe { Pin::new_unchecked(&mut this.future) }, &this.heap)
    }
}

impl<F: Future, D: Declaration> Future for InHeap<F, D> {
    type Output = F::Output;

    /// # Panics
    /// If the future is polled after it was ready.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let (mut future, heap) = self.parts();
        heap.enter(|| {
            let Some(running) = future.as_mut().as_pin_mut() else {
                panic!("InHeap: polled after it was ready")
            };
            let polled = running.poll(context);
            if polled.is_ready() {
                // What it still owns goes before its output leaves the heap.
                future.set(None);
            }
            polled
        })
    }
}

impl<F, D: Declaration> Drop for InHeap<F, D> {
    fn drop(&mut self) {
        // SAFETY: The value is dropped, so it is not moved any more.
        let (mut future, heap) = unsafe { Pin::new_unchecked(self) }.parts();
        if future.is_some() {
            // If somebody forgot a guard of the heap, the future goes outside.
            if heap.try_enter(|| future.set(None)).is_err() {
                future.set(None);
            }
        }
    }
}

impl<F, D: Declaration> fmt::Debug for InHeap<F, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InHeap").field("heap", &self.heap).finish_non_exhaustive()
    }
}
