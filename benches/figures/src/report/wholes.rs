//! What is run once in each round: whole programs, and the one that says how much memory stays.

use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use super::build::{Built, Programs};
use super::conditions::metadata;
use super::field::OURS;
use super::process::output;
use super::results::{Memory, Whole};
use super::subjects::Subject;
use super::{Failure, Options};
use crate::cases::{Kind, Role};

/// Bytes of sources that are indexed, at least, if there are as many.
const INDEXED: u64 = 16 << 20;

/// The example's name among the programs.
pub const PARSE_SOURCES: &str = "parse_sources";

/// A program to run, and how.
struct Run {
    name: String,
    allocator: String,
    role: Role,
    command: Vec<String>,
}

/// The sources of this library and of the packages that it is built with here.
fn sources(root: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut folders = vec![root.join("src"), root.join("tests")];
    for package in metadata(root, &[])?.packages.into_iter().filter(|package| package.source.is_some()) {
        folders.extend(package.manifest_path.parent().map(|folder| folder.into()));
    }
    folders[2..].sort();
    Ok(folders)
}

fn bytes(folder: &Path) -> u64 {
    let files = walkdir::WalkDir::new(folder).into_iter().filter_map(Result::ok);
    let sources = files.filter(|file| file.path().extension().is_some_and(|end| end == "rs"));
    sources.filter_map(|file| Some(file.metadata().ok()?.len())).sum()
}

/// As many of the folders as hold the bytes that are to be indexed, separated by colons.
fn indexed(folders: &[PathBuf]) -> String {
    let mut left = INDEXED;
    let few = folders.iter().take_while(|folder| {
        let more = left > 0;
        left = left.saturating_sub(bytes(folder));
        more
    });
    few.map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(":")
}

/// The example in each tier.
fn parse_sources(built: &Built, folders: &[PathBuf]) -> Vec<Run> {
    let tiers: &[(&str, &str, Role)] = if built.name == OURS {
        &[
            ("coroutine", "coroutine tier", Role::Ours),
            ("thread", "thread tier", Role::Ours),
            ("global", "global tier (glibc)", Role::Ours),
        ]
    } else {
        &[("global", built.name, Role::Peer)]
    };
    let run = |&(tier, allocator, role): &(&str, &str, Role)| {
        let program = built.parse_sources.display().to_string();
        let mut command: Vec<String> =
            [program.as_str(), "--json", "--tier", tier].into_iter().map(String::from).collect();
        command.extend(folders.iter().map(|folder| folder.display().to_string()));
        Run { name: PARSE_SOURCES.into(), allocator: allocator.into(), role, command }
    };
    tiers.iter().map(run).collect()
}

fn whole(subject: &Subject) -> Run {
    Run {
        name: subject.case.name.clone(),
        allocator: subject.case.allocator.clone(),
        role: subject.case.role,
        command: vec![subject.program().display().to_string(), "whole".into(), subject.case.id()],
    }
}

/// Seconds of processors that the processes took which were waited for.
fn processor_seconds() -> f64 {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: The place has room for the answer.
    let failed = unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, usage.as_mut_ptr()) };
    assert_eq!(failed, 0, "the kernel says what processes took");
    // SAFETY: It was zeros, which are a value of the type, and was written since.
    let usage = unsafe { usage.assume_init() };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

/// What a process took.
#[derive(Clone, Copy)]
struct Taken {
    seconds: f64,
    processor_seconds: f64,
    peak: f64,
}

/// What a program printed that must be the same on every allocator, and its peak of resident
/// memory.
fn printed(name: &str, text: &str) -> Option<(String, f64)> {
    if name == PARSE_SOURCES {
        let report: serde_json::Value = serde_json::from_str(text).ok()?;
        let run = report.get("runs")?.get(0)?;
        let count = |key| run.get(key)?.as_u64();
        let (files, items, tokens) = (count("files")?, count("items")?, count("tokens")?);
        let peak = count("peak_resident_bytes")?;
        return Some((format!("{files} files, {items} items, {tokens} tokens"), peak as f64));
    }
    let (said, peak) = text.trim().rsplit_once('\n')?;
    Some((said.to_owned(), peak.parse().ok()?))
}

/// Runs the programs, each once in each round.
pub fn programs(
    root: &Path,
    programs: &Programs,
    subjects: &[Subject],
    options: &Options,
    failures: &mut Vec<String>,
) -> Result<Vec<Whole>, Failure> {
    let mut runs: Vec<Run> = Vec::new();
    let folders = sources(root)?;
    if options.wants_name(PARSE_SOURCES) {
        runs.extend(programs.built.iter().flat_map(|built| parse_sources(built, &folders)));
    }
    runs.extend(subjects.iter().filter(|subject| subject.case.kind == Kind::Program).map(whole));
    if runs.is_empty() {
        return Ok(Vec::new());
    }
    let indexed = indexed(&folders);
    let mut wholes: Vec<Whole> = Vec::new();
    for round in 1..=options.program_rounds() {
        eprintln!("running programs, round {round} of {}", options.program_rounds());
        for run in &runs {
            let mut command = Command::new(&run.command[0]);
            command.args(&run.command[1..]).env("FIGURES_SOURCES", &indexed).current_dir(root);
            let (start, before) = (Instant::now(), processor_seconds());
            let result = output(&mut command, options.limit());
            let seconds = start.elapsed().as_secs_f64();
            let processor_seconds = processor_seconds() - before;
            let result = result.and_then(|text| {
                printed(&run.name, &text).ok_or_else(|| format!("{}, {}: {text}", run.name, run.allocator))
            });
            match result {
                Ok((said, peak)) => {
                    let taken = Taken { seconds, processor_seconds, peak };
                    add(&mut wholes, run, taken, said, failures);
                }
                Err(failure) => {
                    eprintln!("{failure}");
                    failures.push(failure);
                }
            }
        }
    }
    Ok(wholes)
}

/// Adds what a run took; it must have come to the same as the others.
fn add(wholes: &mut Vec<Whole>, run: &Run, taken: Taken, said: String, failures: &mut Vec<String>) {
    if let Some(other) = wholes.iter().find(|other| other.name == run.name && other.printed != said) {
        failures.push(format!(
            "{}: {said:?} on {}, but {:?} on {}",
            run.name, run.allocator, other.printed, other.allocator
        ));
    }
    let known = wholes.iter_mut().find(|whole| whole.name == run.name && whole.allocator == run.allocator);
    match known {
        Some(whole) => {
            whole.seconds.push(taken.seconds);
            whole.processor_seconds.push(taken.processor_seconds);
            whole.peak_resident.push(taken.peak);
        }
        None => wholes.push(Whole {
            name: run.name.clone(),
            allocator: run.allocator.clone(),
            role: run.role,
            seconds: vec![taken.seconds],
            processor_seconds: vec![taken.processor_seconds],
            peak_resident: vec![taken.peak],
            printed: said,
        }),
    }
}

/// Measures what stays resident.
pub fn memory(subjects: &[Subject], options: &Options, failures: &mut Vec<String>) -> Vec<Memory> {
    let mut all: Vec<Memory> = Vec::new();
    for round in 1..=options.memory_rounds() {
        eprintln!("measuring what stays resident, round {round} of {}", options.memory_rounds());
        for subject in subjects.iter().filter(|subject| subject.case.kind == Kind::Memory) {
            let run = output(
                Command::new(subject.program()).args(["run", &subject.case.id(), "1"]),
                options.limit(),
            );
            let stages =
                run.and_then(|text| serde_json::from_str(&text).map_err(|error| format!("{text}: {error}")));
            match stages {
                Ok(stages) => {
                    match all.iter_mut().find(|memory| memory.allocator == subject.case.allocator) {
                        Some(memory) => memory.rounds.push(stages),
                        None => all.push(Memory {
                            allocator: subject.case.allocator.clone(),
                            role: subject.case.role,
                            rounds: vec![stages],
                        }),
                    }
                }
                Err(failure) => {
                    eprintln!("{failure}");
                    failures.push(failure);
                }
            }
        }
    }
    all
}
