//! What must not compile, and the sentence that says why.
//!
//! Messages differ between channels, so this runs on stable alone. To write the expected messages anew, run with
//! `TRYBUILD=overwrite` and read what changed.

#![cfg(feature = "std")]

use std::path::Path;
use std::process::Command;

#[rustversion::attr(not(stable), ignore = "the messages are those of the stable compiler")]
#[test]
fn wrong_programs_say_why() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/ui/right_sizes.rs");
    cases.pass("tests/ui/switch_forbids_unsafe.rs");
    cases.compile_fail("tests/ui/size_*.rs");
    cases.compile_fail("tests/ui/sync_*.rs");
    cases.compile_fail("tests/ui/switch_not_*.rs");
}

/// Constants are compared when code is made, and the notes around such an error name whatever the compiler made first, which
/// depends on the directory it runs in. So the sentence alone is pinned.
#[test]
fn wrong_constants_say_why() {
    for (program, sentence) in [
        (
            "const_arena_chunk_smaller_than_block",
            "ArenaSource<S, B, C>: the chunk size C must be at least the block size B",
        ),
        (
            "const_switch_source_shares_slices",
            "this source cannot stand in a tier, because it may share 64 KiB slices with memory of others: use an \
             ArenaSource by value, whose chunks are at least U65536, or a source of whole regions",
        ),
    ] {
        let (succeeded, messages) = build(program);
        assert!(!succeeded, "{program} compiles");
        assert!(messages.contains(sentence), "{program} says:\n{messages}");
    }
    let (succeeded, messages) = build("right_sizes");
    assert!(succeeded, "{messages}");
}

/// Builds a program of `tests/ui` as a crate that depends on this one.
fn build(program: &str) -> (bool, String) {
    let this = Path::new(env!("CARGO_MANIFEST_DIR"));
    let crate_dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(program);
    std::fs::create_dir_all(&crate_dir).unwrap();
    let manifest = format!(
        "[package]\nname = \"program\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n\
         [[bin]]\nname = \"program\"\npath = {:?}\n\n[dependencies]\ncontext-allocator = {{ path = {this:?} }}\n",
        this.join("tests/ui").join(program).with_extension("rs"),
    );
    std::fs::write(crate_dir.join("Cargo.toml"), manifest).unwrap();
    // The versions that are there already.
    std::fs::copy(this.join("Cargo.lock"), crate_dir.join("Cargo.lock")).unwrap();
    let output = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--offline", "--target-dir"])
        .arg(Path::new(env!("CARGO_TARGET_TMPDIR")).join("programs"))
        .current_dir(&crate_dir)
        .output()
        .unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}
