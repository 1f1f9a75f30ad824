//! A number of blocks for which there need not be bits.

// says: the trait `Unsigned` is not implemented for `Mine`
// says: required by a bound in `BlockCount`

use context_allocator::alloc::BlockCount;

struct Mine;

impl BlockCount for Mine {
    const COUNT: usize = 100;
    type Words = typenum::U1;
}

fn main() {}
