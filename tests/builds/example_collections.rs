//! The example `collections` as a person meets it.

use std::fs;

use assert_cmd::Command;
use predicates::prelude::*;

fn collections() -> Command {
    let build = escargot::CargoBuild::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .example("collections")
        .features("full")
        .current_release()
        .run()
        .expect("the example builds");
    Command::new(build.path())
}

#[test]
fn words_are_counted_alike_in_each_allocator() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let text = folder.path().join("text");
    fs::write(&text, "the quick fox and the lazy fox and the dog").expect("a file");
    let output = collections().arg(&text).assert().success().stderr("").get_output().stdout.clone();
    let output = String::from_utf8(output).expect("text");
    let counted = output.lines().filter(|line| line.contains("| 10    | 6         |")).count();
    assert_eq!(counted, 8, "{output}");
    assert!(output.contains("Most frequent: \"the\". Longest: \"quick\"."), "{output}");
}

#[test]
fn without_a_file_it_reads_the_readme_and_a_missing_one_is_named() {
    collections().assert().success().stdout(predicate::str::contains("MultipleBinarySearchTreeAllocator"));
    collections().arg("/no/such/file").assert().failure().stderr(predicate::str::contains("/no/such/file"));
}
