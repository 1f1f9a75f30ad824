//! Futures in heaps, polled by an executor of some lines on several threads.

use std::cell::Cell;
use std::future::{pending, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::thread;

use crate::support::pending::once_pending;
use context_allocator::Heap;
use context_allocator::switch::{FutureExt, InHeap, Owner};

context_allocator::switchable_allocator!(static ALLOC);

fn heap() -> Heap<ALLOC> {
    ALLOC.heap().expect("memory for a heap")
}

fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// What is current where it is dropped.
struct SeenAtDrop<'a>(&'a Cell<Option<Owner>>);

impl Drop for SeenAtDrop<'_> {
    fn drop(&mut self) {
        self.0.set(Some(ALLOC.current()));
    }
}

#[test]
fn each_poll_is_in_the_heap_and_nothing_else_is() {
    let (one, other) = (heap(), heap());
    let (inside, inside_other) = (Owner::Heap(one.id()), Owner::Heap(other.id()));
    async fn task(inside: Owner) -> usize {
        for _ in 0..3 {
            assert_eq!(ALLOC.current(), inside);
            once_pending().await;
        }
        7
    }
    let mut first = pin!(task(inside).in_heap(one));
    let mut second = pin!(task(inside_other).in_heap(other));
    for _ in 0..3 {
        assert!(poll(first.as_mut()).is_pending());
        assert_eq!(ALLOC.current(), Owner::Thread);
        assert!(poll(second.as_mut()).is_pending());
    }
    assert_eq!(poll(second), Poll::Ready(7));
    assert_eq!(poll(first), Poll::Ready(7));
    assert_eq!(ALLOC.current(), Owner::Thread);
}

#[test]
fn it_moves_between_threads() {
    type Task = Pin<Box<InHeap<Pin<Box<dyn Future<Output = bool> + Send>>, ALLOC>>>;
    let mut tasks: Vec<Task> = (0..20)
        .map(|_| {
            let heap = heap();
            let inside = Owner::Heap(heap.id());
            let work: Pin<Box<dyn Future<Output = bool> + Send>> = Box::pin(async move {
                for _ in 0..4 {
                    once_pending().await;
                }
                ALLOC.current() == inside
            });
            Box::pin(work.in_heap(heap))
        })
        .collect();
    let mut ready = 0;
    while !tasks.is_empty() {
        tasks = thread::spawn(move || {
            tasks.retain_mut(|task| match poll(task.as_mut()) {
                Poll::Ready(right) => {
                    assert!(right);
                    false
                }
                Poll::Pending => true,
            });
            tasks
        })
        .join()
        .expect("no check failed");
        ready += 1;
    }
    assert_eq!(ready, 5);
}

/// Finished, cancelled or panicked: what a future owns is dropped in its heap.
#[test]
fn the_future_is_dropped_in_its_heap() {
    let seen = Cell::new(None);
    let run = |end: u8| {
        let heap = heap();
        let inside = Owner::Heap(heap.id());
        let held = SeenAtDrop(&seen);
        let mut future = Box::pin(
            async move {
                let _held = &held;
                match end {
                    0 => ready(()).await,
                    1 => pending().await,
                    _ => panic!("in the future"),
                }
            }
            .in_heap(heap),
        );
        let polled = catch_unwind(AssertUnwindSafe(|| poll(future.as_mut())));
        assert_eq!(polled.is_err(), end == 2);
        if end == 0 {
            assert_eq!(seen.take(), Some(inside), "with the output, not later");
            let again = catch_unwind(AssertUnwindSafe(|| poll(future.as_mut())));
            assert!(again.is_err(), "it was ready");
        } else {
            drop(future);
            assert_eq!(seen.take(), Some(inside));
        }
        assert_eq!(ALLOC.current(), Owner::Thread);
    };
    (0..3).for_each(run);
    // Never polled.
    let heap = heap();
    let inside = Owner::Heap(heap.id());
    let held = SeenAtDrop(&seen);
    drop(async move { drop(held) }.in_heap(heap));
    assert_eq!(seen.take(), Some(inside));
}

#[test]
fn futures_nest() {
    let (outer, inner) = (heap(), heap());
    let (outside, inside) = (Owner::Heap(outer.id()), Owner::Heap(inner.id()));
    let mut nested = pin!(
        async move {
            assert_eq!(ALLOC.current(), outside);
            let value = async move {
                once_pending().await;
                assert_eq!(ALLOC.current(), inside);
                5
            }
            .in_heap(inner)
            .await;
            assert_eq!(ALLOC.current(), outside);
            value
        }
        .in_heap(outer)
    );
    assert!(poll(nested.as_mut()).is_pending());
    assert_eq!(poll(nested.as_mut()), Poll::Ready(5));
    assert_eq!(nested.heap().statistics().live_blocks, 0);
}
