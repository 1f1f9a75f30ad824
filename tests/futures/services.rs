//! A server's requests in heaps.

use std::convert::Infallible;

use context_allocator::switch::{HeapError, HeapLayer, LimitExceeded};
use http::{Request, Response, StatusCode};
use http_body::Body;
use http_body_util::BodyExt;
use tower::{Layer, ServiceExt, service_fn};

use crate::bodies::Frames;
use crate::*;

/// Allocates as many KiB as the path says, a KiB at each poll, and answers with as many frames as
/// the header says, each of which keeps a KiB.
async fn handle(request: Request<()>) -> Result<Response<Frames>, Infallible> {
    assert!(current().is_some());
    let kibibytes: usize = request.uri().path()[1..].parse().unwrap();
    let mut kept = Vec::new();
    for _ in 0..kibibytes {
        kept.push(vec![1_u8; 1024]);
        once_pending().await;
    }
    let frames = request.headers()["frames"].to_str().unwrap().parse().unwrap();
    Ok(Response::builder().header("kept", kept.len()).body(Frames::new(frames)).unwrap())
}

fn get(kibibytes: usize, frames: usize) -> Request<()> {
    Request::get(format!("/{kibibytes}")).header("frames", frames).body(()).unwrap()
}

#[test]
fn a_request_has_a_heap_until_its_body_ends() {
    alone(|| {
        on_threads(2, async {
            let service = HeapLayer::new(ALLOC.heap_options().limit(LIMIT)).layer(service_fn(handle));
            for _ in 0..100 {
                let response = service.clone().oneshot(get(10, 10)).await.unwrap();
                assert_eq!(current(), None);
                assert_eq!(response.headers()["kept"], "10");
                assert_eq!(ALLOC.heaps().len(), 1);
                assert_eq!(response.into_body().collect().await.unwrap().to_bytes().len(), 70);
                assert_eq!(ALLOC.heaps().len(), 0);
            }
            // Dropped before it was polled, midway, and with a body that nobody reads.
            drop(service.clone().oneshot(get(10, 10)));
            let midway = tokio::time::timeout(Duration::ZERO, service.clone().oneshot(get(10_000, 1)));
            assert!(midway.await.is_err_and(|_| true) || ALLOC.heaps().is_empty());
            drop(service.clone().oneshot(get(1, 10)).await.unwrap());
        });
    });
}

#[test]
fn beyond_its_own_limit_a_request_is_too_large() {
    alone(|| {
        on_threads(2, async {
            let service = HeapLayer::new(ALLOC.heap_options().limit(LIMIT)).layer(service_fn(handle));
            let response = service.clone().oneshot(get(1000, 0)).await.unwrap();
            assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
            assert_eq!(response.body().size_hint().exact(), Some(0));
            assert!(response.body().is_end_stream());
            assert_eq!(ALLOC.heaps().len(), 0);
            assert_eq!(response.into_body().collect().await.unwrap().to_bytes().len(), 0);
            // The response was on its way: the body is cut.
            let response = service.oneshot(get(10, 1000)).await.unwrap();
            assert_eq!(response.status(), StatusCode::OK);
            let error = response.into_body().collect().await.map(drop).unwrap_err();
            assert_eq!(error.downcast::<LimitExceeded>().unwrap().limit, LIMIT);
        });
    });
}

#[test]
fn beyond_its_tenant_s_limit_the_service_is_unavailable() {
    alone(|| {
        on_threads(2, async {
            let tenant = ALLOC.account("tenant").unwrap();
            tenant.set_limit(LIMIT);
            let layer = HeapLayer::choosing({
                let tenant = tenant.clone();
                move |head| match head.uri.path() {
                    "/1000" => tenant.heap_options().name("GET /1000"),
                    _ => ALLOC.heap_options(),
                }
            });
            let service = layer.clone().layer(service_fn(handle));
            let response = service.clone().oneshot(get(1000, 0)).await.unwrap();
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(service.oneshot(get(1001, 1)).await.unwrap().status(), StatusCode::OK);
            assert_eq!(tenant.statistics().held_bytes, 0);
            let layer = layer.refusing(|error| {
                assert_eq!(current(), None);
                let HeapError::LimitExceeded(error) = error else { panic!("{error}") };
                let seconds = if error.account.as_str() == "tenant" { "7" } else { "0" };
                Response::builder().status(429).header("retry-after", seconds).body(()).unwrap()
            });
            let response = layer.layer(service_fn(handle)).oneshot(get(1000, 0)).await.unwrap();
            assert_eq!(
                (response.status().as_u16(), &response.headers()["retry-after"]),
                (429, &"7".parse().unwrap())
            );
        });
    });
}

#[test]
fn requests_at_the_same_time_do_not_notice_each_other() {
    alone(|| {
        on_threads(4, async {
            let service = HeapLayer::new(ALLOC.heap_options().limit(LIMIT)).layer(service_fn(handle));
            let requests: Vec<_> = (0..200)
                .map(|number| {
                    let kibibytes = if number % 2 == 0 { 10 } else { 1000 };
                    let service = service.clone();
                    let request = async move {
                        let response = service.oneshot(get(kibibytes, 5)).await.unwrap();
                        let status = response.status().as_u16();
                        (status, response.into_body().collect().await.unwrap().to_bytes().len())
                    };
                    tokio::spawn(request)
                })
                .collect();
            for (number, request) in requests.into_iter().enumerate() {
                let expected = if number % 2 == 0 { (200, 35) } else { (413, 0) };
                assert_eq!(request.await.unwrap(), expected);
            }
        });
    });
}
