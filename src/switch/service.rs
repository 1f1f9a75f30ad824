//! A tower layer that gives each request a heap.
//!
//! ```text
//!   call     choose options, make the heap; in it: the inner service's call
//!   poll     in it: the inner future                    over a limit: 413, 503
//!   body     in it: the response's body                 over a limit: an error
//! ```
//!
//! Always: a response that was made in the heap leaves with the heap's handle in its body. What
//! refuses a request is made outside the heap.

use core::error::Error;
use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::boxed::Box;
use std::sync::Arc;

use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use tower_layer::Layer;
use tower_service::Service;

use super::allocator::{Declaration, HasCoroutineTier};
use super::checked::{Checked, HeapError};
use super::heap::Heap;
use super::in_heap::InHeap;
use super::name::Name;
use super::options::HeapOptions;
use super::polled::{drop_in, poll_checked_in};
use crate::error::AllocError;

type Choose<D> = Arc<dyn Fn(&Parts) -> HeapOptions<D> + Send + Sync>;
type Refuse = Arc<dyn Fn(&HeapError) -> Response<()> + Send + Sync>;

/// A tower layer that gives each request a heap, in which the inner service's call, its future and
/// the response's body run.
///
/// If the heap goes over a limit before there is a response, the inner future ends and the response
/// is `413 Payload Too Large` if the limit is the heap's own, or `503 Service Unavailable` if it is
/// an account's: [`refusing`](Self::refusing) makes another. If it goes over one while the body is
/// sent, the body ends with an error. If there is no memory for a heap, the response is 503.
///
/// The heap ends with the body. What a handler keeps for longer (a session, a cache, a channel's
/// message) it makes [outside](super::SwitchableAllocator::outside).
///
/// # Examples
/// ```
/// use std::num::ParseIntError;
///
/// use context_allocator::switch::HeapLayer;
/// use http::{Request, Response, StatusCode};
/// use http_body_util::{BodyExt, Full};
/// use tower::{Layer, ServiceExt, service_fn};
///
/// context_allocator::global_thread_and_coroutine_switchable_allocator!(static ALLOC);
///
/// /// Sums up the numbers from 1 to that of the path, after it listed them.
/// async fn sum(request: Request<()>) -> Result<Response<Full<&'static [u8]>>, ParseIntError> {
///     let upto: u64 = request.uri().path()[1..].parse()?;
///     let numbers: Vec<u64> = (1..=upto).collect();
///     let body = if numbers.iter().sum::<u64>() % 2 == 0 { "even" } else { "odd" };
///     Ok(Response::new(Full::new(body.as_bytes())))
/// }
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let service = HeapLayer::new(ALLOC.heap_options().limit(64 << 10)).layer(service_fn(sum));
/// let get = |path: &str| service.clone().oneshot(Request::get(path).body(()).unwrap());
///
/// let response = get("/5").await?;
/// assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "odd");
/// assert_eq!(get("/1000000").await?.status(), StatusCode::PAYLOAD_TOO_LARGE);
/// assert_eq!(ALLOC.statistics().orphans, 0);
/// # Ok::<(), ParseIntError>(())
/// # }).unwrap();
/// ```
pub struct HeapLayer<D: Declaration> {
    choose: Choose<D>,
    refuse: Refuse,
}

impl<D: Declaration> HeapLayer<D> {
    /// Makes the heaps of all requests with the same options.
    #[must_use]
    pub fn new(options: HeapOptions<D>) -> Self {
        Self::choosing(move |_| options.clone())
    }

    /// Makes the heap of each request with the options that `choose` returns for the request's
    /// head: with the account of a tenant, say.
    ///
    /// # Examples
    /// ```
    /// context_allocator::global_thread_and_coroutine_switchable_allocator!(static ALLOC);
    ///
    /// let guests = ALLOC.account("guests")?;
    /// guests.set_limit(256 << 20);
    /// let layer = context_allocator::switch::HeapLayer::choosing(move |head| {
    ///     let options = ALLOC.heap_options().limit(16 << 20).name(head.uri.path());
    ///     let known = head.headers.contains_key("authorization");
    ///     if known { options } else { options.account(&guests) }
    /// });
    /// # drop(layer);
    /// # Ok::<(), context_allocator::AllocError>(())
    /// ```
    #[must_use]
    pub fn choosing(choose: impl Fn(&Parts) -> HeapOptions<D> + Send + Sync + 'static) -> Self {
        Self { choose: Arc::new(choose), refuse: Arc::new(default_refusal) }
    }

    /// Answers with what `refuse` returns for the error, and an empty body, where a heap goes over
    /// a limit or cannot be made.
    #[must_use]
    pub fn refusing(self, refuse: impl Fn(&HeapError) -> Response<()> + Send + Sync + 'static) -> Self {
        Self { refuse: Arc::new(refuse), ..self }
    }
}

fn default_refusal(error: &HeapError) -> Response<()> {
    let status = match error {
        HeapError::LimitExceeded(error) if error.account == Name::NONE => StatusCode::PAYLOAD_TOO_LARGE,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    let mut response = Response::new(());
    *response.status_mut() = status;
    response
}

impl<D: Declaration> Clone for HeapLayer<D> {
    fn clone(&self) -> Self {
        Self { choose: Arc::clone(&self.choose), refuse: Arc::clone(&self.refuse) }
    }
}

impl<D: Declaration> fmt::Debug for HeapLayer<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeapLayer").finish_non_exhaustive()
    }
}

impl<S, D: Declaration> Layer<S> for HeapLayer<D> {
    type Service = HeapService<S, D>;

    fn layer(&self, inner: S) -> HeapService<S, D> {
        HeapService { inner, layer: self.clone() }
    }
}

/// A service in which each request has a heap: made by [`HeapLayer`].
pub struct HeapService<S, D: Declaration> {
    inner: S,
    layer: HeapLayer<D>,
}

impl<S, B, R, D: HasCoroutineTier> Service<Request<B>> for HeapService<S, D>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<HeapBody<R, D>>;
    type Error = S::Error;
    type Future = HeapFuture<S::Future, D>;

    /// Asks the inner service, in no heap.
    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (head, body) = request.into_parts();
        let options = (self.layer.choose)(&head);
        let request = Request::from_parts(head, body);
        let refuse = Arc::clone(&self.layer.refuse);
        match options.make() {
            Ok(heap) => {
                let future = heap.enter(|| self.inner.call(request));
                HeapFuture { future: Some(future), heap: State::Made(heap), refuse }
            }
            Err(error) => HeapFuture { future: None, heap: State::NotMade(error), refuse },
        }
    }
}

impl<S: Clone, D: Declaration> Clone for HeapService<S, D> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), layer: self.layer.clone() }
    }
}

impl<S: fmt::Debug, D: Declaration> fmt::Debug for HeapService<S, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeapService").field("inner", &self.inner).finish_non_exhaustive()
    }
}

/// The future of a request in a heap: made by [`HeapService`].
#[must_use = "a future does nothing unless it is polled"]
pub struct HeapFuture<F, D: Declaration> {
    /// Pinned with this value. `None` once it was dropped.
    future: Option<F>,
    heap: State<D>,
    refuse: Refuse,
}

enum State<D: Declaration> {
    Made(Heap<D>),
    NotMade(AllocError),
    /// It went with the response's body, or ended.
    Gone,
}

impl<D: Declaration> State<D> {
    fn take(&mut self) -> Option<Heap<D>> {
        match core::mem::replace(self, Self::Gone) {
            Self::Made(heap) => Some(heap),
            Self::NotMade(_) | Self::Gone => None,
        }
    }
}

impl<F, D: Declaration> HeapFuture<F, D> {
    /// The future, pinned as this value is, and the rest.
    fn parts(self: Pin<&mut Self>) -> (Pin<&mut Option<F>>, &mut State<D>, &Refuse) {
        // SAFETY: The future is not moved out of it: it is reached as pinned, here and in `drop`.
        let this = unsafe { self.get_unchecked_mut() };
        // SAFETY: It stays where it is until it is dropped, since this value does.
        let future = unsafe { Pin::new_unchecked(&mut this.future) };
        (future, &mut this.heap, &this.refuse)
    }
}

impl<F, B, E, D: Declaration> Future for HeapFuture<F, D>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<HeapBody<B, D>>, E>;

    /// # Panics
    /// If the future is polled after it was ready.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let (future, state, refuse) = self.parts();
        let error = match state {
            State::Made(heap) => {
                match poll_checked_in(future, heap, |future| future.poll(context), Poll::is_ready) {
                    Ok(polled) => {
                        let response = ready!(polled)?;
                        return Poll::Ready(Ok(response.map(|body| HeapBody::of(body, state.take()))));
                    }
                    Err(error) => HeapError::LimitExceeded(error),
                }
            }
            State::NotMade(error) => HeapError::NoHeap(*error),
            State::Gone => panic!("polled after it had ended"),
        };
        // The heap ends before the answer is made.
        drop(state.take());
        Poll::Ready(Ok(refuse(&error).map(|()| HeapBody(None))))
    }
}

impl<F, D: Declaration> Drop for HeapFuture<F, D> {
    fn drop(&mut self) {
        // SAFETY: The value is dropped, so it is not moved any more.
        let (future, state, _) = unsafe { Pin::new_unchecked(self) }.parts();
        if let State::Made(heap) = state {
            drop_in(future, heap);
        }
    }
}

impl<F, D: Declaration> fmt::Debug for HeapFuture<F, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeapFuture").finish_non_exhaustive()
    }
}

/// A response's body in its request's heap, which ends with it: of a [`HeapService`]. That of a
/// refusal is empty.
///
/// If the heap goes over a limit, the last frame is an error: a
/// [`LimitExceeded`](super::LimitExceeded) in its box.
pub struct HeapBody<B, D: Declaration>(Option<Checked<B, D>>);

impl<B, D: Declaration> HeapBody<B, D> {
    fn of(body: B, heap: Option<Heap<D>>) -> Self {
        Self(heap.map(|heap| InHeap::new(body, heap).checked()))
    }
}

impl<B: Body<Error: Into<Box<dyn Error + Send + Sync>>>, D: Declaration> Body for HeapBody<B, D> {
    type Data = B::Data;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, Self::Error>>> {
        // SAFETY: The field is pinned as this value is, and nothing else reaches it but by shared
        // reference.
        match unsafe { self.map_unchecked_mut(|this| &mut this.0) }.as_pin_mut() {
            Some(body) => body.poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(Checked::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or(SizeHint::with_exact(0), Checked::size_hint)
    }
}

impl<B, D: Declaration> fmt::Debug for HeapBody<B, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeapBody").field("body", &self.0).finish()
    }
}
