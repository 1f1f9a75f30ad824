//! Streams in heaps.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use context_allocator::switch::InHeap;
use futures_core::Stream;
use futures_core::stream::FusedStream;

use crate::*;

/// So many items of 1 KiB each, and a pending poll before each; what it has made it keeps.
struct Items<'a> {
    left: usize,
    pending: bool,
    kept: Vec<Vec<u8>>,
    _seen: SeenAtDrop<'a>,
}

impl Items<'_> {
    fn new(left: usize, seen: &Cell<Option<HeapId>>) -> Items<'_> {
        Items { left, pending: false, kept: Vec::new(), _seen: SeenAtDrop(seen) }
    }
}

impl Stream for Items<'_> {
    type Item = String;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<String>> {
        self.pending = !self.pending;
        if self.pending {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.left -= 1;
        self.kept.push(vec![1; 1024]);
        Poll::Ready(Some(format!("{} left", self.left)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

async fn next<S: Stream>(mut stream: Pin<&mut S>) -> Option<S::Item> {
    poll_fn(|context| stream.as_mut().poll_next(context)).await
}

#[test]
fn a_stream_is_polled_and_dropped_in_its_heap() {
    alone(|| {
        on_threads(1, async {
            let (seen, heap) = (Cell::new(None), heap());
            let id = heap.id();
            let mut stream = pin!(InHeap::new(Items::new(5, &seen), heap));
            assert_eq!(stream.size_hint(), (5, Some(5)));
            let mut items = Vec::new();
            while let Some(item) = next(stream.as_mut()).await {
                assert_eq!(ALLOC.owner_of(item.as_str()), Owner::Heap(id));
                assert_eq!(current(), None);
                items.push(item);
            }
            assert_eq!((items.len(), items[4].as_str()), (5, "0 left"));
            assert_eq!(seen.get(), Some(id), "with its end, not later");
            assert!(stream.is_terminated());
            assert_eq!((next(stream.as_mut()).await, stream.size_hint()), (None, (0, Some(0))));
            // Dropped midway.
            let (seen, heap) = (Cell::new(None), crate::heap());
            let id = heap.id();
            {
                let mut stream = pin!(InHeap::new(Items::new(5, &seen), heap));
                next(stream.as_mut()).await;
            }
            assert_eq!(seen.get(), Some(id));
        });
    });
}

#[test]
fn a_checked_stream_ends_with_the_error() {
    alone(|| {
        on_threads(1, async {
            let (seen, heap) = (Cell::new(None), limited());
            let id = heap.id();
            let mut stream = pin!(InHeap::new(Items::new(usize::MAX, &seen), heap).checked());
            let mut items = 0;
            let error = loop {
                match next(stream.as_mut()).await.unwrap() {
                    Ok(item) => drop(item),
                    Err(error) => break error,
                }
                items += 1;
            };
            assert!((32..64).contains(&items), "{items} of 1 KiB in 64 KiB");
            assert_eq!((error.limit, seen.get()), (LIMIT, Some(id)));
            assert_eq!(next(stream.as_mut()).await, None);
        });
    });
}
