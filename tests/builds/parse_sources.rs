//! The example `parse_sources` as a person or a script meets it: its arguments, messages, exit
//! codes and figures.

use assert_cmd::Command;
use assert_cmd::assert::OutputAssertExt;
use predicates::prelude::*;
use serde_json::Value;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex};
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

/// The example called `name`, built as this test is.
fn example(name: &'static str) -> Command {
    static BUILT: LazyLock<Mutex<HashMap<&str, PathBuf>>> = LazyLock::new(Mutex::default);
    let mut built = BUILT.lock().expect("no build panicked");
    let path = built.entry(name).or_insert_with(|| {
        let build = escargot::CargoBuild::new()
            .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
            .example(name)
            .current_release();
        build.run().expect("the example builds").path().to_owned()
    });
    Command::new(path)
}

fn parse_sources() -> Command {
    example("parse_sources")
}

fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, content) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("the folder at least")).expect("a folder");
        fs::write(path, content).expect("a file");
    }
    folder
}

fn json(mut command: Command, path: &Path) -> Value {
    let output = command.arg("--json").arg(path).assert().success().stderr("").get_output().stdout.clone();
    serde_json::from_slice(&output).expect("one JSON object")
}

const GOOD: &[u8] = b"#!/usr/bin/env run
fn one(two: (u8, u8)) -> u8 { two.0 + 3 }
trait Trait { fn four(&self); }
";

#[test]
fn help_names_every_argument() {
    let mut help = parse_sources().arg("--help").assert().success();
    for argument in ["[PATHS]...", "--threads", "--tier", "--repeat", "--json", "coroutine", "Exit codes"] {
        help = help.stdout(predicate::str::contains(argument));
    }
}

#[test]
fn a_missing_path_is_named() {
    let missing = folder(&[]).path().join("missing");
    let message = predicate::str::contains(missing.to_str().expect("a path in UTF-8"));
    parse_sources().arg(&missing).assert().code(2).stdout("").stderr(message);
}

#[test]
fn arguments_that_make_no_sense_are_refused() {
    let folder = folder(&[("good.rs", GOOD)]);
    for arguments in [["--threads", "0"], ["--repeat", "0"], ["--tier", "process"]] {
        let message = predicate::str::contains(arguments[0]);
        parse_sources().args(arguments).arg(folder.path()).assert().code(2).stdout("").stderr(message);
    }
}

#[test]
fn a_folder_without_sources_is_refused() {
    let folder = folder(&[("notes.txt", b"fn main() {}")]);
    let message = predicate::str::contains("no Rust sources");
    parse_sources().arg(folder.path()).assert().code(2).stdout("").stderr(message);
}

#[test]
fn without_cargo_the_message_asks_for_paths() {
    let message = predicate::str::contains("name the paths");
    parse_sources().env("CARGO", "/nonexistent/cargo").assert().code(2).stdout("").stderr(message);
}

#[test]
fn what_does_not_parse_is_skipped_and_every_figure_is_there() {
    let files =
        [("good.rs", GOOD), ("deep/broken.rs", b"fn {"), ("latin.rs", b"// \xe9"), ("notes.txt", b"")];
    let folder = folder(&files);
    let report = json(parse_sources(), folder.path());

    let bytes: usize = files.iter().map(|(_, content)| content.len()).sum();
    assert_eq!(report["input"], serde_json::json!({ "files": 3, "bytes": bytes, "skipped": 2 }));

    let runs = report["runs"].as_array().expect("a list");
    assert_eq!(runs.iter().map(|run| &run["tier"]).collect::<Vec<_>>(), ["global", "thread", "coroutine"]);
    for run in runs {
        assert_eq!(run["files"], 1);
        // fn, trait, fn in the trait
        assert_eq!(run["items"], 3);
        // the tuple, its two parts, the result
        assert_eq!(run["types"], 4);
        // the sum, the field access, its base, the literal
        assert_eq!(run["expressions"], 4);
        // 18 in the first line, with `-` and `>` for the arrow, and 9 in the second
        assert_eq!(run["tokens"], 27);
        for measured in ["seconds", "mb_per_s"] {
            assert!(run[measured].as_f64().is_some_and(|figure| figure > 0.0), "{measured} in {run}");
        }
        for figure in [
            "blocks",
            "peak_live_bytes",
            "peak_resident_bytes",
            "heaps",
            "escaped_blocks",
            "escaped_bytes",
            "remote_frees",
            "live_blocks_at_end",
        ] {
            assert!(run.get(figure).is_some(), "{figure} in {run}");
        }
        assert_eq!(run["live_blocks_at_end"], 0, "{run}");
    }
    assert_eq!(runs[2]["heaps"], 3, "a heap for each file");
}

#[test]
fn many_threads_and_turns_count_the_same() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for index in 0..40 {
        fs::write(folder.path().join(format!("{index}.rs")), GOOD).expect("a file");
    }
    let mut command = parse_sources();
    command.args(["--threads", "4", "--repeat", "3", "--tier", "coroutine", "--tier", "global"]);
    let report = json(command, folder.path());
    let runs = report["runs"].as_array().expect("a list");
    assert_eq!(runs.iter().map(|run| &run["tier"]).collect::<Vec<_>>(), ["global", "coroutine"]);
    for run in runs {
        assert_eq!((&run["files"], &run["items"]), (&40.into(), &120.into()));
    }
}

#[test]
fn runs_that_count_differently_are_an_error() {
    let folder = folder(&[("changing.rs", GOOD)]);
    let file = folder.path().join("changing.rs");
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut functions = (0..).map(|index| format!("fn f() {{ {index}; }}").repeat(index % 7));
            while !ended.load(Ordering::Relaxed) {
                fs::write(&file, functions.next().expect("no last one")).expect("a file");
                thread::sleep(Duration::from_millis(1));
            }
        });
        let mut command = parse_sources();
        command.args(["--repeat", "1000000"]).arg(&file).timeout(Duration::from_secs(60));
        let output = command.output();
        ended.store(true, Ordering::Relaxed);
        let message = predicate::str::contains("counted differently");
        output.expect("the program starts").assert().code(1).stdout("").stderr(message);
    });
}

#[test]
fn a_deeply_nested_source_fits_the_stack() {
    let nested = format!("fn deep() -> u8 {{ {}0{} }}", "(".repeat(1000), ")".repeat(1000));
    let folder = folder(&[("deep.rs", nested.as_bytes())]);
    let report = json(parse_sources(), &folder.path().join("deep.rs"));
    assert_eq!(report["runs"][0]["expressions"], 1001);
}

#[test]
fn the_table_has_a_column_for_each_tier() {
    let folder = folder(&[("good.rs", GOOD)]);
    let mut table = parse_sources().arg(folder.path()).assert().success().stderr("");
    for text in ["1 file, ", "global tier", "thread tier", "coroutine tier", "peak resident", "remote frees"]
    {
        table = table.stdout(predicate::str::contains(text));
    }
}

#[test]
fn other_allocators_have_one_tier() {
    let folder = folder(&[("good.rs", GOOD)]);
    for name in ["parse_sources_system", "parse_sources_mimalloc"] {
        let report = json(example(name), folder.path());
        let runs = report["runs"].as_array().expect("a list");
        assert_eq!(runs.iter().map(|run| &run["tier"]).collect::<Vec<_>>(), ["global"]);
        assert_eq!(runs[0]["blocks"], Value::Null, "not measured, so not told");

        let message = predicate::str::contains("no coroutine tier");
        let refused = example(name).args(["--tier", "coroutine"]).arg(folder.path()).assert();
        refused.code(2).stdout("").stderr(message);
    }
}

#[test]
#[ignore = "parses tens of megabytes; give it --release"]
fn the_default_input_is_the_sources_of_the_dependencies() {
    let output =
        parse_sources().args(["--json", "--tier", "global"]).assert().success().get_output().stdout.clone();
    let report: Value = serde_json::from_slice(&output).expect("one JSON object");
    assert!(report["input"]["bytes"].as_u64().is_some_and(|bytes| bytes > 10_000_000), "{report}");
}
