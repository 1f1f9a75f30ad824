//! A future that is pending once.

use std::future::poll_fn;
use std::task::Poll;

/// Pending at the first poll, after which the executor polls again at once, on any thread.
pub async fn once_pending() {
    let mut polled = false;
    poll_fn(|context| {
        if std::mem::replace(&mut polled, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
