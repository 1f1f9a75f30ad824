//! Times and counts of all cases: times from interleaved rounds, instructions from callgrind.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::build::Programs;
use super::results::Measured;
use super::subjects::{self, Subject};
use super::{Failure, Options};
use crate::cases::{Kind, Role};

/// Why something failed, by what it was; it is not tried again.
type Failed = BTreeMap<String, Failure>;

/// All cases that are wanted, those that do the same thing next to each other.
pub fn subjects(programs: &Programs, options: &Options) -> Result<Vec<Subject>, Failure> {
    let mut all = Vec::new();
    for built in &programs.built {
        all.extend(subjects::of(built.name, &built.subject, options.limit())?);
    }
    // What is used directly is inlined without link-time optimisation too.
    if !options.lto {
        all.extend(direct(&programs.direct, options)?);
    }
    all.retain(|subject| options.wants_case(&subject.case));
    let mut titles: Vec<String> = Vec::new();
    for subject in &all {
        let title = subject.case.title();
        if !titles.contains(&title) {
            titles.push(title);
        }
    }
    let place = |title: &str| titles.iter().position(|known| known == title);
    all.sort_by_key(|subject| (place(&subject.case.title()), subject.case.role != Role::Ours));
    Ok(all)
}

fn direct(program: &Path, options: &Options) -> Result<Vec<Subject>, Failure> {
    if options.wants("direct") { subjects::of("direct", program, options.limit()) } else { Ok(Vec::new()) }
}

/// Measures the cases that are repeated.
pub fn cases(subjects: &[Subject], options: &Options, failures: &mut Vec<String>) -> Vec<Measured> {
    let repeated: Vec<_> = subjects.iter().filter(|subject| subject.case.kind == Kind::Repeated).collect();
    let mut failed = Failed::new();
    let mut measured: Vec<_> = repeated
        .iter()
        .map(|subject| Measured {
            contender: subject.contender.clone(),
            case: subject.case.clone(),
            nanoseconds: Vec::new(),
            peak_resident: Vec::new(),
            instructions: None,
        })
        .collect();
    for round in 1..=options.rounds() {
        eprintln!("timing, round {round} of {}", options.rounds());
        // There and back, so that none always comes after the same other.
        let mut order: Vec<_> = (0..repeated.len()).collect();
        if round % 2 == 0 {
            order.reverse();
        }
        for index in order {
            let (subject, measured) = (repeated[index], &mut measured[index]);
            if !subject.case.timed || failed.contains_key(&subject.case.id()) {
                continue;
            }
            match subject.sample(options.milliseconds(), options.limit()) {
                Ok(sample) => {
                    measured.nanoseconds.push(sample.nanoseconds);
                    measured.peak_resident.push(sample.peak_resident as f64);
                }
                Err(failure) => {
                    eprintln!("{failure}");
                    failed.insert(subject.case.id(), failure);
                }
            }
        }
    }
    if options.counts() {
        count(&repeated, &mut measured, options, &mut failed);
    }
    failures.extend(failed.into_values());
    measured
}

/// Counts the instructions of each case: several at once, since nothing disturbs a count.
fn count(subjects: &[&Subject], measured: &mut [Measured], options: &Options, failed: &mut Failed) {
    eprintln!("counting instructions");
    let next = AtomicUsize::new(0);
    let counts = Mutex::new(Vec::new());
    // Some cannot be counted at all: they reserve more addresses than valgrind has.
    let blind = Mutex::new(Failed::new());
    let count_some = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(subject) = subjects.get(index) else { return };
            if !subject.case.counted
                || blind.lock().expect("no thread panicked").contains_key(&subject.contender)
            {
                continue;
            }
            match subject.instructions(options.limit()) {
                Ok(count) => counts.lock().expect("no thread panicked").push((index, count)),
                Err(failure) => {
                    let counts = counts.lock().expect("no thread panicked");
                    let works =
                        counts.iter().any(|(index, _)| subjects[*index].contender == subject.contender);
                    let what = if works { subject.case.id() } else { subject.contender.clone() };
                    let failure = format!("no instructions of {what} are counted: {failure}");
                    blind.lock().expect("no thread panicked").insert(what, failure);
                }
            }
        }
    };
    let at_once = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(count_some);
        }
    });
    for (index, count) in counts.into_inner().expect("no thread panicked") {
        measured[index].instructions = Some(count);
    }
    failed.extend(blind.into_inner().expect("no thread panicked"));
}
