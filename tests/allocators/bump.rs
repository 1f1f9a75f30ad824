//! What a bump allocator promises beyond the traits: where blocks lie, checkpoints, scopes, which
//! region is kept.

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::support::CheckingSource;
use crate::support::layout;
use crate::support::ledger::{Ledger, Taking, Way};
use context_allocator::alloc::Reset;
use context_allocator::source::{LimitSource, RegionSource};
use context_allocator::{Allocator, BumpAllocator, MmapSource};

type Source = CheckingSource<MmapSource>;

/// The most bytes that a rewind keeps of what it frees.
const MOST_KEPT: usize = 4 << 20;

#[test]
fn blocks_follow_each_other() {
    let bump = BumpAllocator::new(MmapSource::new());
    let mut ledger = Ledger::new(&bump);
    let mut expected = None;
    for size in [1, 8, 9, 24, 100, 1] {
        let address = ledger.allocate(layout(size, 8)).expect("memory");
        let len = ledger.get(address).len();
        assert_eq!(len, size.next_multiple_of(8), "a block takes its size in units of 8 bytes");
        assert!(expected.is_none_or(|expected| expected == address));
        expected = Some(address + len);
    }
}

#[test]
fn the_last_block_grows_shrinks_and_is_given_back_in_place() {
    let bump = BumpAllocator::new(MmapSource::new());
    let mut ledger = Ledger::new(&bump);
    let first = ledger.allocate(layout(64, 8)).expect("memory");
    for (size, way) in [(1000, Way::Grow), (5000, Way::GrowZeroed), (24, Way::Shrink), (64, Way::Grow)] {
        assert_eq!(ledger.resize(first, layout(size, 8), way), Ok(first));
        assert_eq!(ledger.get(first).len(), size);
    }
    let second = ledger.allocate(layout(64, 8)).expect("memory");
    assert_eq!(second, first + 64);
    // The first is not the last any more: it moves to grow, and stays as long as it is to shrink.
    let third = ledger.resize(first, layout(72, 8), Way::Grow).expect("memory");
    assert_eq!(third, second + 64);
    assert_eq!(ledger.resize(second, layout(8, 8), Way::Shrink), Ok(second));
    // Given back, the last makes room for the next.
    ledger.free(third);
    let fourth = ledger.allocate(layout(8, 8)).expect("memory");
    assert_eq!(fourth, third);
    // What was kept when the second shrank is its own, whatever happens to the last.
    assert_eq!(ledger.get(second).len(), 64);
    ledger.free(fourth);
    ledger.resize(second, layout(80, 8), Way::Grow).expect("memory");
    ledger.free_all();
}

#[test]
fn the_last_block_moves_when_its_region_ends() {
    let source = Source::new(MmapSource::new());
    let bump = BumpAllocator::new(&source);
    let mut ledger = Ledger::new(&bump);
    let address = ledger.allocate(layout(1000, 8)).expect("memory");
    let room = source.counts().bytes;
    let moved = ledger.resize(address, layout(room, 8), Way::Grow).expect("memory");
    assert_ne!(moved, address);
    assert_eq!(source.counts().held, 2);
    ledger.free_all();
}

#[test]
fn a_block_may_fill_its_region_to_the_last_byte() {
    // A region's first 16 bytes are the allocator's.
    let mut bytes = Box::new([MaybeUninit::<u128>::uninit(); 256]);
    // SAFETY: The bytes are those of the box, which outlives the source and is not used meanwhile.
    let source = unsafe { RegionSource::from_raw(std::ptr::NonNull::from(&mut *bytes).cast(), 4096) };
    let bump = BumpAllocator::new(source);
    let mut ledger = Ledger::new(&bump);
    let whole = ledger.allocate(layout(4080, 16)).expect("the region has room for exactly this");
    assert!(ledger.allocate(layout(1, 1)).is_err());
    assert!(ledger.resize(whole, layout(4081, 16), Way::Grow).is_err());
    assert_eq!(ledger.resize(whole, layout(8, 16), Way::Shrink), Ok(whole));
    assert_eq!(ledger.allocate(layout(4072, 8)), Ok(whole + 8));
    ledger.free_all();
}

#[test]
fn rewinding_frees_what_came_after() {
    let source = Source::new(MmapSource::new());
    let bump = BumpAllocator::new(&source);
    let start = bump.checkpoint();
    let mut ledger = Ledger::new(&bump);
    let kept = ledger.allocate(layout(100, 8)).expect("memory");
    let middle = bump.checkpoint();
    let held = source.counts().held;
    let mut later = Ledger::new(&bump);
    let next = later.allocate(layout(100, 8)).expect("memory");
    for _ in 0..50 {
        later.allocate(layout(20_000, 8)).expect("memory");
    }
    assert!(source.counts().held > held + 2);
    later.verify();
    later.take_all();
    // SAFETY: The checkpoint is this allocator's, nothing older was freed or resized, and the later
    // blocks are not used again.
    unsafe { bump.rewind(middle) };
    source.assert_sound();
    assert_eq!(source.counts().held, held + 1, "one of those obtained since is kept");
    ledger.verify();
    assert_eq!(later.allocate(layout(100, 8)), Ok(next), "the same place is given again");
    assert!(next > kept);
    later.take_all();
    // SAFETY: As above; this takes the block again.
    unsafe { bump.rewind(middle) };
    assert_eq!(later.allocate(layout(100, 8)), Ok(next));
    later.take_all();
    ledger.take_all();
    // SAFETY: As above, and no block at all is used again.
    unsafe { bump.rewind(start) };
    assert_eq!(source.counts().held, 1, "one of all is kept");
    Ledger::new(&bump).allocate(layout(1, 1)).expect("the allocator starts over");
    drop(bump);
    source.assert_all_released();
}

#[test]
fn a_scope_ends_with_what_it_allocated() {
    let source = Source::new(MmapSource::new());
    let mut bump = BumpAllocator::new(&source);
    // The first scope begins before there is a region, and leaves one for the next.
    bump.scope(|bump| assert!(Ledger::new(&*bump).allocate(layout(10, 1)).is_ok()));
    assert_eq!(source.counts().held, 1);
    let outer = Ledger::new(&bump).allocate(layout(8, 8)).expect("memory");
    let fill = |bump: &BumpAllocator<&Source>, blocks| {
        let mut ledger = Ledger::new(bump);
        let addresses: Vec<_> =
            (0..blocks).map(|_| ledger.allocate(layout(4000, 8)).expect("memory")).collect();
        ledger.verify();
        addresses[0]
    };
    let held = source.counts();
    for blocks in [1, 100, 3] {
        assert_eq!(bump.scope(|bump| fill(&bump, blocks)), outer + 8);
        source.assert_sound();
        let counts = source.counts();
        assert!(counts.held <= held.held + 1 && counts.bytes <= held.bytes + MOST_KEPT, "{counts:?}");
        assert_eq!(bump.region_bytes(), counts.bytes);
    }
}

/// Scopes of one kind take what they need from the source once, whatever there was before them.
#[test]
fn scopes_that_repeat_obtain_nothing() {
    for before in [0, 100, 60_000, 65_500, 200_000] {
        for blocks in [1, 60, 1000, 30_000] {
            let source = Source::new(MmapSource::new());
            let mut bump = BumpAllocator::new(&source);
            if before > 0 {
                bump.allocate(layout(before, 8)).expect("memory");
            }
            let mut scope = || {
                bump.scope(|bump| {
                    for _ in 0..blocks {
                        let block = bump.allocate(layout(100, 8)).expect("memory");
                        // SAFETY: The block was just allocated.
                        unsafe { block.cast::<u8>().write(1) };
                    }
                });
            };
            // Regions double, so a few scopes find the size that is enough.
            (0..8).for_each(|_| scope());
            let obtained = source.counts().obtained;
            (0..1000).for_each(|_| scope());
            assert_eq!(source.counts().obtained, obtained, "{before} bytes, then scopes of {blocks} blocks");
            source.assert_sound();
        }
    }
}

/// What is kept is bounded, and serves nothing but the allocator's own next need.
#[test]
fn what_a_scope_leaves_is_bounded() {
    let source = Source::new(MmapSource::new());
    let mut bump = BumpAllocator::new(&source);
    bump.allocate(layout(8, 8)).expect("memory");
    let held = source.counts().bytes;
    bump.scope(|bump| {
        for _ in 0..10 {
            bump.allocate(layout(3 << 20, 8)).expect("memory");
            bump.allocate(layout(40 << 20, 8)).expect("memory");
        }
    });
    assert!(source.counts().bytes <= held + MOST_KEPT, "{:?}", source.counts());
    // Nested, and after it was used.
    bump.scope(|bump| {
        let outer = bump.checkpoint();
        bump.allocate(layout(3 << 20, 8)).expect("memory");
        let inner = bump.checkpoint();
        bump.allocate(layout(5 << 20, 8)).expect("memory");
        bump.allocate(layout(100, 8)).expect("memory");
        // SAFETY: The checkpoint is this allocator's, and the blocks allocated since are not used.
        unsafe { bump.rewind(inner) };
        // SAFETY: As above.
        unsafe { bump.rewind(outer) };
    });
    assert!(source.counts().bytes <= held + MOST_KEPT, "{:?}", source.counts());
    bump.reset();
    assert_eq!(source.counts().held, 1, "a reset keeps one region and nothing else");
    bump.scope(|bump| bump.allocate(layout(1 << 20, 8)).map(|_| ()).expect("memory"));
    assert!(source.counts().held <= 2);
    drop(bump);
    source.assert_all_released();
    // What is kept is given back before a request is refused.
    let source = LimitSource::new(MmapSource::new(), 3 << 20);
    let mut bump = BumpAllocator::new(&source);
    bump.allocate(layout(8, 8)).expect("memory");
    bump.scope(|bump| bump.allocate(layout(1 << 20, 8)).map(|_| ()).expect("memory"));
    bump.allocate(layout(5 << 19, 8)).expect("what was kept is out of the way");
}

#[test]
fn a_scope_ends_when_it_panics() {
    let source = Source::new(MmapSource::new());
    let mut bump = BumpAllocator::new(&source);
    let outer = Ledger::new(&bump).allocate(layout(8, 8)).expect("memory");
    let held = source.counts();
    let reached = Cell::new(0);
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        bump.scope(|bump| {
            let mut ledger = Ledger::new(&*bump);
            for _ in 0..100 {
                ledger.allocate(layout(4000, 8)).expect("memory");
            }
            reached.set(source.counts().held);
            panic!("in a scope");
        })
    }));
    assert!(panicked.is_err());
    assert!(reached.get() > held.held);
    source.assert_sound();
    assert!(source.counts().held <= held.held + 1 && source.counts().bytes <= held.bytes + MOST_KEPT);
    assert_eq!(Ledger::new(&bump).allocate(layout(8, 8)), Ok(outer + 8));
}

#[test]
fn reset_keeps_the_largest_region() {
    let source = Source::new(MmapSource::new());
    let mut bump = BumpAllocator::new(&source);
    let mut largest = 0;
    for size in [10, 3 << 20, 100_000, 10 << 20, 100] {
        let before = source.counts().bytes;
        Ledger::new(&bump).allocate(layout(size, 8)).expect("memory");
        largest = largest.max(source.counts().bytes - before);
    }
    assert!(source.counts().held >= 3);
    assert_eq!(bump.region_bytes(), source.counts().bytes);
    bump.reset();
    source.assert_sound();
    assert_eq!((source.counts().held, source.counts().bytes), (1, largest));
    let obtained = source.counts().obtained;
    for _ in 0..10 {
        let mut ledger = Ledger::new(&bump);
        ledger.allocate(layout(10 << 20, 8)).expect("the kept region has room");
        ledger.verify();
        bump.reset();
    }
    assert_eq!(source.counts().obtained, obtained, "what is kept is enough");
    drop(bump);
    source.assert_all_released();
}

/// Regions double, so allocating much takes few of them.
#[test]
fn regions_are_few() {
    let source = Source::new(MmapSource::new());
    let bump = BumpAllocator::new(&source);
    let mut ledger = Ledger::new(&bump);
    for _ in 0..10_000 {
        ledger.allocate(layout(1600, 8)).expect("memory");
    }
    let counts = source.counts();
    assert!(counts.held <= 10, "{counts:?}");
    assert!(counts.bytes <= 16_000_000 + (4 << 20) + (64 << 10), "{counts:?}");
    ledger.verify();
}

/// A block that needs a region of its own leaves the allocator usable, and its region as large as
/// needed.
#[test]
fn a_large_block_takes_what_it_needs() {
    let source = Source::new(MmapSource::new());
    let bump = BumpAllocator::new(&source);
    for (size, align) in [(64 << 20, 8), (64 << 20, 1 << 20), (8, 64 << 20)] {
        let before = source.counts().bytes;
        let address = Ledger::new(&bump).allocate(layout(size, align)).expect("memory");
        assert!(source.holds(address, size));
        assert!(source.counts().bytes - before <= size + align + 4096 + 16);
        assert!(bump.allocate(layout(8, 8)).is_ok());
    }
}
