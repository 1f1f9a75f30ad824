//! Bodies of HTTP messages in heaps of their own.

use core::error::Error;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::boxed::Box;

use http_body::{Body, Frame, SizeHint};

use super::allocator::Declaration;
use super::checked::Checked;
use super::in_heap::InHeap;
use super::polled::{poll_checked_in, poll_in};

/// The body is dropped in its heap as soon as it ends or fails; from then on there is no frame.
#[cfg_attr(docsrs, doc(cfg(feature = "http-body")))]
impl<B: Body, D: Declaration> Body for InHeap<B, D> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let (body, heap) = self.parts();
        if body.is_none() {
            return Poll::Ready(None);
        }
        poll_in(body, heap, |body| body.poll_frame(context), is_last)
    }

    fn is_end_stream(&self) -> bool {
        self.inner().is_none_or(B::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner().map_or(SizeHint::with_exact(0), B::size_hint)
    }
}

/// If the heap goes over a limit, the body and the frame that it has just made are dropped in it,
/// and the last frame is an error: a [`LimitExceeded`](super::LimitExceeded) in its box.
#[cfg_attr(docsrs, doc(cfg(feature = "http-body")))]
impl<B: Body<Error: Into<Box<dyn Error + Send + Sync>>>, D: Declaration> Body for Checked<B, D> {
    type Data = B::Data;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, Self::Error>>> {
        let (body, heap) = self.parts();
        if body.is_none() {
            return Poll::Ready(None);
        }
        match poll_checked_in(body, heap, |body| body.poll_frame(context), is_last) {
            Ok(polled) => polled.map(|frame| frame.map(|frame| frame.map_err(Into::into))),
            Err(error) => Poll::Ready(Some(Err(Box::new(error)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.in_heap().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.in_heap().size_hint()
    }
}

/// Whether no frame follows.
fn is_last<T, E>(polled: &Poll<Option<Result<T, E>>>) -> bool {
    matches!(polled, Poll::Ready(None | Some(Err(_))))
}
