// says: `SixtyFour` is not a block size
// says: a block size is a power of two from 8 bytes to 1 GiB, written as one of the types that `context_allocator::size` lists: `U8`, `U16`, `U32`, `U64` and so on to `U1073741824`

use context_allocator::{ArenaSource, MmapSource};

struct SixtyFour;

fn main() {
    let _ = ArenaSource::<MmapSource, SixtyFour>::new_in(MmapSource::new());
}
