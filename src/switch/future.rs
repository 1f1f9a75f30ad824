//! Futures that run in heaps of their own.

use super::allocator::{Declaration, HasCoroutineTier};
use super::checked::InHeapWith;
use super::heap::Heap;
use super::in_heap::InHeap;
use super::options::HeapOptions;

/// Adds [`in_heap`](Self::in_heap) to every future.
pub trait FutureExt: Future + Sized {
    /// Returns a future that runs this one in `heap`: each poll enters the heap and leaves it at
    /// its end, even if the poll panics. So the future may be polled by any executor and move
    /// between threads, and other tasks do not allocate from its heap.
    ///
    /// The future is dropped in the heap, and the heap's handle with it. The output is made in the
    /// heap: what it owns keeps memory of the heap until it is dropped.
    ///
    /// The future runs to its end whatever it allocates; [`InHeap::checked`] ends it beyond the
    /// heap's limit.
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
        InHeap::new(self, heap)
    }

    /// Makes a heap and returns a future that runs this one in it, and ends with an error if the
    /// heap goes over a limit, as [`InHeap::checked`].
    ///
    /// The heap is made at once. If there is no memory for it, this future is dropped and the first
    /// poll returns the error.
    ///
    /// # Examples
    /// ```
    /// use context_allocator::switch::{FutureExt, HeapError};
    ///
    /// context_allocator::global_thread_and_coroutine_switchable_allocator!(static ALLOC);
    ///
    /// async fn lines(count: usize) -> usize {
    ///     (0..count).map(|n| n.to_string()).collect::<Vec<String>>().len()
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
    /// let options = ALLOC.heap_options().limit(16 << 10);
    /// assert_eq!(block_on(lines(10).in_heap_with(options.clone()))?, 10);
    /// let over = block_on(lines(100_000).in_heap_with(options));
    /// assert!(matches!(over, Err(HeapError::LimitExceeded(_))));
    /// # Ok::<(), HeapError>(())
    /// ```
    fn in_heap_with<D: HasCoroutineTier>(self, options: HeapOptions<D>) -> InHeapWith<Self, D> {
        InHeapWith::new(options.make().map(|heap| self.in_heap(heap).checked()))
    }
}

impl<F: Future> FutureExt for F {}
