//! The programs with other allocators in the global tier, by the script that runs them.

use std::path::Path;
use std::process::Command;

/// Runs the script, and checks that each program said that it was done.
fn run(names: &[&str]) {
    let Some(this) = crate::repository() else { return };
    let output = Command::new(this.join("scripts/global_tiers.sh"))
        .args(names)
        .env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("global-tiers"))
        .output()
        .expect("there is a shell");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    for name in names {
        assert!(
            said.lines().any(|line| line.starts_with(&format!("{name}: 2000 requests"))),
            "{name}: {said}"
        );
    }
}

#[test]
#[ignore = "builds allocators that are written in C and C++, and fetches them: some minutes"]
fn every_allocator_serves_the_global_tier() {
    run(&["system", "locked", "sharded", "mimalloc", "jemalloc", "snmalloc", "rpmalloc"]);
}
