//! The command line of a program that runs on one allocator.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::cases::Case;
use crate::stopwatch;

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
    /// Print the nanoseconds of one iteration of a case
    Time {
        case: String,
        /// How long to measure
        #[arg(long, default_value_t = 10)]
        milliseconds: u64,
    },
    /// Run a case once to warm up, then between two markers on standard error
    Quiet { case: String, iterations: u64 },
}

/// What is done with a case.
type Todo = Box<dyn Fn(&Case)>;

/// Does what the command line says.
pub fn main(cases: &[Case]) -> ExitCode {
    let (name, todo): (String, Todo) = match Args::parse().command {
        Command::List => {
            for case in cases {
                println!("{}", serde_json::to_string(&case.description()).expect("all keys are strings"));
            }
            return ExitCode::SUCCESS;
        }
        Command::Run { case, iterations } => (case, Box::new(move |case| (case.run)(iterations))),
        Command::Time { case, milliseconds } => {
            (case, Box::new(move |case| println!("{}", time(case, Duration::from_millis(milliseconds)))))
        }
        Command::Quiet { case, iterations } => (case, Box::new(move |case| quiet(case, iterations))),
    };
    match cases.iter().find(|case| case.description().id() == name) {
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

/// Nanoseconds of one iteration, from one run that takes about `budget`, after shorter ones that warm up.
fn time(case: &Case, budget: Duration) -> f64 {
    let mut iterations = 1000_u64.div_ceil(case.weight);
    loop {
        let taken = elapsed(case, iterations);
        if taken * 4 >= budget {
            let wanted = budget.as_secs_f64() / taken.as_secs_f64() * iterations as f64;
            let iterations = (wanted as u64).max(1);
            return elapsed(case, iterations).as_secs_f64() * 1e9 / iterations as f64;
        }
        iterations *= 2;
    }
}

fn elapsed(case: &Case, iterations: u64) -> Duration {
    stopwatch::read(|| (case.run)(iterations))
}

fn quiet(case: &Case, iterations: u64) {
    (case.run)(iterations);
    eprint!("begin");
    (case.run)(iterations);
    eprint!("end");
}
