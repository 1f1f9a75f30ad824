//! Tasks that tasks spawn: where they lie, and what limits them.

use context_allocator::switch::{FutureExt, HeapError};

use crate::*;

/// The task itself, twice as large as the heap may be, is no part of the request's heap.
#[test]
fn a_spawned_task_lies_outside_the_heap_that_spawns_it() {
    alone(|| {
        on_threads(2, async {
            let request = limited();
            let id = request.id();
            let work = async move {
                let large = [7_u8; 2 * LIMIT];
                let child = heap();
                let inside = child.id();
                let task = async move {
                    assert_eq!(current(), Some(inside));
                    once_pending().await;
                    large[large.len() - 1]
                };
                let task = ALLOC.spawn_in(child, task, tokio::spawn);
                assert_eq!(current(), Some(id));
                ALLOC.check().expect("the task lies outside");
                task.await.unwrap()
            };
            let future = work.in_heap(request).checked();
            assert_eq!(Box::pin(future).await, Ok(Ok(7)));
        });
    });
}

#[test]
fn children_share_a_limit_and_have_their_parent_s_own() {
    const SHARED: usize = 16 * LIMIT;
    alone(|| {
        on_threads(2, async {
            // Of two children that hold half of it and more, one is over the limit at least.
            let options = ALLOC.heap_options().shared_limit(SHARED).name("request");
            let request = async {
                let hold = || async {
                    let held = vec![1_u8; SHARED * 5 / 8];
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    held.len()
                };
                let tasks = [(); 2].map(|()| {
                    let options = ALLOC.child_options().name("child");
                    ALLOC.spawn_in_with(options, hold(), tokio::spawn)
                });
                let mut over = 0;
                for task in tasks {
                    match task.await.unwrap() {
                        Ok(held) => assert_eq!(held, SHARED * 5 / 8),
                        Err(HeapError::LimitExceeded(error)) => {
                            assert_eq!((error.limit, error.account.as_str()), (SHARED, ""));
                            over += 1;
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
                assert_eq!(over, 1);
                // The names: that of the child's account is below that of the request's.
                let names: Vec<_> = ALLOC.accounts().iter().map(|account| account.name).collect();
                assert!(names.iter().any(|name| name.as_str() == "request"));
                // Room again.
                vec![1_u8; SHARED / 2].len()
            };
            assert_eq!(request.in_heap_with(options).await, Ok(SHARED / 2));
            assert_eq!(ALLOC.accounts(), []);
            // Without an account: a limit of the child's own, as high.
            let parent = limited();
            assert_eq!(parent.child_options().make().unwrap().statistics().limit_bytes, LIMIT);
            let unbounded = ALLOC.child_options().make().unwrap();
            assert_eq!(unbounded.statistics().limit_bytes, usize::MAX);
        });
    });
}

#[test]
fn a_child_keeps_its_parent_s_account() {
    alone(|| {
        let parent = ALLOC.heap_options().shared_limit(LIMIT).make().unwrap();
        let options = parent.child_options();
        drop(parent);
        assert_eq!(ALLOC.accounts().len(), 1);
        let child = options.make().unwrap();
        let held = child.enter(|| vec![1_u8; 2 * LIMIT]);
        assert_eq!(child.check().unwrap_err().limit, LIMIT);
        drop((held, child));
        assert_eq!(ALLOC.accounts().len(), 0);
    });
}
