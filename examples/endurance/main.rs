//! Whether memory grows when a program runs for long:
//! `cargo run --release --example endurance -- 60` (minutes).
//!
//! Ends with an error where it does: where resident memory at the end of any minute is more than 2
//! % above that at the end of the first one. `scripts/endurance.sh` builds and runs it.

use std::process::ExitCode;
use std::time::{Duration, Instant};

mod load;

context_allocator::global_thread_and_coroutine_switchable_allocator!(static ALLOC);

fn main() -> ExitCode {
    let minutes = std::env::args().nth(1).map_or(Some(60.0), |minutes| minutes.parse().ok());
    let Some(minutes) =
        minutes.filter(|&minutes: &f64| minutes.is_finite() && (0.05..1e6).contains(&minutes))
    else {
        eprintln!("usage: endurance [MINUTES], at least 0.05");
        return ExitCode::from(2);
    };
    let begin = Instant::now();
    let total = Duration::from_secs_f64(minutes * 60.0);
    let plan = load::Plan { warm_up: Duration::ZERO, total, blocks: 20_000, allowance: 0, leak: false };
    let report = load::run(plan, |resident| {
        println!("{:7.1} s: {resident} KiB resident", begin.elapsed().as_secs_f32());
    });
    println!("{report}");
    println!("{:?}", ALLOC.statistics());
    if report.grew() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
