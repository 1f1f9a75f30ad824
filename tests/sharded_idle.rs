//! What idle shards hold, without anybody calling them.

#![cfg(feature = "std")]

use std::alloc::{GlobalAlloc, Layout};
use std::fs;
use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use context_allocator::adapt::AllocatorAdaptor;
use context_allocator::alloc::Sharded;
use context_allocator::source::PooledSource;
use context_allocator::switch::NoTier;
use context_allocator::{Allocator, Builder, SlabAllocator, Tiers, switchable_allocator};

type Shards = Sharded<SlabAllocator<PooledSource>>;

static SHARDED: AllocatorAdaptor<Shards> =
    AllocatorAdaptor::new(Sharded::new(SlabAllocator::new(PooledSource::new())));

switchable_allocator!(
    static SWITCH: Tiers<NoTier, NoTier, AllocatorAdaptor<Shards>> = Builder::new()
        .without_coroutine_tier()
        .without_thread_tier()
        .global_tier_allocator(Sharded::new(SlabAllocator::new(PooledSource::new())))
        .build()
);

const THREADS: usize = 16;
/// What shards may hold beyond what is live: see `Sharded`.
const IDLE: usize = 2 << 20;
/// The largest slab.
const SLAB: usize = 256 << 10;

fn held() -> usize {
    let usage = PooledSource::new().usage();
    usage.obtained - usage.unused
}

fn resident() -> usize {
    let pages = fs::read_to_string("/proc/self/statm").unwrap();
    pages.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// Allocates a block of every size, at most one at a time.
fn touch_every_class(allocator: &dyn GlobalAlloc) {
    for _ in 0..3 {
        let mut size = 8;
        while size <= 260_000 {
            let layout = Layout::from_size_align(size, 8).unwrap();
            // SAFETY: The layout is not empty.
            let block = unsafe { allocator.alloc(layout) };
            assert!(!block.is_null());
            // SAFETY: Just allocated with this size.
            unsafe { block.write_bytes(1, size) };
            // SAFETY: As above; the block is not used again.
            unsafe { allocator.dealloc(black_box(block), layout) };
            size += (size / 8).max(8);
        }
    }
}

/// One test, since all of it is about the memory of one process.
#[test]
fn idle_shards_hold_little_and_trim_leaves_nothing() {
    let (held_before, resident_before) = (held(), resident());
    for _ in 0..THREADS {
        thread::spawn(|| touch_every_class(&SHARDED)).join().unwrap();
    }
    let after = held() - held_before;
    assert!(after <= IDLE + SLAB, "after threads that ended: {after}");
    thread::sleep(Duration::from_secs(2));
    let grown = resident().saturating_sub(resident_before);
    assert!(grown <= 2 << 20, "resident after threads that ended: {grown}");

    // Threads that stay, and do nothing.
    let (touched, end) = (Barrier::new(THREADS + 1), Barrier::new(THREADS + 1));
    let after = thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                touch_every_class(&SHARDED);
                touched.wait();
                end.wait();
            });
        }
        touched.wait();
        let after = held() - held_before;
        end.wait();
        after
    });
    assert!(after <= IDLE + THREADS * SLAB, "with threads that stay: {after}");

    // Much that is live on every shard, and then nothing: what slabs keep for the next allocations
    // is all that may stay.
    let layout = Layout::from_size_align(1000, 8).unwrap();
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                // SAFETY: The layout is not empty.
                let blocks: Vec<*mut u8> = (0..4000).map(|_| unsafe { SHARDED.alloc(layout) }).collect();
                assert!(blocks.iter().all(|block| !block.is_null()));
                for block in black_box(blocks) {
                    // SAFETY: Just allocated with this layout, and not used again.
                    unsafe { SHARDED.dealloc(block, layout) };
                }
            });
        }
    });
    let after = held() - held_before;
    assert!(after <= THREADS * 2 * SLAB + IDLE, "after a burst: {after}");

    assert!(SHARDED.inner().trim() > 0);
    assert_eq!(held(), held_before);
    assert_eq!(SHARDED.inner().trim(), 0);

    // What is live stays, whatever is trimmed, and the switch's trim reaches its global tier.
    // SAFETY: The layout is not empty.
    let block = unsafe { SWITCH.alloc_zeroed(layout) };
    touch_every_class(&SWITCH);
    assert!(held() > held_before + SLAB / 4);
    SWITCH.trim();
    assert_eq!(held(), held_before + SLAB / 4, "the slab of the block");
    // SAFETY: Allocated above with this size, and zeroed.
    assert!(unsafe { std::slice::from_raw_parts(block, 1000) }.iter().all(|byte| *byte == 0));
    // SAFETY: Allocated above with this layout, and not used again.
    unsafe { SWITCH.dealloc(block, layout) };
    SWITCH.trim();
    assert_eq!(held(), held_before);
}
