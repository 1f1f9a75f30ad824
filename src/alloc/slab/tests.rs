//! Random operations by itself and through a cache, with all lists checked after each few.

use std::vec::Vec;

use super::*;
use crate::alloc::{Pushed, ThreadCache};
use crate::size::{U4096, U1048576};
use crate::source::{ArenaSource, LimitSource, MmapSource, RegionSource};

type Slabs = SlabAllocator<RegionSource<'static>>;

#[test]
fn every_fitting_size_is_of_the_same_class() {
    for align in (0..=15).map(|power| 1 << power) {
        for size in 1..=Slabs::LARGEST {
            let layout = NonZeroLayout::from_size_align(size, align).unwrap();
            let Some(class) = Slabs::class(layout) else {
                assert!(align > STEP && size.max(align) > Slabs::LARGEST / 2, "{layout:?}");
                continue;
            };
            let bytes = bytes_of(class);
            assert!(bytes >= size && bytes.is_multiple_of(align.min(bytes)), "{layout:?}");
            let lowest_bit = bytes & bytes.wrapping_neg();
            assert!(lowest_bit >= align, "{layout:?}");
            assert_eq!(Slabs::class(layout.with_size(bytes).unwrap()), Some(class));
        }
    }
}

/// xorshift64*, of S. Vigna.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % limit
    }
}

/// Blocks of an allocator that is used through a cache, and what it counted.
struct Through<S: MemorySource + Send, B: BlockSize> {
    allocator: SlabAllocator<S, B>,
    cache: SlabThreadCache<B>,
    blocks: Vec<(NonNull<u8>, NonZeroLayout)>,
    counted: isize,
    refused: usize,
}

impl<S: MemorySource + Send, B: BlockSize> Through<S, B> {
    fn new(source: S) -> Self {
        let allocator = SlabAllocator::new_in(source);
        Self { allocator, cache: SlabThreadCache::EMPTY, blocks: Vec::new(), counted: 0, refused: 0 }
    }

    fn allocate(&mut self, layout: NonZeroLayout) {
        // SAFETY: The allocator alone uses the cache, and is not used otherwise.
        let block = unsafe { self.cache.pop(layout.size(), layout.align()) };
        let block = NonNull::new(block).ok_or(AllocError::Refused);
        // SAFETY: As above.
        let block = block.or_else(|_| unsafe { self.cache.fill(&self.allocator, layout) });
        match block {
            Ok(block) => {
                assert!(block.addr().get().is_multiple_of(layout.align()));
                // SAFETY: The block was just allocated with this size.
                unsafe { block.write_bytes(0xA5, layout.size()) };
                self.blocks.push((block, layout));
            }
            Err(_) => self.refused += 1,
        }
    }

    fn free(&mut self, index: usize) {
        let (block, layout) = self.blocks.swap_remove(index);
        // SAFETY: The allocator alone uses the cache; the block is allocated and given up.
        match unsafe { self.cache.push(block) } {
            Pushed::Taken => {}
            // SAFETY: As above; the cache just said so.
            Pushed::Transition(what) => unsafe { self.cache.transition(&self.allocator, what) },
            Pushed::Elsewhere => {
                // SAFETY: As above; a block of a region may access all of that.
                let taken = unsafe { self.cache.push_unknown(&self.allocator, block, block, layout) };
                assert!(taken, "no other thread holds the slab");
            }
        }
    }

    fn leave(&mut self) {
        // SAFETY: As above.
        unsafe { self.cache.flush(&self.allocator) };
        self.counted += SlabThreadCache::counted(&self.allocator);
        assert_eq!(self.counted, self.blocks.len().cast_signed());
        assert_eq!((self.check(), self.cache.known.len()), (0, 0));
    }

    fn check(&self) -> usize {
        self.allocator.heap.check_all(self.cache.at_hand())
    }

    /// Allocates and frees about `live` blocks at random.
    fn run(&mut self, operations: usize, live: usize, random: &mut Random) {
        let largest = SlabAllocator::<S, B>::LARGEST;
        for number in 0..operations {
            // Waves, so that slabs fill and become empty.
            let more = if (number / (2 * live)).is_multiple_of(2) { 6 } else { 2 };
            if random.below(8) < more || self.blocks.is_empty() {
                let most = largest >> random.below(10);
                let size = 1 + random.below(most.max(1));
                self.allocate(NonZeroLayout::from_size_align(size, 1 << random.below(6)).unwrap());
            } else {
                self.free(random.below(self.blocks.len()));
            }
            if number % 64 == 0 {
                self.counted += SlabThreadCache::counted(&self.allocator);
                assert!(self.counted >= self.blocks.len().cast_signed());
                self.check();
            }
            if random.below(3000) == 0 {
                self.leave();
            }
        }
    }

    /// Several rounds, each with blocks left when the allocator is recycled.
    fn rounds(mut self) -> usize {
        let mut random = Random(42);
        for live in [30, 1000, 3000] {
            self.run(20 * live, live, &mut random);
            self.leave();
            self.run(2 * live, live, &mut random);
            while !self.blocks.is_empty() {
                self.free(random.below(self.blocks.len()));
            }
            self.leave();
            self.run(live, live, &mut random);
            // What the allocator let go of is not its own to recycle.
            while !self.blocks.is_empty() {
                self.free(random.below(self.blocks.len()));
            }
            self.leave();
            self.allocator.recycle();
            self.counted = 0;
            assert_eq!((self.check(), SlabThreadCache::counted(&self.allocator)), (0, 0));
        }
        self.refused
    }
}

#[test]
fn the_index_is_right_through_a_thread_cache() {
    assert_eq!(Through::<_, U65536>::new(MmapSource::new()).rounds(), 0);
    assert_eq!(Through::<_, U4096>::new(MmapSource::new()).rounds(), 0);
    let arena = ArenaSource::<_, U1048576, U1048576>::new_in(MmapSource::new());
    assert_eq!(Through::<_, U65536>::new(&arena).rounds(), 0);
    assert!(Through::<_, U65536>::new(LimitSource::new(MmapSource::new(), 40 << 16)).rounds() > 0);
    let arena = ArenaSource::new(LimitSource::new(MmapSource::new(), 1 << 20));
    assert!(Through::<_, U4096>::new(&arena).rounds() > 0);
}
