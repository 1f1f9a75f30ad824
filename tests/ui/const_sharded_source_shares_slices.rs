//! An arena whose chunks are smaller than a slice cannot stand under shards.

// says: this source cannot stand under a Sharded, because it may share 64 KiB slices with memory of others: use an ArenaSource by value, whose chunks are at least U65536, or a source of whole regions

use context_allocator::size::U4096;
use context_allocator::{ArenaSource, MmapSource};
use context_allocator::alloc::{Sharded, SizeClassAllocator};

static SHARED: Sharded<SizeClassAllocator<ArenaSource<MmapSource, U4096, U4096>>> =
    Sharded::new(SizeClassAllocator::new(ArenaSource::new_in(MmapSource::new())));

fn main() {
    println!("{SHARED:?}");
}
