//! Builds the programs, runs them, and tells what came out: as text, as JSON, as tables in
//! Markdown, as charts.

mod build;
mod callgrind;
mod charts;
mod conditions;
mod document;
mod fast_paths;
mod field;
mod goals;
mod markdown;
mod matrix;
mod measure;
mod options;
mod process;
mod resident;
mod results;
mod spread;
mod subjects;
mod tables;
mod wholes;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::{Parser, Subcommand};

use options::Options;
use results::Results;

/// A failure, as it is told to whoever called the program.
type Failure = String;

/// Measures, compares and checks; the scripts call it.
#[derive(Debug, Parser)]
struct Args {
    #[command(subcommand)]
    command: Todo,
}

#[derive(Debug, Subcommand)]
enum Todo {
    /// Measure context-allocator side by side with its peers
    Run(Options),
    /// Measure how much memory is resident in the situations of `situations`
    Memory(resident::Wanted),
    /// Print the results of a run again, and write its tables and charts
    Show(document::Show),
    /// Put standard input between the markers of a part of docs/benchmarks/
    Replace {
        /// What the markers are called
        part: String,
    },
    /// Check that the fast paths execute no atomic read-modify-write and nothing outside the
    /// program, and list them
    FastPaths {
        /// Where the programs lie
        directory: PathBuf,
    },
}

/// The folder of the repository.
fn root() -> &'static Path {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    folder.ancestors().nth(2).unwrap_or(folder)
}

/// Does what the command line says.
pub fn main() -> ExitCode {
    let result = match Args::parse().command {
        Todo::Run(options) => run(&options),
        Todo::Memory(wanted) => resident::measure(root(), &wanted),
        Todo::Show(show) => document::show(root(), &show),
        Todo::Replace { part } => document::replace_by_input(root(), &part),
        Todo::FastPaths { directory } => fast_paths::check(&directory),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

/// Builds, measures, writes and prints.
fn run(options: &Options) -> Result<(), Failure> {
    let root = root();
    let programs = build::all(root, options)?;
    if options.builds.build_only {
        return Ok(());
    }
    let subjects = measure::subjects(&programs, options)?;
    let mut failures = Vec::new();
    let memory = wholes::memory(&subjects, options, &mut failures);
    let wholes = wholes::programs(root, &programs, &subjects, options, &mut failures)?;
    let cases = measure::cases(&subjects, options, &mut failures);
    let regions = regions(&programs.direct, options, &mut failures);
    let results = Results {
        conditions: conditions::of(root, options),
        contenders: programs.contenders,
        cases,
        programs: wholes,
        memory,
        regions,
        failures,
    };
    let file = options.results();
    let text = serde_json::to_string_pretty(&results).expect("all keys are strings");
    fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))?;
    print!("{}", tables::everything(&results));
    println!("\nAll of it is in {}.", file.display());
    if options.write { document::write(root, &results) } else { Ok(()) }
}

/// How much of a region each allocator that is used directly fills.
fn regions(
    direct: &Path,
    options: &Options,
    failures: &mut Vec<String>,
) -> Vec<crate::cases::direct::efficiency::Share> {
    if options.lto || !options.wants("direct") || !options.wants_name("share of a region") {
        return Vec::new();
    }
    eprintln!("filling regions");
    let printed = process::output(Command::new(direct).arg("efficiency"), options.limit() * 4);
    let shares = printed.and_then(|text| {
        let share = |line: &str| serde_json::from_str(line).map_err(|error| format!("{line}: {error}"));
        text.lines().map(share).collect()
    });
    shares.unwrap_or_else(|failure| {
        eprintln!("{failure}");
        failures.push(failure);
        Vec::new()
    })
}
