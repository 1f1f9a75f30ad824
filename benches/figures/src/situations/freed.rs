//! What is left of memory that became free: between blocks that stay, and behind a call of `trim`.

use std::sync::Barrier;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use context_allocator::switch::Declaration;

use super::{TRIM, Values, case, free, list, mebibytes, print, take, warm_up};
use crate::block::Live;
use crate::cases::{Case, Tier};
use crate::resident;

/// Blocks of three sizes, of which one in twenty stays.
pub fn holes<T: Tier>() -> Values {
    const BLOCKS: usize = 300_000;
    const IDLE: Duration = Duration::from_secs(10);
    warm_up::<T>();
    let mut random = fastrand::Rng::with_seed(4);
    let (mut stay, mut freed) = (list::<Live>(BLOCKS), list::<Live>(BLOCKS));
    let mut live = 0;
    let before = resident::now();
    T::within(|| {
        for _ in 0..BLOCKS {
            let size = *random.choice(&[512, 512, 512, 1024, 1024, 2048]).expect("there are some");
            let block = take::<T>(size);
            if random.u32(..20) == 0 {
                live += size as u64;
                stay.push(block);
            } else {
                freed.push(block);
            }
        }
    });
    let full = resident::now();
    // In another order than they were allocated.
    random.shuffle(&mut freed);
    T::within(|| free(&freed));
    sleep(IDLE);
    let idle = resident::now();
    T::within(|| free(&stay));
    let could = (full - before).saturating_sub(live) as f64;
    vec![Some(full.saturating_sub(idle) as f64 / could * 100.0)]
}

/// Blocks of 64 MiB, of which a quarter stays, on a system that joins pages into huge ones unasked.
pub fn huge_pages<T: Tier>() -> Values {
    const BLOCKS: usize = 64 << 10;
    const SIZE: usize = 1024;
    /// The kernel looks at all memory once in a minute or so.
    const IDLE: Duration = Duration::from_secs(150);
    let mode = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
    if !mode.is_ok_and(|mode| mode.starts_with("[always]")) {
        return vec![None];
    }
    warm_up::<T>();
    let (mut stay, mut freed) = (list::<Live>(BLOCKS), list::<Live>(BLOCKS));
    let before = resident::now();
    T::within(|| {
        for _ in 0..BLOCKS {
            let block = take::<T>(SIZE);
            // One of four runs of 64 KiB.
            if block.address() >> 16 & 3 == 0 { stay.push(block) } else { freed.push(block) }
        }
        free(&freed);
    });
    sleep(IDLE);
    let idle = resident::now();
    T::within(|| free(&stay));
    vec![Some(mebibytes(idle.saturating_sub(before) as f64))]
}

/// A call of `trim` when two threads, one of which sleeps, have freed what they had.
fn trim<D: Declaration, T: Tier>() -> Values {
    const BLOCKS: usize = 128 << 10;
    const SIZE: usize = 1024;
    /// Allocates them and frees them.
    fn allocate_and_free<T: Tier>(blocks: &mut super::List<Live>) {
        T::within(|| {
            blocks.extend((0..BLOCKS).map(|_| take::<T>(SIZE)));
            free(blocks);
        });
    }
    warm_up::<T>();
    let (mut mine, mut others) = (list(BLOCKS), list(BLOCKS));
    let (freed, end) = (Barrier::new(2), Barrier::new(2));
    let before = resident::now();
    thread::scope(|scope| {
        scope.spawn(|| {
            allocate_and_free::<T>(&mut others);
            freed.wait();
            end.wait();
        });
        allocate_and_free::<T>(&mut mine);
        freed.wait();
        let full = resident::now();
        let start = Instant::now();
        let trimmed = D::allocator().trim();
        let milliseconds = start.elapsed().as_secs_f64() * 1e3;
        let after = resident::now();
        end.wait();
        let told = trimmed.resident_bytes as f64 / full.saturating_sub(after) as f64 * 100.0;
        let resident = mebibytes(after.saturating_sub(before) as f64);
        vec![Some(milliseconds), Some(told), Some(resident)]
    })
}

/// The row of `trim`, which only this library has.
pub fn trimmed<D: Declaration, T: Tier>() -> Case {
    case(TRIM, T::NAME, T::ROLE, |_| print(&trim::<D, T>()))
}
