//! Futures on executors: nested, selected, joined, cancelled, panicking, over their limits.

use std::cell::Cell;
use std::collections::HashSet;
use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};

use context_allocator::switch::{FutureExt, HeapError, HeapId};

use crate::*;

#[test]
fn tasks_move_between_threads_in_their_heaps() {
    alone(|| {
        let threads = Arc::new(Mutex::new(HashSet::<ThreadId>::new()));
        on_threads(4, async {
            let tasks: Vec<_> = (0..200_usize)
                .map(|number| {
                    let (heap, threads) = (heap(), Arc::clone(&threads));
                    let id = heap.id();
                    let task = async move {
                        let mut kept = Vec::new();
                        for round in 0..50 {
                            assert_eq!(current(), Some(id));
                            kept.push(format!("{number} {round}"));
                            once_pending().await;
                            let seen = thread::current().id();
                            ALLOC.outside(|| threads.lock().unwrap().insert(seen));
                        }
                        assert!(kept.iter().all(|line| ALLOC.owner_of(line.as_str()) == Owner::Heap(id)));
                        kept.len()
                    };
                    ALLOC.spawn_in(heap, task, tokio::spawn)
                })
                .collect();
            for task in tasks {
                assert_eq!(task.await.unwrap(), Ok(50));
            }
        });
        assert!(threads.lock().unwrap().len() > 1, "all tasks ran on one thread");
    });
}

#[test]
fn select_and_join_keep_to_their_heaps() {
    async fn counting(heap: HeapId, rounds: usize) -> usize {
        let mut kept = Vec::new();
        for round in 0..rounds {
            assert_eq!(current(), Some(heap));
            kept.push(vec![round; 10]);
            once_pending().await;
        }
        kept.len()
    }
    alone(|| {
        on_threads(2, async {
            let outer = heap();
            let outside = outer.id();
            let work = async move {
                let (one, other, cancelled) = (heap(), heap(), heap());
                let ids = (one.id(), other.id(), cancelled.id());
                let both = tokio::join!(
                    counting(ids.0, 20).in_heap(one).checked(),
                    counting(ids.1, 10).in_heap(other),
                    async { assert_eq!(current(), Some(outside)) },
                );
                assert_eq!((both.0, both.1), (Ok(20), 10));
                // The one that goes on is dropped midway, in its heap, by a task in another heap.
                let seen = Cell::new(None);
                let held = SeenAtDrop(&seen);
                let endless = async move {
                    let _held = held;
                    counting(ids.2, usize::MAX).await
                };
                tokio::select! {
                    biased;
                    _ = endless.in_heap(cancelled) => unreachable!("it has no end"),
                    () = async { for _ in 0..5 { once_pending().await } } => {}
                }
                assert_eq!(seen.get(), Some(ids.2));
                assert_eq!(current(), Some(outside));
            };
            // What is not `Send` stays in this task.
            work.in_heap(outer).await;
        });
    });
}

#[test]
fn an_aborted_task_is_dropped_in_its_heap() {
    struct Flag(HeapId, Arc<AtomicBool>);
    impl Drop for Flag {
        fn drop(&mut self) {
            self.1.store(current() == Some(self.0), SeqCst);
        }
    }
    alone(|| {
        on_threads(2, async {
            for polls in [0, 1, 7] {
                let heap = heap();
                let right = Arc::new(AtomicBool::new(false));
                let flag = Flag(heap.id(), Arc::clone(&right));
                let task = async move {
                    let _flag = flag;
                    for _ in 0..polls {
                        once_pending().await;
                    }
                    pending::<()>().await
                };
                let task = ALLOC.spawn_in(heap, task, tokio::spawn);
                tokio::time::sleep(Duration::from_millis(2)).await;
                task.abort();
                assert!(task.await.unwrap_err().is_cancelled());
                assert!(right.load(SeqCst), "after {polls} polls");
            }
        });
    });
}

#[test]
fn a_panicking_task_leaves_its_heap() {
    alone(|| {
        // A backtrace is made in the heap, and the standard library keeps what it learns of symbols
        // for good.
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| ()));
        on_threads(2, async {
            for _ in 0..20 {
                let task = async {
                    let kept = vec![String::from("in the heap"); 10];
                    once_pending().await;
                    assert!(kept.is_empty(), "as it should");
                };
                let task = ALLOC.spawn_in(heap(), task, tokio::spawn);
                assert!(task.await.unwrap_err().is_panic());
                assert_eq!(current(), None);
            }
        });
        std::panic::set_hook(hook);
    });
}

#[test]
fn a_checked_future_ends_at_its_limit_and_takes_its_output_with_it() {
    alone(|| {
        on_threads(2, async {
            // Over the limit midway.
            let error = runaway().in_heap(limited()).checked().await.unwrap_err();
            assert_eq!((error.limit, error.account.as_str()), (LIMIT, ""));
            assert!(error.held <= LIMIT + 1024, "one request beyond the limit: {error}");
            // In the poll that makes the output: it is dropped in the heap, and never seen.
            let seen = Cell::new(None);
            let limited = limited();
            let id = limited.id();
            let last = async { (vec![1_u8; 2 * LIMIT], SeenAtDrop(&seen)) };
            assert_eq!(last.in_heap(limited).checked().await.map(drop).unwrap_err().requested, 2 * LIMIT);
            assert_eq!(seen.get(), Some(id));
            // Within it.
            assert_eq!(async { vec![1_u8; 100].len() }.in_heap(crate::limited()).checked().await, Ok(100));
            // Unchecked, it runs to its end.
            assert_eq!(async { vec![1_u8; 2 * LIMIT].len() }.in_heap(crate::limited()).await, 2 * LIMIT);
        });
    });
}

#[test]
fn a_future_makes_its_heap_from_options() {
    alone(|| {
        on_threads(2, async {
            let tenant = ALLOC.account("tenant").unwrap();
            tenant.set_limit(LIMIT);
            let options = tenant.heap_options().name("request");
            assert_eq!(async { 7 }.in_heap_with(options.clone()).await, Ok(7));
            let over = runaway().in_heap_with(options.clone()).await;
            let Err(HeapError::LimitExceeded(error)) = over else { panic!("no error") };
            assert_eq!(error.account.as_str(), "tenant");
            // A neighbour below the same account is not over the limit: there is room again.
            let neighbour = async { vec![1_u8; LIMIT / 2].len() };
            assert_eq!(neighbour.in_heap_with(options).await, Ok(LIMIT / 2));
            assert_eq!(tenant.statistics().held_bytes, 0);
        });
    });
}

#[test]
fn what_is_polled_again_after_its_end_panics_outside() {
    alone(|| {
        on_threads(1, async {
            let mut ended = std::pin::pin!(async {}.in_heap(heap()));
            ended.as_mut().await;
            let context = &mut std::task::Context::from_waker(std::task::Waker::noop());
            assert!(panics(|| ended.as_mut().poll(context).is_ready()));
            assert_eq!(current(), None);
        });
    });
}

/// A forgotten guard leaves the heap entered; the next poll's end leaves it after all, and one that
/// is entered in a saved context cannot be polled.
#[test]
fn forgotten_guards_do_no_harm() {
    use context_allocator::switch::SavedContext;
    use std::task::{Context, Waker};
    alone(|| {
        let context = &mut Context::from_waker(Waker::noop());
        let mut future = Box::pin(pending::<()>().in_heap(heap()));
        std::mem::forget(future.heap().guard().unwrap());
        assert!(current().is_some());
        assert!(future.as_mut().poll(context).is_pending());
        assert_eq!(current(), None);
        assert!(future.as_mut().poll(context).is_pending());
        std::mem::forget(future.heap().guard().unwrap());
        let saved = ALLOC.switch(SavedContext::default());
        assert!(panics(|| future.as_mut().poll(context).is_pending()));
        drop(future);
        drop(saved);
    });
}
