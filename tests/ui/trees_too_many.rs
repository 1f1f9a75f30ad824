// says: is not a number of trees
// says: a number of trees is a `typenum` number from `U1` to `U64`, because a word of 64 bits says which trees are empty

use context_allocator::{MmapSource, MultipleBinarySearchTreeAllocator};

fn main() {
    let _ = MultipleBinarySearchTreeAllocator::<MmapSource, typenum::U65>::new_in(MmapSource::new());
}
