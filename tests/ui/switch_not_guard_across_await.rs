//! A future that holds a guard across an `await` stays on its thread.

// says: future cannot be sent between threads safely
// says: the trait `Send` is not implemented for `*mut ()`

context_allocator::switchable_allocator!(static ALLOC);

fn spawn(_task: impl Future<Output = ()> + Send) {}

fn main() {
    let heap = ALLOC.heap().expect("memory for a heap");
    spawn(async move {
        let _guard = heap.guard();
        std::future::ready(()).await;
    });
}
