//! What must not compile, and the sentence that says why.
//!
//! Messages differ between channels, so this runs on stable alone. To write the expected messages anew, run with
//! `TRYBUILD=overwrite` and read what changed.

#![cfg(feature = "std")]

#[rustversion::attr(not(stable), ignore = "the messages are those of the stable compiler")]
#[test]
fn wrong_programs_say_why() {
    let cases = trybuild::TestCases::new();
    // A program that compiles has the others built as well as checked: an arena's sizes are compared when its code is made.
    cases.pass("tests/ui/right_sizes.rs");
    cases.compile_fail("tests/ui/size_*.rs");
    cases.compile_fail("tests/ui/arena_*.rs");
    cases.compile_fail("tests/ui/sync_*.rs");
}
