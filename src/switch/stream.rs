//! Streams in heaps of their own.

use core::pin::Pin;
use core::task::{Context, Poll};

use futures_core::stream::{FusedStream, Stream};

use super::allocator::Declaration;
use super::checked::Checked;
use super::in_heap::InHeap;
use super::limit::LimitExceeded;
use super::polled::{poll_checked_in, poll_in};

/// What a stream that has ended, or will at once, says of how many items are left.
const NONE_LEFT: (usize, Option<usize>) = (0, Some(0));

/// The stream is dropped in its heap as soon as it ends; from then on there is no item.
#[cfg_attr(docsrs, doc(cfg(feature = "futures")))]
impl<S: Stream, D: Declaration> Stream for InHeap<S, D> {
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let (stream, heap) = self.parts();
        if stream.is_none() {
            return Poll::Ready(None);
        }
        poll_in(stream, heap, |stream| stream.poll_next(context), is_end)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.inner().map_or(NONE_LEFT, S::size_hint)
    }
}

/// If the heap goes over a limit, the stream and the item that it has just made are dropped in it,
/// and the last item is the error.
#[cfg_attr(docsrs, doc(cfg(feature = "futures")))]
impl<S: Stream, D: Declaration> Stream for Checked<S, D> {
    type Item = Result<S::Item, LimitExceeded>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let (stream, heap) = self.parts();
        if stream.is_none() {
            return Poll::Ready(None);
        }
        match poll_checked_in(stream, heap, |stream| stream.poll_next(context), is_end) {
            Ok(polled) => polled.map(|item| item.map(Ok)),
            Err(error) => Poll::Ready(Some(Err(error))),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match self.in_heap().size_hint() {
            NONE_LEFT => NONE_LEFT,
            // An error may come at any time, in place of the next item or of the end.
            (least, most) => (least.min(1), most.and_then(|most| most.checked_add(1))),
        }
    }
}

#[cfg_attr(docsrs, doc(cfg(feature = "futures")))]
impl<S: Stream, D: Declaration> FusedStream for InHeap<S, D> {
    fn is_terminated(&self) -> bool {
        self.inner().is_none()
    }
}

#[cfg_attr(docsrs, doc(cfg(feature = "futures")))]
impl<S: Stream, D: Declaration> FusedStream for Checked<S, D> {
    fn is_terminated(&self) -> bool {
        self.in_heap().is_terminated()
    }
}

fn is_end<T>(polled: &Poll<Option<T>>) -> bool {
    matches!(polled, Poll::Ready(None))
}
