//! The table of all cases: times from interleaved rounds, instructions from callgrind.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::markdown::{number, table};
use super::subjects::{self, Subject};
use super::{Failure, Spread, goals};
use crate::cases::Role;

struct Figures {
    subject: Subject,
    /// Nanoseconds of an iteration; `None` where only instructions say anything.
    spread: Option<Spread>,
    instructions: f64,
}

impl Figures {
    fn time(&self) -> Option<f64> {
        self.spread.map(|spread| spread.median)
    }
}

/// Measures everything and prints the table.
pub fn figures(directory: &Path, rounds: usize, lto: bool) -> Result<(), Failure> {
    // What is used directly is inlined without link-time optimisation too.
    let programs = if lto { subjects::GLOBAL } else { subjects::ALL };
    let subjects = subjects::all(directory, programs)?;
    let times = times(&subjects, rounds)?;
    let instructions = instructions(&subjects)?;
    let figures: Vec<_> = subjects
        .into_iter()
        .zip(times)
        .zip(instructions)
        .map(|((subject, spread), instructions)| Figures { subject, spread, instructions })
        .collect();
    println!("Medians of {rounds} rounds.\n");
    print(&figures, lto);
    Ok(())
}

/// The times of each case: every round runs all cases of all programs once, so that a machine that slows down slows all of
/// them.
fn times(subjects: &[Subject], rounds: usize) -> Result<Vec<Option<Spread>>, Failure> {
    let mut all = vec![Vec::new(); subjects.len()];
    for round in 1..=rounds {
        eprintln!("timing, round {round} of {rounds}");
        for (subject, times) in subjects.iter().zip(&mut all) {
            if subject.case.timed {
                times.push(subject.time()?);
            }
        }
    }
    Ok(all.into_iter().map(|times| (!times.is_empty()).then(|| Spread::of(times))).collect())
}

/// The instructions of each case: several at once, since nothing disturbs a count.
fn instructions(subjects: &[Subject]) -> Result<Vec<f64>, Failure> {
    let next = AtomicUsize::new(0);
    let counts = Mutex::new(vec![f64::NAN; subjects.len()]);
    let count_some = || -> Result<(), Failure> {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(subject) = subjects.get(index) else { return Ok(()) };
            let count = subject.instructions()?;
            counts.lock().expect("no thread panicked")[index] = count;
        }
    };
    eprintln!("counting instructions");
    let at_once = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..at_once).map(|_| scope.spawn(count_some)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("no thread panicked"))
    })?;
    Ok(counts.into_inner().expect("no thread panicked"))
}

fn print(figures: &[Figures], lto: bool) {
    let mut names: Vec<&str> = Vec::new();
    for figure in figures {
        if !names.contains(&figure.subject.case.name.as_str()) {
            names.push(&figure.subject.case.name);
        }
    }
    let headings = ["case", "allocator", "goal", "ns", "quartiles", "instructions", "time / best peer"];
    let mut table = table(&headings, 3);
    for name in names {
        let group: Vec<_> = figures.iter().filter(|figure| figure.subject.case.name == name).collect();
        let best = group
            .iter()
            .filter(|figure| figure.subject.case.role == Role::Peer)
            .filter_map(|figure| figure.time())
            .min_by(f64::total_cmp);
        let time_of = |allocator: &str| {
            group
                .iter()
                .find(|figure| figure.subject.case.allocator == allocator)
                .and_then(|figure| figure.time())
        };
        for figure in &group {
            let case = &figure.subject.case;
            let goal = goals::of(&case.name, &case.allocator, lto);
            table.add_row([
                case.name.clone(),
                case.allocator.clone(),
                goal.verdict(figure.time(), figure.instructions, best, time_of),
                figure.time().map_or(String::new(), number),
                figure.spread.map_or(String::new(), |spread| {
                    format!("{} to {}", number(spread.lower_quartile), number(spread.upper_quartile))
                }),
                number(figure.instructions),
                figure.time().zip(best).map_or(String::new(), |(time, best)| format!("{:.2}", time / best)),
            ]);
        }
    }
    println!("{table}");
}
