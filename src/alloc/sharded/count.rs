//! How many shards there are.

#![forbid(unsafe_code)]

use generic_array::ArrayLength;

use crate::size::typenum_counts;

/// The number of shards of a [`Sharded`](crate::alloc::Sharded): a `typenum` power of two from 1 to
/// 64.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a number of shards",
    label = "not a number of shards",
    note = "a number of shards is a power of two from 1 to 64, as a `typenum` number: `typenum::U4`, or `context_allocator::size::U16`"
)]
pub trait ShardCount: ArrayLength + sealed::Sealed {
    /// The number of shards.
    const SHARDS: usize;
}

typenum_counts!(ShardCount::SHARDS, |shards| shards.is_power_of_two() && shards <= u64::BITS as usize; U1, U2, U4, U8, U16, U32, U64);

#[cfg(test)]
mod tests {
    use super::ALL;

    #[test]
    fn every_power_of_two_up_to_the_bits_of_a_word_is_there() {
        assert!(ALL.iter().copied().eq((0..7).map(|power| 1 << power)));
    }
}
