//! Bytes that tell one block from another.
//!
//! A pattern is a cyclic stretch of one table of random bytes, begun at a place that its number
//! gives. The period is prime, so that bytes moved by a power of two differ; no byte is zero, so
//! that a zeroed block differs from an old one. Copying and comparing whole runs keeps this fast
//! without optimisation, for large blocks too.

use std::ptr::NonNull;
use std::slice;

const PERIOD: usize = 4099;

static TABLE: [u8; PERIOD] = {
    let mut table = [0; PERIOD];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut index = 0;
    while index < PERIOD {
        // G. Marsaglia, "Xorshift RNGs" (2003).
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        table[index] = (state % 255) as u8 + 1;
        index += 1;
    }
    table
};

/// The bytes that stand for one number.
#[derive(Clone, Copy, Debug)]
pub struct Pattern {
    phase: usize,
}

impl Pattern {
    /// The pattern of `number`; numbers that follow each other differ from the first byte or soon
    /// after.
    #[must_use]
    pub fn of(number: u64) -> Self {
        Self { phase: (number.wrapping_mul(2_654_435_761) % PERIOD as u64) as usize }
    }

    /// The table's runs that make up the first `len` bytes, each with where it begins.
    fn runs(self, len: usize) -> impl Iterator<Item = (usize, &'static [u8])> {
        let mut done = 0;
        std::iter::from_fn(move || {
            let from = (self.phase + done) % PERIOD;
            let run = &TABLE[from..PERIOD.min(from + (len - done))];
            let start = done;
            done += run.len();
            (!run.is_empty()).then_some((start, run))
        })
    }

    /// Writes the pattern.
    ///
    /// # Safety
    /// `len` bytes at `start` are writable.
    pub unsafe fn fill(self, start: NonNull<u8>, len: usize) {
        for (offset, run) in self.runs(len) {
            // SAFETY: The runs together are `len` bytes, so this one begins among those the caller
            // gave.
            let to = unsafe { start.add(offset) };
            // SAFETY: It ends among them too; the table is a static, which no test's memory
            // overlaps.
            unsafe { to.copy_from_nonoverlapping(NonNull::from(run).cast(), run.len()) };
        }
    }

    /// Whether `bytes` are the pattern's first.
    #[must_use]
    pub fn matches(self, bytes: &[u8]) -> bool {
        self.runs(bytes.len()).all(|(offset, run)| &bytes[offset..offset + run.len()] == run)
    }
}

/// The `len` bytes at `start`.
///
/// # Safety
/// They are readable and initialised, and nobody writes them while `'a` lasts.
#[must_use]
pub unsafe fn bytes<'a>(start: NonNull<u8>, len: usize) -> &'a [u8] {
    // SAFETY: The bytes are readable and initialised, and not written while `'a` lasts.
    unsafe { slice::from_raw_parts(start.as_ptr(), len) }
}
