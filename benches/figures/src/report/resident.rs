//! What is resident in each situation on each allocator: one table, and the same as JSON.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::thread;

use clap::Args;
use comfy_table::Table;
use serde::Serialize;

use super::build::{self, Programs};
use super::field::OURS;
use super::markdown::{number, table};
use super::options::Builds;
use super::process::output;
use super::results::Contender;
use super::subjects::{self, Subject};
use super::{Failure, document, tables};
use crate::cases::Kind;
use crate::situations::{Goal, ROWS, Row};

/// Which rows to measure.
#[derive(Debug, Args)]
pub struct Wanted {
    #[command(flatten)]
    builds: Builds,
    /// Only this row, as `--help` of the script names them; may be given more than once
    #[arg(long, value_name = "NAME")]
    row: Vec<String>,
    /// So many programs at a time
    #[arg(long, default_value_t = 3)]
    jobs: usize,
    /// Write the table into docs/benchmarks/
    #[arg(long)]
    write: bool,
}

/// A program's allocator, where it has no program of its own; all of our tiers are one.
fn column(subject: &Subject) -> String {
    match subject.contender.as_str() {
        "direct" => subject.case.allocator.clone(),
        contender => contender.to_owned(),
    }
}

/// The figures of a row on an allocator.
#[derive(Debug, Serialize)]
struct Cell {
    row: String,
    allocator: String,
    /// In the order of the row's figures; none where the allocator has no such.
    values: Vec<Option<f64>>,
    failure: Option<Failure>,
}

/// All that was measured.
#[derive(Debug, Serialize)]
struct Report<'a> {
    contenders: &'a [Contender],
    cells: &'a [Cell],
}

/// Builds, measures, prints and writes.
pub fn measure(root: &Path, wanted: &Wanted) -> Result<(), Failure> {
    if let Some(unknown) = wanted.row.iter().find(|name| ROWS.iter().all(|row| row.name != name.as_str())) {
        let names: Vec<_> = ROWS.iter().map(|row| row.name).collect();
        return Err(format!("there is no row {unknown:?}, only: {}", names.join(", ")));
    }
    let programs = build::subjects(root, &wanted.builds)?;
    if wanted.builds.build_only {
        return Ok(());
    }
    let subjects = wanted_subjects(&programs, wanted)?;
    let mut cells = Vec::new();
    for row in ROWS {
        let of_row: Vec<_> = subjects.iter().filter(|subject| subject.case.name == row.name).collect();
        if !of_row.is_empty() {
            eprintln!("measuring {}", row.name);
            cells.extend(run(&of_row, row, wanted));
        }
    }
    let report = Report { contenders: &programs.contenders, cells: &cells };
    let text = serde_json::to_string_pretty(&report).expect("all keys are strings");
    let file = wanted.builds.target.join("memory.json");
    fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))?;
    let rows = rows(&cells).to_string();
    println!("{rows}\n\n{}", tables::contenders(&programs.contenders));
    let failures: Vec<_> = cells
        .iter()
        .filter_map(|cell| Some(format!("- {}, {}: {}", cell.allocator, cell.row, cell.failure.as_ref()?)))
        .collect();
    if !failures.is_empty() {
        println!("\nFailed:\n{}", failures.join("\n"));
    }
    if wanted.write { document::update(root, &[("situations".to_owned(), rows)]) } else { Ok(()) }
}

fn wanted_subjects(programs: &Programs, wanted: &Wanted) -> Result<Vec<Subject>, Failure> {
    let mut all = Vec::new();
    for built in &programs.built {
        all.extend(subjects::of(built.name, &built.subject, wanted.builds.limit())?);
    }
    if wanted.builds.wants("direct") {
        all.extend(subjects::of("direct", &programs.direct, wanted.builds.limit())?);
    }
    all.retain(|subject| {
        let case = &subject.case;
        let named = wanted.row.is_empty() || wanted.row.contains(&case.name);
        case.kind == Kind::Situation && named
    });
    Ok(all)
}

/// Runs a row on all of its allocators, so many at a time: most of the time they wait.
fn run(subjects: &[&Subject], row: &Row, wanted: &Wanted) -> Vec<Cell> {
    let next = Mutex::new(subjects.iter().enumerate());
    let cells = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..wanted.jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let Some((place, subject)) = next.lock().expect("nobody panics").next() else { break };
                    let cell = one(subject, row, wanted);
                    cells.lock().expect("nobody panics").push((place, cell));
                }
            });
        }
    });
    let mut cells = cells.into_inner().expect("nobody panics");
    cells.sort_by_key(|&(place, _)| place);
    cells.into_iter().map(|(_, cell)| cell).collect()
}

fn one(subject: &Subject, row: &Row, wanted: &Wanted) -> Cell {
    let mut command = Command::new(subject.program());
    let printed = output(command.args(["run", &subject.case.id(), "1"]), wanted.builds.limit());
    let values = printed.and_then(|text| {
        let values: Vec<Option<f64>> =
            serde_json::from_str(&text).map_err(|error| format!("{text:?}: {error}"))?;
        if values.len() == row.figures.len() { Ok(values) } else { Err(format!("{text:?}: not its figures")) }
    });
    let (values, failure) = match values {
        Ok(values) => (values, None),
        Err(failure) => (Vec::new(), Some(failure)),
    };
    Cell { row: row.name.into(), allocator: column(subject), values, failure }
}

fn goal(goal: Goal) -> String {
    match goal {
        Goal::AtMost(value) => format!("≤ {value}"),
        Goal::AtLeast(value) => format!("≥ {value}"),
    }
}

/// The table: a line for each figure, a column for each allocator.
fn rows(cells: &[Cell]) -> Table {
    let mut columns = vec![OURS];
    for cell in cells {
        if !columns.contains(&cell.allocator.as_str()) {
            columns.push(&cell.allocator);
        }
    }
    columns.retain(|&column| cells.iter().any(|cell| cell.allocator == column));
    let mut table = table(&[&["row", "situation", "figure", "goal"], &columns[..]].concat(), 3);
    for row in ROWS {
        for (place, figure) in row.figures.iter().enumerate() {
            let value = |column: &&str| {
                let cell = cells.iter().find(|cell| cell.row == row.name && cell.allocator == *column);
                match cell {
                    Some(Cell { failure: Some(_), .. }) => "failed".into(),
                    Some(cell) => cell.values[place].map_or(String::new(), number),
                    None => String::new(),
                }
            };
            let values: Vec<_> = columns.iter().map(value).collect();
            if values.iter().any(|value| !value.is_empty()) {
                let what = [row.name, row.what, figure.name].map(str::to_owned);
                table.add_row([&what[..], &[goal(figure.goal)], &values].concat());
            }
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::{Cell, rows};

    #[test]
    fn a_line_for_each_figure_and_a_column_for_each_allocator() {
        let cell = |allocator: &str, values: &[Option<f64>], failure: Option<&str>| Cell {
            row: "threads".into(),
            allocator: allocator.into(),
            values: values.into(),
            failure: failure.map(str::to_owned),
        };
        let cells = [
            cell("peer", &[Some(20.0), None], None),
            cell("ours", &[Some(16.0), Some(7.0)], None),
            cell("broken", &[], Some("it hangs")),
        ];
        let text = rows(&cells).to_string();
        let lines: Vec<Vec<_>> =
            text.lines().map(|line| line.split('|').map(str::trim).skip(4).collect()).collect();
        assert_eq!(lines[0], ["goal", "ours", "peer", "broken", ""]);
        assert_eq!(lines[2], ["≤ 16", "16.0", "20.0", "failed", ""]);
        assert_eq!(lines[3], ["≤ 8", "7.00", "", "failed", ""]);
        assert_eq!(lines.len(), 4);
    }
}
