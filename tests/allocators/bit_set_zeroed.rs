//! Zeroed blocks of memory that a source gave as zero: what was never in use is not written.

use std::hint::black_box;
use std::ptr::NonNull;

use crate::support::layout;
use crate::support::ledger::{Ledger, Way};
use crate::support::model::{self, Profile};
use context_allocator::alloc::Lifetime;
use context_allocator::error::SourceError;
use context_allocator::size::BlockSize;
use context_allocator::size::{U16, U64, U4096};
use context_allocator::source::Obtained;
use context_allocator::{
    Allocator, ArenaSource, BitSetAllocator, ContextAllocator, Locked, MemorySource, MmapSource,
    NonZeroLayout,
};

const PAGE: usize = 4096;
const MIB: usize = 1 << 20;

/// How many pages of the block are in memory, the ones that it shares with others aside.
fn pages_in_memory(block: NonNull<[u8]>) -> usize {
    let start = block.cast::<u8>().addr().get();
    let first = start.next_multiple_of(PAGE);
    let len = (start + block.len() - first) / PAGE * PAGE;
    let mut pages = vec![0_u8; len / PAGE];
    let place = block.cast::<u8>().as_ptr().wrapping_add(first - start);
    // SAFETY: The pages are those of a block that is allocated, and there is a byte for each.
    let result = unsafe { libc::mincore(place.cast(), len, pages.as_mut_ptr()) };
    assert_eq!(result, 0);
    pages.iter().filter(|&&page| page & 1 != 0).count()
}

fn zeroed<A: Allocator>(allocator: &A, size: usize) -> NonNull<[u8]> {
    black_box(allocator.allocate_zeroed(layout(size, 8))).expect("a source without end")
}

fn free<A: Allocator>(allocator: &A, block: NonNull<[u8]>, size: usize) {
    // SAFETY: The callers allocated it with this layout, and do not use it again.
    unsafe { allocator.deallocate(block.cast(), layout(size, 8)) };
}

/// Blocks of `size` bytes, so many that they take several regions.
fn fresh_blocks_are_not_written<A: Allocator>(allocator: &A, size: usize, count: usize) {
    let blocks: Vec<_> = (0..count).map(|_| zeroed(allocator, size)).collect();
    let written: usize = blocks.iter().map(|&block| pages_in_memory(block)).sum();
    // The kernel may give large pages, of which one that was written to is all in memory.
    let most = 16 + count * size / PAGE / 50;
    assert!(written <= most, "{written} pages of {count} blocks of {size} bytes");
    blocks.iter().for_each(|&block| free(allocator, block, size));
}

fn maps() -> MmapSource {
    MmapSource::new()
}

#[test]
fn fresh_memory_of_a_bit_set_is_not_written() {
    for (size, count) in [(256 * MIB, 1), (20 * MIB, 2), (4 * MIB, 10), (300_000, 100), (20_000, 500)] {
        fresh_blocks_are_not_written(&BitSetAllocator::new(maps()), size, count);
    }
    fresh_blocks_are_not_written(&BitSetAllocator::<_, U4096>::new_in(maps()), 4096, 2000);
    let context = ContextAllocator::new(maps(), Lifetime::Medium);
    fresh_blocks_are_not_written(&context, 300_000, 100);
    let locked = Locked::new(BitSetAllocator::new(maps()));
    fresh_blocks_are_not_written(&locked, 300_000, 100);
}

/// Where the block grows, in place or elsewhere, what is new is not written either.
fn fresh_memory_is_not_written_by_growing<A: Allocator>(allocator: &A, between: bool) {
    let old = layout(MIB, 8);
    let block = zeroed(allocator, old.size());
    if between {
        zeroed(allocator, PAGE);
    }
    let new = layout(8 * MIB, 8);
    // SAFETY: The block was just allocated with the old layout, and the new one is larger.
    let grown = unsafe { allocator.grow_zeroed(block.cast(), old, new) }.expect("a source without end");
    let written = pages_in_memory(grown);
    assert!(written <= MIB / PAGE + 16, "{written} pages, with a block behind: {between}");
    free(allocator, grown, new.size());
}

#[test]
fn fresh_memory_of_a_bit_set_is_not_written_by_growing() {
    for between in [false, true] {
        let bit_set = BitSetAllocator::new(maps());
        // So much that the next region has room behind the block, if none is between.
        let _live: Vec<_> = (0..12).map(|_| zeroed(&bit_set, 12 * MIB)).collect();
        fresh_memory_is_not_written_by_growing(&BitSetAllocator::new(maps()), between);
        fresh_memory_is_not_written_by_growing(&bit_set, between);
        let locked = Locked::new(BitSetAllocator::new(maps()));
        fresh_memory_is_not_written_by_growing(&locked, between);
        let context = ContextAllocator::new(maps(), Lifetime::Medium);
        fresh_memory_is_not_written_by_growing(&context, between);
    }
}

/// What was in use before is zero too: blocks are filled, freed, and taken again in other places
/// and lengths.
#[test]
fn used_memory_is_zero_again() {
    fn over<B: BlockSize>() {
        let mut ledger_of = BitSetAllocator::<_, B>::new_in(maps());
        for _ in 0..2 {
            let mut ledger = Ledger::new(&ledger_of);
            for size in [100, 3000, 40_000, 700_000, 5 * MIB, 40, 20 * MIB] {
                let blocks: Vec<usize> =
                    (0..4).map(|_| ledger.allocate(layout(size, 8)).expect("maps")).collect();
                blocks.into_iter().for_each(|address| ledger.free(address));
                let address = ledger.allocate_zeroed(layout(size * 3 / 2, 8)).expect("maps");
                let larger = layout(size * 4, 8);
                ledger.resize(address, larger, Way::GrowZeroed).expect("maps");
                ledger.allocate_zeroed(layout(size, 8)).expect("maps");
            }
            ledger.free_all();
            context_allocator::alloc::Reset::reset(&mut ledger_of);
        }
    }
    over::<U16>();
    over::<U64>();
    over::<U4096>();
}

/// A source whose regions are zero only if it says so: every second one is filled with ones.
#[derive(Debug, Default)]
struct SometimesZero(MmapSource, std::cell::Cell<usize>);

// SAFETY: Regions are those of the memory maps, which are zero until they are filled; of those that
// are, nobody is told that.
unsafe impl MemorySource for SometimesZero {
    const MIN_ALIGN: usize = MmapSource::MIN_ALIGN;

    fn obtain(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, SourceError> {
        Ok(self.obtain_between(layout, layout.size())?.region)
    }

    fn obtain_between(&self, least: NonZeroLayout, preferred: usize) -> Result<Obtained, SourceError> {
        let region = self.0.obtain_between(least, preferred)?.region;
        self.1.set(self.1.get() + 1);
        let is_zero = self.1.get().is_multiple_of(2);
        if !is_zero {
            // SAFETY: The region was just obtained.
            unsafe { region.cast::<u8>().write_bytes(0xff, region.len()) };
        }
        Ok(Obtained { region, zeroed: is_zero })
    }

    unsafe fn release(&self, region: NonNull<[u8]>, layout: NonZeroLayout) {
        // SAFETY: The caller's promises.
        unsafe { self.0.release(region, layout) };
    }
}

#[test]
fn what_a_source_does_not_call_zero_is_written() {
    let profile = Profile { live: 2000, largest: 8192, ..Profile::MIXED.operations(100_000) };
    model::run(&BitSetAllocator::new(SometimesZero::default()), profile);
    let large = Profile { largest: 24 * MIB, live: 6, ..Profile::LARGE.operations(300) };
    model::run(&BitSetAllocator::new(SometimesZero::default()), large);
    let arena = ArenaSource::new(SometimesZero::default());
    model::run(&BitSetAllocator::<_, U16>::new_in(&arena), profile.operations(50_000));
}
