//! The example `coroutines` as a person meets it.

use assert_cmd::Command;
use predicates::prelude::*;

fn coroutines() -> Command {
    let build = escargot::CargoBuild::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .example("coroutines")
        .features("full")
        .current_release()
        .run()
        .expect("the example builds");
    Command::new(build.path())
}

#[test]
fn requests_move_between_threads_and_leave_nothing() {
    coroutines()
        .arg("2000")
        .assert()
        .success()
        .stdout(predicate::str::contains("2000 requests answered"))
        .stdout(predicate::str::contains("heaps alive: 0, orphans: 0"));
}

#[test]
fn an_argument_that_is_no_number_is_named() {
    coroutines().arg("many").assert().code(2).stderr(predicate::str::contains("a number of requests"));
}
