//! The example parse_sources, tier by tier, against the same program on other allocators.

use std::path::Path;
use std::process::Command;

use serde::Deserialize;

use super::markdown::table;
use super::subjects::output;
use super::{Failure, Spread};

/// Example, tier, and what the table calls it.
const PROGRAMS: [(&str, &str, &str); 6] = [
    ("parse_sources_uncounted", "coroutine", "coroutine tier"),
    ("parse_sources_uncounted", "thread", "thread tier"),
    ("parse_sources_uncounted", "global", "global tier (system)"),
    ("parse_sources", "coroutine", "coroutine tier, counting blocks and bytes"),
    ("parse_sources_system", "global", "system"),
    ("parse_sources_mimalloc", "global", "mimalloc"),
];

const PEERS: [&str; 2] = ["system", "mimalloc"];

#[derive(Deserialize)]
struct Report {
    input: Input,
    runs: Vec<Run>,
}

#[derive(Deserialize)]
struct Input {
    files: u64,
    bytes: u64,
}

#[derive(Deserialize)]
struct Run {
    seconds: f64,
    peak_resident_bytes: Option<u64>,
}

/// Measures and prints the table: one process for each tier, all of them once in each round.
pub fn compare(directory: &Path, rounds: usize) -> Result<(), Failure> {
    let mut seconds = vec![Vec::new(); PROGRAMS.len()];
    let mut resident = vec![Vec::new(); PROGRAMS.len()];
    let mut input = None;
    for round in 1..=rounds {
        eprintln!("parsing, round {round} of {rounds}");
        for (index, (example, tier, _)) in PROGRAMS.into_iter().enumerate() {
            let printed = output(Command::new(directory.join(example)).args(["--json", "--tier", tier]))?;
            let report: Report =
                serde_json::from_str(&printed).map_err(|error| format!("{printed}: {error}"))?;
            let run = report.runs.first().ok_or("a report without a run")?;
            seconds[index].push(run.seconds);
            resident[index].extend(run.peak_resident_bytes.map(|bytes| bytes as f64));
            input = Some(report.input);
        }
    }
    let Some(input) = input else { return Err("no rounds".into()) };
    let seconds: Vec<_> = seconds.into_iter().map(Spread::of).collect();
    let resident: Vec<_> = resident.into_iter().map(Spread::of).collect();
    let best = PROGRAMS
        .iter()
        .zip(&seconds)
        .filter(|((_, _, name), _)| PEERS.contains(name))
        .map(|(_, seconds)| seconds.median)
        .min_by(f64::total_cmp)
        .unwrap_or(f64::NAN);
    let mut table = table(&["allocator", "seconds", "quartiles", "peak resident MiB", "time / best peer"], 1);
    for (((_, _, name), seconds), resident) in PROGRAMS.into_iter().zip(seconds).zip(resident) {
        table.add_row([
            name.to_owned(),
            format!("{:.3}", seconds.median),
            format!("{:.3} to {:.3}", seconds.lower_quartile, seconds.upper_quartile),
            format!("{:.1}", resident.median / f64::from(1 << 20)),
            format!("{:.2}", seconds.median / best),
        ]);
    }
    println!("{} files, {:.1} MB; medians of {rounds} rounds.\n", input.files, input.bytes as f64 / 1e6);
    println!("{table}");
    Ok(())
}
