//! All heaps of a tier share its source, so it must be one that threads can share.

// says: within `OneThread`, the trait `Sync` is not implemented

use std::cell::Cell;
use std::ptr::NonNull;

use context_allocator::{Builder, BumpAllocator, MemorySource, MmapSource, NonZeroLayout};
use context_allocator::error::SourceError;

struct OneThread(MmapSource, Cell<usize>);

// SAFETY: Regions are those of the memory maps.
unsafe impl MemorySource for OneThread {
    fn obtain(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, SourceError> {
        self.1.set(self.1.get() + 1);
        self.0.obtain(layout)
    }

    unsafe fn release(&self, region: NonNull<[u8]>, layout: NonZeroLayout) {
        // SAFETY: The caller's promises.
        unsafe { self.0.release(region, layout) }
    }
}

fn main() {
    let _ = Builder::new().coroutine_tier(BumpAllocator::new(OneThread(MmapSource::new(), Cell::new(0))));
}
