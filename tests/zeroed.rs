//! Zeroed memory that is known to be zero is not written: it takes no memory before it is used. And
//! it is zero.

#![cfg(all(feature = "testing", target_os = "linux"))]

mod support;

use std::alloc::GlobalAlloc;
use std::ptr::NonNull;
use std::rc::Rc;

use context_allocator::alloc::{KeepApart, Lifetime, MergeAdjacent, Reset};
use context_allocator::size::U32;
use context_allocator::source::{
    CachingSource, CountingSource, FallbackSource, LimitSource, PooledSource, RecordingSource, RegionSource,
    RunSource,
};
use context_allocator::testing::RefusingSource;
use context_allocator::{
    Allocator, ArenaSource, BumpAllocator, ContextAllocator, Locked, MmapAllocator, MmapSource,
    MultipleBinarySearchTreeAllocator,
};
use support::forking::in_a_child;
use support::layout;
use support::pools::resident;

type Tree<S = MmapSource, M = KeepApart> = MultipleBinarySearchTreeAllocator<S, U32, M>;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// What a large zeroed block may take for headers, and for what was used before it: a step of a
/// bump, a few pages.
const SLACK: usize = 128 * KIB;

fn resident_of(block: NonNull<[u8]>) -> usize {
    let start = block.addr().get();
    let first = start & !4095;
    resident(first, start + block.len() - first)
}

fn byte(block: NonNull<[u8]>, at: usize) -> u8 {
    assert!(at < block.len());
    let place = block.cast::<u8>().as_ptr().wrapping_add(at);
    // SAFETY: The block is allocated, initialised, and has that many bytes.
    unsafe { place.read() }
}

fn is_zero(block: NonNull<[u8]>, from: usize) -> bool {
    // SAFETY: The block is allocated and initialised.
    let bytes = unsafe { block.as_ref() };
    bytes[from..].iter().all(|&byte| byte == 0)
}

fn fill(block: NonNull<[u8]>) {
    // SAFETY: The block is allocated.
    unsafe { block.cast::<u8>().write_bytes(0xA5, block.len()) };
}

/// As [`untouched_when_allocated`] and [`untouched_when_grown`].
#[track_caller]
fn untouched<A: Allocator>(name: &str, make: impl Fn() -> A) {
    untouched_when_allocated(name, &make);
    untouched_when_grown(name, &make());
}

/// Large zeroed blocks, at the start and behind small ones: they take no memory. Then they are used
/// and freed, and what comes next is zero all the same.
#[track_caller]
fn untouched_when_allocated<A: Allocator>(name: &str, make: impl Fn() -> A) {
    for (size, align) in [(64 * MIB, 8), (5 * MIB, 4096), (MIB + 24, 8)] {
        let allocator = make();
        let asked = layout(size, align);
        let block = allocator.allocate_zeroed(asked).expect("memory");
        assert!(resident_of(block) <= SLACK, "{name}: {size} bytes take {}", resident_of(block));
        assert!(is_zero(block, 0), "{name}");
        let small = layout(100, 8);
        let other = allocator.allocate_zeroed(small).expect("memory");
        assert!(is_zero(other, 0), "{name}");
        fill(block);
        // SAFETY: Allocated above with this layout, and not used again.
        unsafe { allocator.deallocate(block.cast(), asked) };
        let again = allocator.allocate_zeroed(asked).expect("memory");
        assert!(is_zero(again, 0), "{name}: {size} bytes that were used are not zero");
        // SAFETY: As above.
        unsafe { allocator.deallocate(again.cast(), asked) };
        // SAFETY: As above.
        unsafe { allocator.deallocate(other.cast(), small) };
    }
}

/// A small block that grows to a large zeroed one: that takes no memory.
#[track_caller]
fn untouched_when_grown<A: Allocator>(name: &str, allocator: &A) {
    let (small, large) = (layout(5000, 8), layout(40 * MIB, 8));
    let block = allocator.allocate(small).expect("memory");
    fill(block);
    // SAFETY: Allocated above with this layout.
    let grown = unsafe { allocator.grow_zeroed(block.cast(), small, large) }.expect("memory");
    assert!(resident_of(grown) <= SLACK, "{name}: what is grown takes {}", resident_of(grown));
    assert!(byte(grown, 4999) == 0xA5 && is_zero(grown, 5000), "{name}");
    // SAFETY: As above, and not used again.
    unsafe { allocator.deallocate(grown.cast(), large) };
}

/// A part of a region that is there already, of which nothing was used yet.
#[test]
fn what_is_left_of_a_region_is_not_touched() {
    fn rest<A: Allocator>(name: &str, allocator: A) {
        let large = layout(3 * MIB, 8);
        // Regions double, so that there are some of many mebibytes.
        let blocks: Vec<_> =
            (0..40).map(|_| allocator.allocate(layout(MIB / 2, 8)).expect("memory")).collect();
        blocks.iter().for_each(|&block| fill(block));
        for _ in 0..4 {
            let block = allocator.allocate_zeroed(large).expect("memory");
            assert!(resident_of(block) <= SLACK, "{name}: {}", resident_of(block));
            assert!(is_zero(block, 0), "{name}");
        }
        let small = allocator.allocate(layout(5000, 8)).expect("memory");
        fill(small);
        // SAFETY: Just allocated with this layout.
        let grown =
            unsafe { allocator.grow_zeroed(small.cast(), layout(5000, 8), layout(MIB, 8)) }.expect("memory");
        assert!(resident_of(grown) <= SLACK && is_zero(grown, 5000), "{name}: {}", resident_of(grown));
    }
    rest("bump", BumpAllocator::new(MmapSource::new()));
    rest("tree", Tree::<_>::new(MmapSource::new()));
    // A merging tree forgets it where a region was joined below another.
}

#[test]
fn what_is_known_to_be_zero_is_not_touched() {
    untouched("maps", MmapAllocator::new);
    untouched("pooled maps", || MmapAllocator::new_in(PooledSource::new()));
    untouched("slices", || MmapAllocator::new_in(RunSource::new(MmapSource::new())));
    untouched("bump", || BumpAllocator::new(MmapSource::new()));
    untouched("tree", || Tree::<_>::new(MmapSource::new()));
    // Where the kernel maps a region right below another, a merging tree joins them, and forgets
    // it.
    untouched_when_allocated("merging tree", || Tree::<_, MergeAdjacent>::new_in(MmapSource::new()));
    untouched("bump of slices", || BumpAllocator::new(RunSource::new(MmapSource::new())));
    untouched("tree of slices", || Tree::<RunSource>::new(RunSource::new(MmapSource::new())));
}

#[test]
fn wrappers_pass_on_that_it_is_zero() {
    let tree = || Tree::<_>::new(MmapSource::new());
    untouched("rc", || Rc::new(tree()));
    untouched("locked", || Locked::new(tree()));
    untouched("short-lived", || ContextAllocator::new(MmapSource::new(), Lifetime::Short));
    untouched("long-lived", || ContextAllocator::new(MmapSource::new(), Lifetime::Long));
    untouched("limit", || BumpAllocator::new(LimitSource::new(MmapSource::new(), usize::MAX)));
    untouched("count", || BumpAllocator::new(CountingSource::new(MmapSource::new())));
    untouched("refusing", || BumpAllocator::new(RefusingSource::never(MmapSource::new())));
    untouched("recording", || BumpAllocator::new(RecordingSource::new(MmapSource::new())));
    let fallback = || FallbackSource::new(RegionSource::new(&mut []), MmapSource::new());
    untouched("fallback", || BumpAllocator::new(fallback()));
    let adapted = tree().adapt();
    let asked = layout(64 * MIB, 8).layout();
    // SAFETY: The size is not zero.
    let block = NonNull::new(unsafe { adapted.alloc_zeroed(asked) }).expect("memory");
    let block = NonNull::slice_from_raw_parts(block, 64 * MIB);
    assert!(resident_of(block) <= SLACK);
    // SAFETY: Just allocated with this layout, and not used again.
    unsafe { adapted.dealloc(block.as_ptr().cast(), asked) };
}

/// A cache forgets what it knew, an arena knows it of what it never gave.
#[test]
fn sources_of_used_memory_do_not_call_it_zero() {
    for _ in 0..3 {
        let cache = CachingSource::new(MmapSource::new());
        for _ in 0..3 {
            let bump = BumpAllocator::new(&cache);
            let asked = layout(3 * MIB, 8);
            let block = bump.allocate_zeroed(asked).expect("memory");
            assert!(is_zero(block, 0));
            fill(block);
        }
        let arena = ArenaSource::new(MmapSource::new());
        for _ in 0..3 {
            let bumps: Vec<_> = (0..20).map(|_| BumpAllocator::new(&arena)).collect();
            for bump in &bumps {
                let block = bump.allocate_zeroed(layout(60_000, 8)).expect("memory");
                assert!(is_zero(block, 0));
                fill(block);
            }
        }
        let bump = BumpAllocator::new(&arena);
        bump.allocate(layout(60_000, 8)).expect("memory");
    }
}

/// Many operations, with blocks of a few bytes to a few mebibytes: what is said to be zero is.
fn zeros_among_others<A: Allocator>(allocator: &A, seed: u64, operations: usize) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut held: Vec<(NonNull<[u8]>, _)> = Vec::new();
    let any = |random: &mut fastrand::Rng| {
        let most = 1 << random.u32(1..22);
        let size = 1 + random.usize(..most);
        layout(size, 1 << random.u32(..13))
    };
    for _ in 0..operations {
        match random.u8(..10) {
            0..4 if !held.is_empty() => {
                let (block, asked) = held.swap_remove(random.usize(..held.len()));
                // SAFETY: Allocated below with this layout, and not used again.
                unsafe { allocator.deallocate(block.cast(), asked) };
            }
            4..6 if !held.is_empty() => {
                let (block, old) = held.swap_remove(random.usize(..held.len()));
                let new = layout(old.size() + random.usize(..old.size() * 2), old.align());
                // SAFETY: Allocated below with this layout.
                let grown = unsafe { allocator.grow_zeroed(block.cast(), old, new) }.expect("memory");
                assert!(is_zero(grown, old.size()), "grown from {old:?} to {new:?}");
                fill(grown);
                held.push((grown, new));
            }
            6 => {
                let asked = any(&mut random);
                let block = allocator.allocate(asked).expect("memory");
                fill(block);
                held.push((block, asked));
            }
            _ => {
                let asked = any(&mut random);
                let block = allocator.allocate_zeroed(asked).expect("memory");
                assert!(is_zero(block, 0), "{asked:?}");
                fill(block);
                held.push((block, asked));
            }
        }
        if held.len() > 30 {
            for (block, asked) in held.drain(..20) {
                // SAFETY: Allocated above with this layout, and not used again.
                unsafe { allocator.deallocate(block.cast(), asked) };
            }
        }
    }
    for (block, asked) in held {
        // SAFETY: Allocated above with this layout, and not used again.
        unsafe { allocator.deallocate(block.cast(), asked) };
    }
}

#[test]
fn zeros_are_zero_whatever_came_before() {
    for seed in 0..3 {
        zeros_among_others(&Tree::<_>::new(MmapSource::new()), seed, 2000);
        zeros_among_others(&Tree::<_, MergeAdjacent>::new_in(MmapSource::new()), seed, 2000);
        zeros_among_others(&MmapAllocator::new_in(RunSource::new(MmapSource::new())), seed, 500);
        let mut bump = BumpAllocator::new(MmapSource::new());
        let mut tree = Tree::<_>::new(MmapSource::new());
        for round in 0..20 {
            zeros_among_others(&bump, seed * 100 + round, 30);
            bump.scope(|bump| zeros_among_others(&*bump, seed * 100 + round, 30));
            bump.reset();
            zeros_among_others(&tree, seed * 100 + round, 60);
            tree.reset();
        }
    }
}

/// Regions of which nothing is used take memory for their headers only.
#[test]
fn metadata_of_sparse_regions_is_not_touched() {
    // What other tests use would count.
    in_a_child(sparse_regions);
}

fn sparse_regions() {
    let sparse = layout(4096 * MIB, 8);
    fn takes<A: Allocator>(name: &str, allocator: &A, sparse: context_allocator::NonZeroLayout) {
        allocator.allocate(layout(8, 8)).expect("memory");
        let before = private();
        // Some sandboxes give no process so much.
        let Ok(_block) = allocator.allocate(sparse) else { return };
        let taken = private().saturating_sub(before);
        assert!(taken < MIB, "{name}: {} KiB for 4 GiB that are not touched", taken / KIB);
    }
    takes("bump", &BumpAllocator::new(MmapSource::new()), sparse);
    takes("merging tree", &Tree::<_, MergeAdjacent>::new_in(MmapSource::new()), sparse);
    let mut tree = Tree::<_>::new(MmapSource::new());
    takes("tree", &tree, sparse);
    let before = private();
    tree.reset();
    let taken = private().saturating_sub(before);
    assert!(taken < MIB, "reset: {} KiB", taken / KIB);
}

/// Bytes of private memory that the process has.
fn private() -> usize {
    let numbers = std::fs::read_to_string("/proc/self/statm").expect("Linux says so");
    let pages = |at: usize| numbers.split(' ').nth(at).and_then(|pages| pages.parse::<usize>().ok());
    (pages(1).expect("a number") - pages(2).expect("a number")) * 4096
}
