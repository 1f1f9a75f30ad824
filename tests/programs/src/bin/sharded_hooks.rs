//! A `Sharded` alone as the global allocator, with its fork handlers registered by the program,
//! beside a declaration over the same pool: the locks of both are taken by handlers of two
//! libraries.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use context_allocator::size::U65536;
use context_allocator::{Allocator, ArenaSource, Builder, BumpAllocator, NonZeroLayout, SlabAllocator, Tiers};
use context_allocator::adapt::AllocatorAdaptor;
use context_allocator::alloc::Sharded;
use context_allocator::source::PooledSource;
use context_allocator::switch::NoTier;

#[global_allocator]
static GLOBAL: AllocatorAdaptor<Sharded<SlabAllocator<PooledSource>>> =
    AllocatorAdaptor::new(Sharded::new(SlabAllocator::new(PooledSource::new())));

type OverPool = ArenaSource<PooledSource, U65536, U65536>;

context_allocator::switchable_allocator!(
    static ALLOC: Tiers<BumpAllocator<OverPool>, NoTier, std::alloc::System> = Builder::new()
        .coroutine_tier(BumpAllocator::new(OverPool::new_in(PooledSource::new())))
        .without_thread_tier()
        .global_tier(std::alloc::System)
        .build()
);

unsafe extern "C" fn before() {
    // SAFETY: `after` is called behind it, on this thread or its copy.
    unsafe { GLOBAL.inner().before_fork() };
}

unsafe extern "C" fn after() {
    // SAFETY: `before` was called.
    unsafe { GLOBAL.inner().after_fork() };
}

fn main() {
    // SAFETY: Both are functions of the program.
    unsafe { libc::pthread_atfork(Some(before), Some(after), Some(after)) };
    let layout = NonZeroLayout::from_size_align(20_000, 8).expect("a layout");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !stop.load(Relaxed) {
                    let heap = ALLOC.heap().expect("memory for a heap");
                    heap.enter(|| (0..20).for_each(|_| assert!(ALLOC.allocate(layout).is_ok())));
                    // SAFETY: No block of the heap is used any more.
                    unsafe { heap.destroy() };
                    ALLOC.trim();
                }
            });
        }
        for _ in 0..1500 {
            // SAFETY: The child allocates and ends.
            let child = unsafe { libc::fork() };
            if child == 0 {
                drop(std::hint::black_box(vec![1_u8; 1000]));
                // SAFETY: Always callable.
                unsafe { libc::_exit(0) };
            }
            let mut status = 0;
            // SAFETY: The status is writable.
            unsafe { libc::waitpid(child, &raw mut status, 0) };
            assert_eq!(status, 0, "the child failed");
        }
        stop.store(true, Relaxed);
    });
    println!("1500 forks");
}
