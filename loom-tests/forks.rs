//! One thread registers the fork handlers, and one at a time forks.

use super::ground::Place;
use super::{explore, together};
use crate::switch::fork::{Joined, Registration};
use crate::sync::Claim;

struct Handlers {
    registration: Registration,
    /// What registering makes.
    made: loom::cell::UnsafeCell<usize>,
}

// SAFETY: Loom runs one thread at a time, and checks the uses of the cell.
unsafe impl Sync for Handlers {}

#[test]
fn the_handlers_are_registered_once_and_seen() {
    let ask = |handlers: &Handlers| {
        let register = || {
            // SAFETY: Loom checks that no other access is at the same time.
            handlers.made.with_mut(|made| unsafe { *made += 1 });
            true
        };
        match handlers.registration.once(register) {
            // SAFETY: Loom checks that no other thread writes at the same time.
            Joined::Yes => assert_eq!(handlers.made.with(|made| unsafe { *made }), 1),
            joined => assert_eq!(joined, Joined::NotYet),
        }
    };
    explore("forks, registration", 3, move || {
        let made = loom::cell::UnsafeCell::new(0);
        together(Handlers { registration: Registration::new(), made }, ask, [ask, ask]);
    });
}

#[test]
fn one_forking_thread_hands_over_to_the_next() {
    struct Process {
        claim: Claim,
        place: Place,
    }
    fn fork(process: &Process, name: usize) {
        if process.claim.claim(name) {
            process.place.touch();
            assert!(process.claim.claim(name), "it is the forking thread already");
            process.claim.end();
        }
    }
    explore("forks, claim", 3, || {
        let process = Process { claim: Claim::new(), place: Place::new() };
        let others = [|process: &Process| fork(process, 2), |process: &Process| fork(process, 3)];
        together(process, |process| fork(process, 1), others);
    });
}
