//! Three switchable allocators in one process (the program's and two libraries' own, one of which
//! nests its sources' locks in an order of its own), threads that come and go, and forks.

use std::hint::black_box;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use context_allocator::size::U65536;
use context_allocator::{Allocator, ArenaSource, Builder, BumpAllocator, MultipleBinarySearchTreeAllocator, NonZeroLayout, Tiers};
use context_allocator::source::PooledSource;

context_allocator::global_thread_and_coroutine_switchable_allocator!(static ALLOC);

mod library {
    context_allocator::switchable_allocator!(pub static PRIVATE);
}

/// An arena that asks the process's pool for each block, with its own lock held.
type OverPool = ArenaSource<PooledSource, U65536, U65536>;

// One tier stands on the process's pool, the other on an arena over the same pool: fork handlers
// that take the pool's lock for the first tier must not wait for the arena's, which another thread
// holds while it waits for the pool's.
context_allocator::switchable_allocator!(
    static NESTED: Tiers<
        BumpAllocator<PooledSource>,
        MultipleBinarySearchTreeAllocator<OverPool>,
        std::alloc::System,
    > = Builder::new()
        .coroutine_tier(BumpAllocator::new(PooledSource::new()))
        .thread_tier(MultipleBinarySearchTreeAllocator::new(OverPool::new_in(PooledSource::new())))
        .global_tier(std::alloc::System)
        .build()
);

fn blocks_of(allocator: &impl Allocator, size: usize, count: usize) {
    let layout = NonZeroLayout::from_size_align(size, 8).expect("a layout");
    let blocks: Vec<_> = (0..count).map(|_| allocator.allocate(layout).expect("memory")).collect();
    for block in blocks {
        // SAFETY: Just allocated with this layout, and used by nobody.
        unsafe { allocator.deallocate(block.cast(), layout) };
    }
}

fn work(number: usize) {
    drop(black_box((0..1000).map(|_| vec![1_u8; 1000]).collect::<Vec<_>>()));
    blocks_of(&library::PRIVATE, 100 + number % 2000, 200);
    for _ in 0..20 {
        // Each time the arena has nothing, and asks the pool.
        blocks_of(&NESTED, 3000 + number % 20000, 50);
        NESTED.trim();
    }
    let heap = NESTED.heap().expect("memory for a heap");
    heap.enter(|| blocks_of(&NESTED, 2000, 60));
}

fn main() {
    let stop = AtomicBool::new(false);
    blocks_of(&library::PRIVATE, 100, 1);
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let stop = &stop;
            scope.spawn(move || {
                let mut number = thread;
                while !stop.load(Relaxed) {
                    std::thread::scope(|inner| {
                        inner.spawn(|| work(number));
                    });
                    number += 3;
                }
            });
        }
        for number in 0..1000 {
            if number % 10 == 0 {
                // The standard library forks here, because the path is changed.
                let status = Command::new("true").env("PATH", "/usr/bin:/bin").status().expect("a process");
                assert!(status.success());
                continue;
            }
            // SAFETY: The child allocates, frees and ends.
            let child = unsafe { libc::fork() };
            if child == 0 {
                work(number);
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
    println!("1000 forks");
}
