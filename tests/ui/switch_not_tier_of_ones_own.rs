//! A tier's allocator is a `LocalAllocator`, or none: many threads may ask for its source at once.

// says: the trait bound `Counts: switch::declare::tiers::sealed::Tier` is not satisfied
// says: `TierAllocator` is a "sealed trait"

use context_allocator::switch::TierAllocator;
use context_allocator::{BumpAllocator, MemorySource, MmapSource};

struct Counts(std::cell::Cell<usize>, [MmapSource; 2]);

impl TierAllocator for Counts {
    const PRESENT: bool = true;
    type TierSource = MmapSource;
    type Built<S: MemorySource + Send> = BumpAllocator<S>;

    fn source(&self) -> &MmapSource {
        self.0.set(self.0.get() + 1);
        &self.1[self.0.get() % 2]
    }
}

fn shared<T: Sync>() {}

fn main() {
    shared::<context_allocator::Tiers<Counts, Counts, std::alloc::System>>();
    let _ = context_allocator::Builder::new()
        .coroutine_tier(Counts(std::cell::Cell::new(0), [MmapSource::new(); 2]));
}
