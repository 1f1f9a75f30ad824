//! What the tiers keep free after a burst is in the figures, and so is what `trim` gives back to
//! the operating system.

#![cfg(feature = "std")]

use std::hint::black_box;

use context_allocator::MmapSource;
use context_allocator::source::{Purge, RunSource};

// One that gives nothing back by itself.
static POOL: RunSource = RunSource::for_static(&POOL, MmapSource::new(), Purge::never());

context_allocator::global_thread_and_coroutine_switchable_allocator!(static ALLOC from POOL: RunSource);

/// Bytes of the process that are resident.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").expect("the process's size");
    text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("a number of pages") * 4096
}

const MIB: usize = 1 << 20;

#[test]
fn a_burst_stays_in_the_figures_until_it_is_trimmed() {
    let quiet = ALLOC.statistics();
    // 64 MiB in a heap, and 32 MiB of large objects.
    let heap = ALLOC.heap().expect("memory for a heap");
    heap.enter(|| {
        let blocks: Vec<Vec<u8>> = (0..64 * 32).map(|_| black_box(vec![1; 32 << 10])).collect();
        let large: Vec<Vec<u8>> = (0..32).map(|_| black_box(vec![2; MIB])).collect();
        assert!(ALLOC.statistics().heap_bytes >= 96 * MIB);
        drop((blocks, large));
    });
    drop(heap);
    let burst = ALLOC.statistics();
    assert!(burst.heap_bytes <= quiet.heap_bytes + MIB, "{burst:?}");
    let kept = burst.idle_bytes - quiet.idle_bytes;
    let kept_resident = burst.idle_resident_bytes - quiet.idle_resident_bytes;
    assert!(kept >= 60 * MIB && kept_resident >= 60 * MIB, "{kept} {kept_resident}");
    assert_eq!(burst.free_heap_bytes, 0, "a heap of 64 MiB keeps nothing for the next one");
    drop(ALLOC.heap().expect("memory for a heap").enter(|| black_box(vec![3_u8; 100])));
    let kept = ALLOC.statistics().free_heap_bytes;
    assert!((1..=64 * 1024).contains(&kept), "{kept} bytes for the next heap");

    let before = resident();
    let trimmed = ALLOC.trim();
    let given_back = before.saturating_sub(resident());
    assert!(trimmed.bytes >= 60 * MIB, "{trimmed:?}");
    assert!(trimmed.resident_bytes >= 60 * MIB, "{trimmed:?}");
    let difference = trimmed.resident_bytes.abs_diff(given_back);
    // A pool takes what it gets back as resident; the heap's last region was touched in part.
    assert!(difference <= 8 * MIB, "{trimmed:?}, and the process shrank by {given_back} bytes");
    let after = ALLOC.statistics();
    assert!(after.idle_resident_bytes <= MIB, "{after:?}");
    assert_eq!(after.free_heap_bytes, 0);
    assert_eq!(after.trimmed_resident_bytes - burst.trimmed_resident_bytes, trimmed.resident_bytes as u64);

    // The heaps of threads that ended.
    std::thread::spawn(|| drop(black_box(vec![vec![1_u8; 1000]; 1000])))
        .join()
        .expect("the thread ends well");
    let ended = ALLOC.statistics();
    assert!(ended.parked_heaps >= 1 && ended.parked_bytes <= ended.thread_bytes, "{ended:?}");
    ALLOC.trim();
    assert_eq!(ALLOC.statistics().parked_bytes, 0);
}
