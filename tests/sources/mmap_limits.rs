//! Memory maps of a process that may have no more of them.

use std::fs;

use crate::support::forking::in_a_child;
use crate::support::layout;
use context_allocator::{MemorySource, MmapSource};

/// Bytes of private memory that the process has.
fn resident() -> usize {
    let numbers = fs::read_to_string("/proc/self/statm").expect("Linux says so");
    let pages = |at: usize| numbers.split(' ').nth(at).and_then(|pages| pages.parse::<usize>().ok());
    (pages(1).expect("a number") - pages(2).expect("a number")) * 4096
}

/// The kernel joins neighbours into one map; to cut one out of the middle takes a further map, of
/// which a process may have 65,530. The addresses are then lost, but not the memory.
#[test]
fn what_cannot_be_unmapped_takes_no_memory() {
    let most: usize = fs::read_to_string("/proc/sys/vm/max_map_count")
        .ok()
        .and_then(|most| most.trim().parse().ok())
        .expect("Linux says so");
    if most > 100_000 {
        println!("skipped: this process may have {most} maps");
        return;
    }
    in_a_child(|| {
        let source = MmapSource::new();
        let page = layout(4096, 8);
        const LAST: usize = 8000;
        let mut held: Vec<_> =
            (0..2 * (most + LAST)).map(|_| source.obtain(page).expect("the kernel joins them")).collect();
        held.sort_by_key(|region| region.cast::<u8>().addr());
        let mut every_second: Vec<_> = held.into_iter().step_by(2).collect();
        let last = every_second.split_off(most);
        for region in every_second {
            // SAFETY: Obtained with this layout, and not used again.
            unsafe { source.release(region, page) };
        }
        let before = resident();
        for region in &last {
            // SAFETY: The region is held.
            unsafe { region.cast::<u8>().write(1) };
        }
        assert!(resident() - before >= LAST * 4096 / 2);
        for region in last {
            // SAFETY: Obtained with this layout, and not used again.
            unsafe { source.release(region, page) };
        }
        let kept = resident().saturating_sub(before);
        assert!(kept < LAST * 4096 / 8, "{kept} bytes were lost");
    });
}
