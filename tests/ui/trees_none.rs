// says: `UTerm` is not a number of trees
// says: a number of trees is a `typenum` number from `U1` to `U64`, because a word of 64 bits says which trees are empty; write for instance `MultipleBinarySearchTreeAllocator<MmapSource, U32>` with `context_allocator::size::U32`

use context_allocator::{MmapSource, MultipleBinarySearchTreeAllocator};

fn main() {
    let _ = MultipleBinarySearchTreeAllocator::<MmapSource, typenum::U0>::new_in(MmapSource::new());
}
