//! The command line of a program that runs on one allocator.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use serde::{Deserialize, Serialize};

use crate::cases::Case;
use crate::{resident, stopwatch};

/// Cases of context-allocator's measurements, on one global allocator.
#[derive(Debug, Parser)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the cases, one JSON object a line
    List,
    /// Run a case so many times
    Run { case: String, iterations: u64 },
    /// Measure a case: print the nanoseconds of one iteration and the process's peak of resident
    /// memory, as JSON
    Time {
        case: String,
        /// How long to measure
        #[arg(long, default_value_t = 10)]
        milliseconds: u64,
    },
    /// Run a case once that is a program, and print the process's peak of resident memory after
    /// what it prints itself
    Whole { case: String },
    /// Run a case once to warm up, then between two markers on standard error
    Quiet { case: String, iterations: u64 },
}

/// What one process measured of a case.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Sample {
    /// Nanoseconds of an iteration, of one thread where several do the same.
    pub nanoseconds: f64,
    /// The most bytes that were ever resident in this process.
    pub peak_resident: u64,
}

/// What is done with a case.
type Todo = Box<dyn Fn(&Case)>;

/// Does what the command line says.
pub fn main(cases: &[Case]) -> ExitCode {
    let (name, todo): (String, Todo) = match Args::parse().command {
        Command::List => {
            for case in cases {
                println!("{}", serde_json::to_string(&case.description).expect("all keys are strings"));
            }
            return ExitCode::SUCCESS;
        }
        Command::Run { case, iterations } => (case, Box::new(move |case| run(case, iterations))),
        Command::Time { case, milliseconds } => (
            case,
            Box::new(move |case| {
                let sample = sample(case, Duration::from_millis(milliseconds));
                println!("{}", serde_json::to_string(&sample).expect("all keys are strings"));
            }),
        ),
        Command::Whole { case } => (
            case,
            Box::new(|case| {
                run(case, 1);
                println!("{}", resident::peak());
            }),
        ),
        Command::Quiet { case, iterations } => (case, Box::new(move |case| quiet(case, iterations))),
    };
    match cases.iter().find(|case| case.description.id() == name) {
        Some(case) => {
            todo(case);
            ExitCode::SUCCESS
        }
        None => {
            eprintln!("there is no case {name:?} here; `list` prints them");
            ExitCode::from(2)
        }
    }
}

/// Measures one run that takes about `budget`, after shorter ones that warm up. Each of those is
/// done twice, so that one that another program held up does not make the last one too short.
fn sample(case: &Case, budget: Duration) -> Sample {
    let mut iterations = case.description.whole_batches(1000_u64.div_ceil(case.description.weight));
    let mut fastest = f64::INFINITY;
    loop {
        for _ in 0..2 {
            fastest = fastest.min(elapsed(case, iterations).as_secs_f64() / iterations as f64);
        }
        if fastest * iterations as f64 * 4.0 >= budget.as_secs_f64() {
            break;
        }
        iterations *= 2;
    }
    let iterations = case.description.whole_batches((budget.as_secs_f64() / fastest).max(1.0) as u64);
    let nanoseconds = elapsed(case, iterations).as_secs_f64() * 1e9 / iterations as f64;
    Sample { nanoseconds, peak_resident: resident::peak() }
}

fn run(case: &Case, iterations: u64) {
    elapsed(case, iterations);
}

fn elapsed(case: &Case, iterations: u64) -> Duration {
    match case.description.each_thread {
        true => stopwatch::read_on(case.description.threads, || (case.run)(iterations)),
        false => stopwatch::read(|| (case.run)(iterations)),
    }
}

fn quiet(case: &Case, iterations: u64) {
    run(case, iterations);
    eprint!("begin");
    run(case, iterations);
    eprint!("end");
}
