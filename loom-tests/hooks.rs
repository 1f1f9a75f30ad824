//! Several threads ask for what one of them makes.

use loom::cell::UnsafeCell;

use super::{explore, together};
use crate::switch::hooks::HooksOnce;

struct Process {
    once: HooksOnce,
    /// What is made besides the number.
    made: UnsafeCell<usize>,
}

// SAFETY: Loom runs one thread at a time, and checks the uses of the cell.
unsafe impl Sync for Process {}

impl Process {
    fn new() -> Self {
        Self { once: HooksOnce::new(), made: UnsafeCell::new(0) }
    }

    fn ask(&self) {
        let make = || {
            // SAFETY: Loom checks that no other access is at the same time.
            self.made.with_mut(|made| unsafe { *made += 1 });
            5
        };
        assert_eq!(self.once.get_or_make(|| (), make), Some(5));
        // SAFETY: Loom checks that no other thread writes at the same time.
        assert_eq!(self.made.with(|made| unsafe { *made }), 1, "made once, and seen");
    }
}

/// Two threads only: loom gives up on more that wait for one another in loops.
#[test]
fn two_threads_ask() {
    explore("hooks, 2 threads", 2, || {
        together(Process::new(), Process::ask, [Process::ask]);
    });
}
