//! A block allocated and freed, again and again.

use std::ptr::NonNull;

use super::{Case, Role, Tier};
use crate::block::{check, give, layout, mark, take};

fn pairs<T: Tier, const SIZE: usize>(iterations: u64) {
    T::within(|| {
        for _ in 0..iterations {
            let block = take(const { layout::<SIZE>() });
            // SAFETY: `take` just gave it with this layout.
            unsafe { give(block, const { layout::<SIZE>() }) };
        }
    });
}

/// The cases on the global allocator.
pub fn cases<T: Tier>() -> Vec<Case> {
    let case = |size: &str, run| {
        [1, 2, 4].map(|threads| Case::new(format!("pair, {size}"), T::NAME, T::ROLE, run).on_threads(threads))
    };
    [
        case("16 B", pairs::<T, 16>),
        case("64 B", pairs::<T, 64>),
        case("256 B", pairs::<T, 256>),
        case("1024 B", pairs::<T, 1024>),
        case("8 KiB", pairs::<T, 8192>),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What the measurement itself takes: the same block, written and read.
pub fn harness() -> Case {
    Case::new("pair, 64 B", "(writing and checking alone)", Role::Other, |iterations| {
        let mut room = [0_u64; 8];
        for _ in 0..iterations {
            let block = NonNull::from(&mut room).cast();
            // SAFETY: The array has 64 bytes.
            let block = unsafe { mark(block, 64) };
            // SAFETY: It was just marked.
            unsafe { check(block, 64) };
        }
    })
}
