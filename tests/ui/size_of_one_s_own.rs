use context_allocator::BlockSize;

struct SixtyFour;

impl BlockSize for SixtyFour {
    const BYTES: usize = 64;
}

fn main() {}
