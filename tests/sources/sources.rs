//! Every source against the conformance suite, and what each promises beyond it.

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::Barrier;
use std::thread;

use crate::support::CheckingSource;
use crate::support::pattern::{Pattern, bytes};
use crate::support::{conformance, layout};
use context_allocator::error::SourceError;
use context_allocator::size::BlockSize;
use context_allocator::size::{U8, U64, U512, U4096, U8192, U65536, U262144, U1048576, U2097152};
use context_allocator::source::RegionSource;
use context_allocator::testing::RefusingSource;
use context_allocator::{ArenaSource, MemorySource, MmapSource, NonZeroLayout};

/// A source over `len` bytes that nobody else will use, `skew` bytes beyond a multiple of 64.
fn region(len: usize, skew: usize) -> RegionSource<'static> {
    let memory = Vec::leak(vec![MaybeUninit::uninit(); len + skew + 64]);
    let start = memory.as_ptr().align_offset(64) + skew;
    RegionSource::new(&mut memory[start..start + len])
}

#[test]
fn memory_maps_conform() {
    conformance::source(MmapSource::new, 1 << 20);
    conformance::forwarded_source(MmapSource::new, 1 << 16);
}

#[test]
fn memory_maps_are_whole_pages_at_any_alignment() {
    let source = CheckingSource::new(MmapSource::new());
    for power in 0..=30 {
        let wanted = layout(10_000, 1 << power);
        let region = source.obtain(wanted).expect("the address space has room");
        assert_eq!(region.len(), 12_288);
        // SAFETY: Just obtained with this layout, and not used again.
        unsafe { source.release(region, wanted) };
    }
    source.assert_all_released();
}

/// What is cut off to align a region goes back at once: kept, it would use up the address space
/// here.
#[test]
fn memory_maps_keep_nothing_beside_a_region() {
    let source = MmapSource::new();
    let wanted = layout(4096, 8 << 30);
    for _ in 0..20_000 {
        let region = source.obtain(wanted).expect("the address space has room");
        // SAFETY: Just obtained with this layout, and not used again.
        unsafe { source.release(region, wanted) };
    }
}

/// An allocation between a failed call and the look at its error number must not change that.
#[test]
fn memory_maps_leave_the_error_number_alone() {
    let source = MmapSource::new();
    assert!(File::open("/nonexistent").is_err());
    let before = io::Error::last_os_error().raw_os_error();
    let refused = source.obtain(layout(isize::MAX as usize / 2, 1));
    let after = io::Error::last_os_error().raw_os_error();
    assert!(matches!(refused, Err(SourceError::System(errno)) if Some(errno) != before), "{refused:?}");
    assert_eq!(after, before);
}

#[test]
fn regions_conform() {
    // Room for one region of 64 KiB at any alignment up to 4096 bytes.
    for skew in [0, 1, 7, 8, 63] {
        conformance::source(|| region(65_536 + 4096, skew), 65_536);
    }
    conformance::forwarded_source(|| region(8192 + 4096, 3), 8192);
}

#[test]
fn a_region_is_given_to_one_at_a_time_and_whole() {
    for (len, skew) in [(1, 0), (1, 1), (7, 3), (4096, 0), (1000, 5)] {
        let source = region(len, skew);
        let one = layout(1, 1);
        let held = source.obtain(one).expect("one byte is there");
        assert_eq!(held.len(), len);
        assert_eq!(source.obtain(one), Err(SourceError::Exhausted));
        assert_eq!(source.obtain(layout(len + 1, 1)), Err(SourceError::TooLarge));
        // SAFETY: Just obtained with this layout, and not used again.
        unsafe { source.release(held, one) };
        assert_eq!(source.obtain(one).expect("it was released").len(), len);
    }
    let misaligned = region(100, 1);
    let aligned = misaligned.obtain(layout(32, 64)).expect("100 bytes have room");
    assert_eq!(aligned.len(), 100 - 63);
    assert_eq!(region(100, 1).obtain(layout(38, 64)), Err(SourceError::TooLarge));
    assert_eq!(RegionSource::new(&mut []).obtain(layout(1, 1)), Err(SourceError::TooLarge));
    let mut memory = 0_u64;
    // SAFETY: The bytes are those of `memory`, which is used through the source alone while that
    // lives.
    let raw = unsafe { RegionSource::from_raw(NonNull::from(&mut memory).cast(), 8) };
    assert_eq!(raw.obtain(layout(8, 8)).expect("eight bytes are there").len(), 8);
}

#[test]
fn a_region_goes_to_one_of_many_threads() {
    let source = region(64, 0);
    let barrier = Barrier::new(4);
    let taken: usize = thread::scope(|scope| {
        let race = || {
            barrier.wait();
            usize::from(source.obtain(layout(64, 1)).is_ok())
        };
        let threads = [scope.spawn(race), scope.spawn(race), scope.spawn(race), scope.spawn(race)];
        threads.into_iter().map(|thread| thread.join().expect("no check failed")).sum()
    });
    assert_eq!(taken, 1);
}

fn arena_conforms<B: BlockSize, C: BlockSize>() {
    let source = CheckingSource::new(MmapSource::new());
    conformance::source(|| ArenaSource::<_, B, C>::new_in(&source), B::BYTES.min(1 << 20));
    conformance::forwarded_source(|| ArenaSource::<_, B, C>::new_in(&source), B::BYTES.min(1 << 20));
    source.assert_all_released();
    // By value.
    conformance::source(|| ArenaSource::<_, B, C>::new_in(MmapSource::new()), B::BYTES.min(1 << 20));
    threads::<B, C>();
}

#[test]
fn arenas_conform() {
    arena_conforms::<U8, U8>();
    arena_conforms::<U8, U512>();
    arena_conforms::<U64, U4096>();
    arena_conforms::<U512, U65536>();
    arena_conforms::<U4096, U8192>();
    arena_conforms::<U65536, U65536>();
    arena_conforms::<U65536, U262144>();
    arena_conforms::<U65536, U1048576>();
    arena_conforms::<U2097152, U2097152>();
}

/// Four threads obtain, fill, check and release at once, while a fifth reclaims; some blocks are
/// released by a thread that did not obtain them.
fn threads<B: BlockSize, C: BlockSize>() {
    let source = CheckingSource::new(MmapSource::new());
    let arena = ArenaSource::<_, B, C>::new_in(&source);
    let wanted = layout(B::BYTES, 8);
    let hands = thread::scope(|scope| {
        let workers: Vec<_> = (0..4_u64)
            .map(|seed| {
                let arena = &arena;
                scope.spawn(move || {
                    let mut random = fastrand::Rng::with_seed(seed);
                    let mut hand = Vec::new();
                    for number in 0..1500 {
                        if hand.len() < 8 || (hand.len() < 32 && random.bool()) {
                            hand.push(Block::obtain(arena, wanted, seed << 32 | number));
                        } else {
                            hand.swap_remove(random.usize(..hand.len())).release(arena);
                        }
                    }
                    hand
                })
            })
            .collect();
        scope.spawn(|| (0..50).for_each(|_| assert!(arena.reclaim(&mut |_| ()).is_multiple_of(C::BYTES))));
        workers.into_iter().flat_map(|worker| worker.join().expect("no check failed")).collect::<Vec<_>>()
    });
    assert!(hands.len() >= 32);
    hands.iter().for_each(Block::verify);
    let usage = arena.usage();
    assert_eq!(usage.obtained - usage.unused, hands.len() * B::BYTES);
    assert_eq!(usage.obtained, source.counts().held * C::BYTES);
    hands.into_iter().for_each(|block| block.release(&arena));
    assert_eq!(arena.usage().unused, arena.usage().obtained);
    let obtained = arena.usage().obtained;
    assert_eq!(arena.reclaim(&mut |_| ()), obtained, "all chunks are free");
    assert_eq!(arena.usage().obtained, 0);
    source.assert_all_released();
}

/// A block of an arena, filled with a pattern to its whole length.
#[derive(Debug)]
struct Block {
    region: NonNull<[u8]>,
    layout: NonZeroLayout,
    pattern: Pattern,
}

// SAFETY: The bytes are the holder's alone, and an arena takes them back on any thread.
unsafe impl Send for Block {}

impl Block {
    fn obtain(arena: &impl MemorySource, layout: NonZeroLayout, number: u64) -> Self {
        let region = arena.obtain(layout).expect("the arena grows");
        let pattern = Pattern::of(number);
        // SAFETY: The region was just obtained with this length.
        unsafe { pattern.fill(region.cast(), region.len()) };
        Self { region, layout, pattern }
    }

    fn address(&self) -> usize {
        self.region.cast::<u8>().addr().get()
    }

    fn verify(&self) {
        // SAFETY: The block is held, and `obtain` filled it.
        let contents = unsafe { bytes(self.region.cast(), self.region.len()) };
        assert!(self.pattern.matches(contents), "the contents of {self:?} changed");
    }

    fn release(self, arena: &impl MemorySource) {
        self.verify();
        // SAFETY: `obtain` got the block from this arena with this layout, and it is not used
        // again.
        unsafe { arena.release(self.region, self.layout) };
    }
}

#[test]
fn reclaim_returns_wholly_free_chunks_only() {
    let source = CheckingSource::new(MmapSource::new());
    let arena = ArenaSource::<_, U64, U512>::new_in(&source);
    let wanted = layout(64, 8);
    assert_eq!(arena.reclaim(&mut |_| ()), 0);
    // Ten chunks of eight blocks, and three blocks of an eleventh that is not cut further.
    let mut blocks: Vec<_> = (0..83).map(|number| Block::obtain(&arena, wanted, number)).collect();
    assert_eq!(source.counts().held, 11);
    assert_eq!(arena.reclaim(&mut |_| ()), 0, "every chunk has a block that is held");
    let chunk = |block: &Block| block.address() / 512;
    // One block of each even chunk stays.
    let mut kept = Vec::new();
    for (index, block) in blocks.drain(..).enumerate() {
        if (index / 8) % 2 == 0 && index % 8 == 1 { kept.push(block) } else { block.release(&arena) }
    }
    assert_eq!(kept.len(), 6);
    let mut left = Vec::new();
    let mut named = |range: NonNull<[u8]>| left.push((range.cast::<u8>().addr().get() / 512, range.len()));
    assert_eq!(arena.reclaim(&mut named), 5 * 512);
    assert_eq!(source.counts().held, 6);
    assert!(left.iter().all(|&(gone, len)| len == 512 && kept.iter().all(|block| chunk(block) != gone)));
    left.dedup();
    assert_eq!(left.len(), 5);
    kept.iter().for_each(Block::verify);
    // What is left is still handed out: seven blocks of each chunk, cut or not, without another
    // chunk.
    let again: Vec<_> = (0..42).map(|number| Block::obtain(&arena, wanted, 100 + number)).collect();
    assert_eq!(source.counts().held, 6);
    assert_eq!(arena.usage().unused, 0);
    assert!(again.iter().all(|block| kept.iter().any(|other| chunk(other) == chunk(block))));
    kept.into_iter().chain(again).for_each(|block| block.release(&arena));
    // The chunk that is partly cut goes as well.
    assert_eq!(arena.reclaim(&mut |_| ()), 6 * 512);
    source.assert_all_released();
    // After all went, the arena starts over.
    Block::obtain(&arena, wanted, 1).release(&arena);
    assert_eq!(source.counts().held, 1);
    drop(arena);
    source.assert_all_released();
}

#[test]
fn a_chunk_cut_in_part_leaves_with_its_uncut_blocks() {
    let source = CheckingSource::new(MmapSource::new());
    let arena = ArenaSource::<_, U64, U4096>::new_in(&source);
    let first = Block::obtain(&arena, layout(1, 1), 1);
    let start = first.address();
    first.release(&arena);
    let mut left = 0;
    assert_eq!(arena.reclaim(&mut |range| left = range.cast::<u8>().addr().get()), 4096);
    assert_eq!(left, start);
    source.assert_all_released();
    let next = Block::obtain(&arena, layout(1, 1), 1);
    assert_eq!(source.counts().held, 1, "nothing of the chunk that left is cut");
    next.release(&arena);
}

/// Blocks come back last in, first out, and a chunk is cut only as far as needed.
#[test]
fn an_arena_touches_no_more_than_it_gives() {
    let arena = ArenaSource::<_, U4096, U1048576>::new_in(MmapSource::new());
    let wanted = layout(4096, 4096);
    let blocks: Vec<_> = (0..3).map(|number| Block::obtain(&arena, wanted, number)).collect();
    let addresses: Vec<_> = blocks.iter().map(Block::address).collect();
    assert_eq!([addresses[1] - addresses[0], addresses[2] - addresses[1]], [4096, 4096]);
    assert_eq!(addresses[0] % 1_048_576, 0);
    blocks.into_iter().for_each(|block| block.release(&arena));
    for &expected in addresses.iter().rev() {
        assert_eq!(Block::obtain(&arena, wanted, 9).address(), expected);
    }
}

#[test]
fn an_arena_says_why_it_refuses() {
    let arena = ArenaSource::<_, U64, U4096>::new_in(RefusingSource::once(MmapSource::new(), 1));
    assert_eq!(arena.obtain(layout(65, 8)), Err(SourceError::TooLarge));
    assert_eq!(arena.obtain(layout(8, 128)), Err(SourceError::AlignmentTooLarge));
    assert_eq!(arena.usage().obtained, 0);
    let blocks: Vec<_> = (0..64).map(|number| Block::obtain(&arena, layout(64, 64), number)).collect();
    assert_eq!(arena.obtain(layout(8, 8)), Err(SourceError::Exhausted));
    assert_eq!((arena.usage().obtained, arena.usage().unused), (4096, 0));
    let more = Block::obtain(&arena, layout(8, 8), 1);
    blocks.into_iter().chain([more]).for_each(|block| block.release(&arena));
}

/// A chunk with a block that was never released is leaked: the block stays usable.
#[test]
fn a_dropped_arena_keeps_the_chunks_that_are_in_use() {
    let source = CheckingSource::new(MmapSource::new());
    let arena = ArenaSource::<_, U4096, U8192>::new_in(&source);
    let blocks: Vec<_> = (0..4).map(|number| Block::obtain(&arena, layout(4096, 8), number)).collect();
    let [first, second, third, fourth] = blocks.try_into().expect("four blocks");
    second.release(&arena);
    third.release(&arena);
    fourth.release(&arena);
    drop(arena);
    source.assert_sound();
    assert_eq!(source.counts().held, 1);
    first.verify();
}

#[test]
fn an_arena_of_an_arena() {
    let source = CheckingSource::new(MmapSource::new());
    let outer = ArenaSource::<_, U65536, U262144>::new_in(&source);
    conformance::source(|| ArenaSource::<_, U512, U65536>::new_in(&outer), 512);
    assert_eq!(outer.usage().unused, outer.usage().obtained);
    drop(outer);
    source.assert_all_released();
}

/// What the constants promise to a tier.
#[test]
fn constants_of_the_sources() {
    type Whole = ArenaSource<MmapSource, U4096, U65536>;
    type Small = ArenaSource<MmapSource, U64, U4096>;
    const { assert!(Whole::BLOCK == 4096 && !Whole::SHARES_SLICES && Whole::MAX_REGION == 4096) };
    const { assert!(Small::BLOCK == 0 && Small::SHARES_SLICES && Small::MIN_ALIGN == 64) };
    const { assert!(<&Whole>::BLOCK == 0 && <&Whole>::SHARES_SLICES) };
    const { assert!(MmapSource::ZEROED && MmapSource::BLOCK == 0 && !MmapSource::SHARES_SLICES) };
    const { assert!(!Whole::ZEROED, "blocks are used again") };
}
