//! Tables of global allocators: a line for each case, a column for each allocator.

use comfy_table::Table;

use super::field::{FIELD, OURS};
use super::markdown::{mebibytes, number, table};
use super::results::{Measured, Results, best, times as times_of};

/// The columns of this library.
const TIERS: [&str; 3] = ["coroutine tier", "thread tier", "global tier (glibc)"];

/// The allocators that were measured, ours first.
fn columns(results: &Results) -> Vec<&'static str> {
    let peers = FIELD.iter().map(|entry| entry.name).filter(|name| *name != OURS);
    let measured = |name: &&str| results.cases.iter().any(|measured| measured.case.allocator == *name);
    TIERS.into_iter().chain(peers).filter(measured).collect()
}

/// Whether a case belongs to these tables.
fn is_global(title: &str, group: &[&Measured]) -> bool {
    let apart = title.starts_with("region") || title.starts_with("enter");
    !apart && group.iter().any(|measured| measured.contender != "direct")
}

fn of(results: &Results, cell: impl Fn(&[&Measured], &Measured) -> Option<String>) -> Table {
    let columns = columns(results);
    let mut headings = vec!["case"];
    headings.extend(&columns);
    let mut table = table(&headings, 1);
    for (title, group) in results.groups().into_iter().filter(|(title, group)| is_global(title, group)) {
        let in_column = |column: &&str| {
            let measured = group.iter().find(|measured| measured.case.allocator == *column)?;
            cell(&group, measured)
        };
        let cells: Vec<_> = columns.iter().map(in_column).collect();
        if cells.iter().any(Option::is_some) {
            let mut row = vec![title];
            row.extend(cells.into_iter().map(Option::unwrap_or_default));
            table.add_row(row);
        }
    }
    table
}

/// Nanoseconds, with the ratio to the best peer; the best peer in bold.
fn times_cell(group: &[&Measured], measured: &Measured) -> Option<String> {
    let time = measured.time()?.median;
    let times = times_of(group);
    let Some(best) = best(&times) else { return Some(number(time)) };
    let text = format!("{} ({:.2})", number(time), time / best.value);
    Some(if best.allocator == measured.case.allocator { format!("**{text}**") } else { text })
}

/// Nanoseconds of an iteration.
pub fn times(results: &Results) -> Table {
    of(results, times_cell)
}

/// Instructions of an iteration.
pub fn instructions(results: &Results) -> Table {
    of(results, |_, measured| measured.instructions.map(number))
}

/// The peak of resident memory in MiB.
pub fn peaks(results: &Results) -> Table {
    of(results, |_, measured| measured.peak().map(|peak| mebibytes(peak.median)))
}
