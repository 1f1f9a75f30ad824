//! Block sizes as types.
//!
//! A block size is a `typenum` power of two from [`U8`] to [`U1073741824`] (8 bytes to 1 GiB). The
//! list is sealed: a type that implements [`BlockSize`] is one of these, so code that is generic
//! over it may rely on `BYTES` being a power of two and at least eight.

#![forbid(unsafe_code)]

pub use typenum::consts::{
    U8, U16, U32, U64, U128, U256, U512, U1024, U2048, U4096, U8192, U16384, U32768, U65536, U131072,
    U262144, U524288, U1048576, U2097152, U4194304, U8388608, U16777216, U33554432, U67108864, U134217728,
    U268435456, U536870912, U1073741824,
};

/// The unit of addresses in which ownership is recorded, in bytes: 64 KiB.
///
/// A region that stands in a tier of the switchable allocator covers whole slices.
pub const SLICE: usize = 64 * 1024;

/// Implements a trait with one constant, such as [`BlockSize`], for the `typenum` numbers listed,
/// and seals it: the trait has the bound `sealed::Sealed`. A number that does not satisfy the
/// condition does not compile. In tests, `ALL` has the numbers in their order.
macro_rules! typenum_counts {
    ($trait:ident::$constant:ident, |$number:ident| $valid:expr; $($count:ident),* $(,)?) => {
        mod sealed {
            pub trait Sealed {}
        }

        $(
            impl sealed::Sealed for ::typenum::consts::$count {}
            impl $trait for ::typenum::consts::$count {
                const $constant: usize = {
                    let $number = <::typenum::consts::$count as ::typenum::Unsigned>::USIZE;
                    assert!($valid);
                    $number
                };
            }
        )*

        #[cfg(test)]
        const ALL: &[usize] = &[$(<::typenum::consts::$count as $trait>::$constant),*];
    };
}
pub(crate) use typenum_counts;

/// The size of a block in bytes, as a `typenum` power of two.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a block size",
    label = "not a block size",
    note = "a block size is a power of two from 8 bytes to 1 GiB, written as one of the types that \
            `context_allocator::size` lists: `U8`, `U16`, `U32`, `U64` and so on to `U1073741824`"
)]
pub trait BlockSize: sealed::Sealed + 'static {
    /// The size in bytes: a power of two, at least 8.
    const BYTES: usize;
}

typenum_counts!(BlockSize::BYTES, |bytes| bytes.is_power_of_two() && bytes >= 8;
    U8,
    U16,
    U32,
    U64,
    U128,
    U256,
    U512,
    U1024,
    U2048,
    U4096,
    U8192,
    U16384,
    U32768,
    U65536,
    U131072,
    U262144,
    U524288,
    U1048576,
    U2097152,
    U4194304,
    U8388608,
    U16777216,
    U33554432,
    U67108864,
    U134217728,
    U268435456,
    U536870912,
    U1073741824,
);

#[cfg(test)]
mod tests {
    use super::ALL;
    use std::vec::Vec;

    #[test]
    fn every_power_of_two_from_8_to_1_gib_is_there() {
        let expected: Vec<usize> = (3..=30).map(|power| 1 << power).collect();
        assert_eq!(ALL, expected);
    }
}
