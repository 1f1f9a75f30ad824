//! Runs the programs and tells what came out, as tables in Markdown.

mod callgrind;
mod efficiency;
mod fast_paths;
mod goals;
mod markdown;
mod parse_sources;
mod rounds;
mod subjects;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A failure, as it is told to whoever called the program.
type Failure = String;

/// Measures, compares and checks; the scripts call it.
#[derive(Debug, Parser)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Time all cases in interleaved rounds and count their instructions
    Figures {
        /// Where the programs lie
        directory: PathBuf,
        /// How often to time each case
        #[arg(long, default_value_t = 15)]
        rounds: usize,
        /// They were built with link-time optimisation
        #[arg(long)]
        lto: bool,
    },
    /// Time the example parse_sources against the same program on other allocators
    ParseSources {
        /// Where the examples lie
        directory: PathBuf,
        /// How often to run each
        #[arg(long, default_value_t = 7)]
        rounds: usize,
    },
    /// Fill a region with each allocator that is used directly, and print the share of it that is live at the end
    Efficiency {
        /// Where the programs lie
        directory: PathBuf,
    },
    /// Check that the fast paths execute no atomic read-modify-write and nothing outside the program, and list them
    FastPaths {
        /// Where the programs lie
        directory: PathBuf,
    },
}

/// Does what the command line says.
pub fn main() -> ExitCode {
    let result = match Args::parse().command {
        Command::Figures { directory, rounds, lto } => rounds::figures(&directory, rounds, lto),
        Command::ParseSources { directory, rounds } => parse_sources::compare(&directory, rounds),
        Command::Efficiency { directory } => efficiency::compare(&directory),
        Command::FastPaths { directory } => fast_paths::check(&directory),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

/// The middle of several measurements, and how far they lie apart.
#[derive(Clone, Copy, Debug)]
struct Spread {
    lower_quartile: f64,
    median: f64,
    upper_quartile: f64,
}

impl Spread {
    /// That of `values`, each quantile the nearest of them; not a number where there are none.
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let last = values.len().saturating_sub(1);
        let at = |quarters: usize| values.get((last * quarters + 2) / 4).copied().unwrap_or(f64::NAN);
        Self { lower_quartile: at(1), median: at(2), upper_quartile: at(3) }
    }
}
