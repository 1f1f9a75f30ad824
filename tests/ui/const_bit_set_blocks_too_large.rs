//! A block of a bit-set allocator is at most 1 MiB.

// says: BitSetAllocator<S, B>: a block is at most 1 MiB: choose B up to `U1048576`

use context_allocator::size::U2097152;
use context_allocator::{BitSetAllocator, MmapSource};

fn main() {
    let _ = BitSetAllocator::<_, U2097152>::new_in(MmapSource::new());
}
