//! How much memory stays resident: 500,000 blocks of 99 MiB in all are allocated, freed, and waited
//! for.
//!
//! What the measurement itself needs, the table of the blocks above all, is a map of its own that
//! is resident before it begins, and is not counted.

use std::alloc::Layout;
use std::hint::black_box;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::thread::sleep;
use std::time::Duration;

use allocator_api2::alloc::Global;
use context_allocator::{MemorySource, MmapSource, NonZeroLayout};
use serde::{Deserialize, Serialize};

use crate::block::{Live, layout_of};
use crate::cases::{Case, Kind, Tier, request};
use crate::resident;

const BLOCKS: usize = 500_000;
/// Requests between the two waits.
const REQUESTS: usize = 2_000;
const WAIT: Duration = Duration::from_secs(2);

/// Bytes resident at each stage, less those before the first block.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Stages {
    /// Bytes that were asked for.
    pub asked: u64,
    /// With all blocks live.
    pub live: u64,
    /// With nine of ten freed at random.
    pub tenth: u64,
    /// With all freed, at once.
    pub freed: u64,
    /// After two seconds in which nothing was allocated or freed.
    pub waited: u64,
    /// After 2,000 requests.
    pub requests: u64,
    /// After two more seconds.
    pub waited_again: u64,
}

impl Stages {
    /// The stages, as their columns are called.
    pub const HEADINGS: [&str; 6] =
        ["live", "90 % freed", "all freed", "2 s later", "2,000 requests later", "2 s later again"];

    /// Bytes resident in the order of [`HEADINGS`](Self::HEADINGS).
    pub fn bytes(&self) -> [u64; 6] {
        [self.live, self.tenth, self.freed, self.waited, self.requests, self.waited_again]
    }
}

/// A slice of so many values, resident, in a map of its own that stays.
fn table<T: Copy>(length: usize, value: T) -> &'static mut [T] {
    let layout = NonZeroLayout::new(Layout::array::<T>(length).expect("a layout")).expect("a size");
    let memory: NonNull<MaybeUninit<T>> = MmapSource::new().obtain(layout).expect("memory").cast();
    // SAFETY: The map has room for as many, is nobody else's, and stays.
    let table = unsafe { NonNull::slice_from_raw_parts(memory, length).as_mut() };
    for place in table.iter_mut() {
        place.write(value);
    }
    // SAFETY: Each value was just written.
    unsafe { table.assume_init_mut() }
}

/// Of 200 blocks, 199 have up to 354 bytes, and one has up to 8 KiB.
fn layout(random: &mut fastrand::Rng) -> Layout {
    match random.u32(..200) {
        0 => layout_of(random.usize(1024..=8192), 8),
        _ => layout_of(random.usize(16..=354), 8),
    }
}

fn shuffle<T>(random: &mut fastrand::Rng, values: &mut [T]) {
    random.shuffle(values);
}

fn free(blocks: &[Live]) {
    for block in blocks {
        // SAFETY: Each is live, and given back once.
        unsafe { block.give() };
    }
}

fn stages<T: Tier>() -> Stages {
    let mut random = fastrand::Rng::with_seed(1);
    // What a first request needs is there before.
    T::within(|| black_box(request::answer(Global)));
    let mut stages = Stages::default();
    let mut before = 0;
    T::within(|| {
        let first = Live::take(layout_of(16, 8));
        let blocks = table(BLOCKS, first);
        before = resident::now();
        for block in blocks.iter_mut() {
            let layout = layout(&mut random);
            stages.asked += layout.size() as u64;
            *block = Live::take(layout);
        }
        stages.live = resident::now();
        shuffle(&mut random, blocks);
        let (most, rest) = blocks.split_at(BLOCKS / 10 * 9);
        free(most);
        stages.tenth = resident::now();
        free(rest);
        // SAFETY: It is live, and given back once.
        unsafe { first.give() };
    });
    stages.freed = resident::now();
    sleep(WAIT);
    stages.waited = resident::now();
    for _ in 0..REQUESTS {
        T::within(|| black_box(request::answer(Global)));
    }
    stages.requests = resident::now();
    sleep(WAIT);
    stages.waited_again = resident::now();
    for stage in [
        &mut stages.live,
        &mut stages.tenth,
        &mut stages.freed,
        &mut stages.waited,
        &mut stages.requests,
        &mut stages.waited_again,
    ] {
        *stage = stage.saturating_sub(before);
    }
    stages
}

/// The case.
pub fn cases<T: Tier>() -> Vec<Case> {
    let case = Case::new("99 MiB in 500,000 blocks", T::NAME, T::ROLE, |_| {
        println!("{}", serde_json::to_string(&stages::<T>()).expect("all keys are strings"));
    });
    vec![case.measured_as(Kind::Memory)]
}
