//! The order of things: arguments, input, runs, comparison, report.

use super::args::Args;
use super::failure::Failure;
use super::input::Input;
use super::progress::Progress;
use super::report::Report;
use super::run::Run;
use super::table;
use super::tier::Tier;
use clap::Parser;
use indicatif::{HumanBytes, HumanCount};
use std::process::ExitCode;

/// Does what the command line says.
pub fn main() -> ExitCode {
    match report(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            failure.exit_code()
        }
    }
}

fn report(args: &Args) -> Result<(), Failure> {
    let tiers = args.tiers()?;
    let input = Input::find(args.paths())?;
    let runs = measure(args, &tiers, &input)?;
    let report = Report::new(&input, &runs);
    if args.json() {
        println!("{}", serde_json::to_string(&report).expect("all keys are strings"));
        return Ok(());
    }
    println!(
        "{}, {}, {} skipped; {}, {} for each tier",
        plural(report.input.files as u64, "file"),
        HumanBytes(report.input.bytes),
        HumanCount(report.input.skipped),
        plural(args.threads().get() as u64, "thread"),
        match args.repeat() {
            1 => "one run".to_owned(),
            runs => format!("the fastest of {runs} runs"),
        }
    );
    println!("{}", table::draw(&report));
    Ok(())
}

fn plural(count: u64, noun: &str) -> String {
    format!("{} {noun}{}", HumanCount(count), if count == 1 { "" } else { "s" })
}

/// The fastest run of each tier. The tiers take turns, so that a machine that slows down slows all
/// of them.
fn measure(args: &Args, tiers: &[Tier], input: &Input) -> Result<Vec<Run>, Failure> {
    let progress = if args.json() { Progress::Hidden } else { Progress::Shown };
    let mut fastest: Vec<Run> = Vec::new();
    for _ in 0..args.repeat() {
        for &tier in tiers {
            let run = Run::measure(tier, &input.files, args.threads(), &progress);
            if let Some(first) = fastest.first() {
                compare(first, &run)?;
            }
            match fastest.iter_mut().find(|best| best.tier == tier) {
                None => fastest.push(run),
                Some(best) if run.time < best.time => *best = run,
                Some(_) => {}
            }
        }
    }
    Ok(fastest)
}

fn compare(first: &Run, other: &Run) -> Result<(), Failure> {
    if first.totals == other.totals {
        return Ok(());
    }
    Err(Failure::Mismatch(format!(
        "two runs over the same files counted differently:\n  in the {} tier {:?}\n  in the {} tier {:?}",
        first.tier, first.totals, other.tier, other.totals
    )))
}
