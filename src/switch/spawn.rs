//! Tasks in heaps of their own, on any executor.

use super::allocator::{Declaration, HasCoroutineTier, SwitchableAllocator};
use super::checked::{Checked, InHeapWith};
use super::future::FutureExt;
use super::heap::Heap;
use super::options::HeapOptions;

impl<D: Declaration> SwitchableAllocator<D> {
    /// Hands a future that runs in `heap`, [checked](super::InHeap::checked), to an executor's
    /// `spawn`, and returns what that returns. `spawn` is called [outside](Self::outside) the heap
    /// that is current, so that the task itself does not lie in it: it may live longer.
    ///
    /// What the future has captured stays where it was made. If the task outlives the request that
    /// spawns it, captured blocks keep their regions of the request's heap: move them with
    /// [`Heap::adopt`], or make them inside.
    ///
    /// # Examples
    /// ```
    /// context_allocator::global_thread_and_coroutine_switchable_allocator!(static ALLOC);
    ///
    /// async fn count(upto: usize) -> usize {
    ///     (0..upto).map(|n| n.to_string()).collect::<Vec<String>>().len()
    /// }
    ///
    /// # let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build();
    /// # runtime.unwrap().block_on(async {
    /// let heap = ALLOC.heap_with_limit(1 << 20)?;
    /// let task = ALLOC.spawn_in(heap, count(100), tokio::spawn);
    /// assert_eq!(task.await.unwrap(), Ok(100));
    /// # Ok::<(), context_allocator::AllocError>(())
    /// # }).unwrap();
    /// ```
    pub fn spawn_in<F: Future, T>(
        &self,
        heap: Heap<D>,
        future: F,
        spawn: impl FnOnce(Checked<F, D>) -> T,
    ) -> T {
        let task = future.in_heap(heap).checked();
        self.outside(|| spawn(task))
    }

    /// As [`spawn_in`](Self::spawn_in), in a heap that is made for the task, as
    /// [`FutureExt::in_heap_with`] does.
    ///
    /// # Examples
    /// A child that shares the limit of the request that spawns it:
    /// ```
    /// context_allocator::global_thread_and_coroutine_switchable_allocator!(static ALLOC);
    ///
    /// use context_allocator::switch::FutureExt;
    ///
    /// async fn lines(count: usize) -> usize {
    ///     (0..count).map(|n| n.to_string()).collect::<Vec<String>>().len()
    /// }
    ///
    /// async fn request() -> bool {
    ///     let child = ALLOC.spawn_in_with(ALLOC.child_options(), lines(100_000), tokio::spawn);
    ///     child.await.unwrap().is_err()
    /// }
    ///
    /// # let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build();
    /// # runtime.unwrap().block_on(async {
    /// let options = ALLOC.heap_options().shared_limit(64 << 10).name("GET /");
    /// assert!(request().in_heap_with(options).await?);
    /// # Ok::<(), context_allocator::switch::HeapError>(())
    /// # }).unwrap();
    /// ```
    pub fn spawn_in_with<F: Future, T>(
        &self,
        options: HeapOptions<D>,
        future: F,
        spawn: impl FnOnce(InHeapWith<F, D>) -> T,
    ) -> T
    where
        D: HasCoroutineTier,
    {
        let task = future.in_heap_with(options);
        self.outside(|| spawn(task))
    }
}
