// says: the trait bound `SixtyFour: size::sealed::Sealed` is not satisfied
// says: `BlockSize` is a "sealed trait"

use context_allocator::size::BlockSize;

struct SixtyFour;

impl BlockSize for SixtyFour {
    const BYTES: usize = 64;
}

fn main() {}
