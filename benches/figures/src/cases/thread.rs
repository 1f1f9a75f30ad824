//! A thread that starts, allocates 100 blocks, frees them, and ends.

use std::ptr::NonNull;
use std::thread;

use super::{Case, Tier};
use crate::block::{give, layout, take};

const BLOCKS: usize = 100;

fn short<T: Tier>(iterations: u64) {
    for _ in 0..iterations {
        let thread = thread::spawn(|| {
            T::within(|| {
                let mut blocks = [NonNull::dangling(); BLOCKS];
                for block in &mut blocks {
                    *block = take(const { layout::<64>() });
                }
                for block in blocks {
                    // SAFETY: `take` gave it with this layout.
                    unsafe { give(block, const { layout::<64>() }) };
                }
            });
        });
        thread.join().expect("the thread does not panic");
    }
}

/// The case.
pub fn cases<T: Tier>() -> Vec<Case> {
    vec![Case::new("thread with 100 allocations", T::NAME, T::ROLE, short::<T>).of_blocks(2_000)]
}
