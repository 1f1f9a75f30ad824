//! Bodies in heaps.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use context_allocator::switch::{InHeap, LimitExceeded};
use http_body::{Body, Frame};
use http_body_util::BodyExt;

use crate::*;

/// So many frames, before each of which it keeps 1 KiB.
pub struct Frames {
    left: usize,
    kept: Vec<Vec<u8>>,
}

impl Frames {
    pub fn new(left: usize) -> Self {
        Self { left, kept: Vec::new() }
    }
}

impl Body for Frames {
    type Data = &'static [u8];
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<&'static [u8]>, Infallible>>> {
        assert!(current().is_some());
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.left -= 1;
        self.kept.push(vec![1; 1024]);
        Poll::Ready(Some(Ok(Frame::data(b"a frame"))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }
}

#[test]
fn a_body_runs_in_its_heap() {
    alone(|| {
        on_threads(1, async {
            let body = InHeap::new(Frames::new(10), heap());
            assert!(!body.is_end_stream());
            assert_eq!(body.collect().await.unwrap().to_bytes().len(), 70);
            let body = InHeap::new(Frames::new(10), limited()).checked();
            assert_eq!(body.collect().await.unwrap().to_bytes().len(), 70);
        });
    });
}

#[test]
fn a_checked_body_ends_with_the_error() {
    alone(|| {
        on_threads(1, async {
            let mut body = InHeap::new(Frames::new(usize::MAX), limited()).checked();
            let mut frames = 0;
            let error = loop {
                match body.frame().await.unwrap() {
                    Ok(_) => frames += 1,
                    Err(error) => break error,
                }
            };
            assert!((32..64).contains(&frames), "{frames} of 1 KiB in 64 KiB");
            assert_eq!(error.downcast::<LimitExceeded>().unwrap().limit, LIMIT);
            assert!(body.is_end_stream() && body.frame().await.is_none());
        });
    });
}
