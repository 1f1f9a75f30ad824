//! The report as a table: a row for each figure, a column for each tier.

use super::report::{Report, RunReport};
use comfy_table::{CellAlignment, Table, presets};
use indicatif::{HumanBytes, HumanCount};

/// Draws the report.
pub fn draw(report: &Report) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header(
        [String::new()].into_iter().chain(report.runs.iter().map(|run| format!("{} tier", run.tier))),
    );
    for (name, show) in ROWS {
        table.add_row([(*name).to_owned()].into_iter().chain(report.runs.iter().map(show)));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

type Row = (&'static str, fn(&RunReport) -> String);

const ROWS: &[Row] = &[
    ("files parsed", |run| count(Some(run.totals.files))),
    ("items", |run| count(Some(run.totals.counts.items))),
    ("types", |run| count(Some(run.totals.counts.types))),
    ("expressions", |run| count(Some(run.totals.counts.expressions))),
    ("tokens", |run| count(Some(run.totals.counts.tokens))),
    ("longest identifier", |run| bytes(Some(run.totals.longest_bytes as u64))),
    ("time", |run| format!("{:.3} s", run.seconds)),
    ("source per second", |run| format!("{:.1} MB", run.mb_per_s)),
    ("blocks allocated", |run| count(run.figures.blocks)),
    ("peak live", |run| bytes(run.figures.peak_live_bytes)),
    ("peak resident", |run| bytes(run.peak_resident_bytes)),
    ("heaps made", |run| count(run.figures.heaps)),
    ("escaped blocks", |run| count(run.figures.escaped_blocks)),
    ("escaped bytes", |run| bytes(run.figures.escaped_bytes)),
    ("remote frees", |run| count(run.figures.remote_frees)),
    ("live blocks at end", |run| known(run.figures.live_blocks_at_end, |blocks| blocks.to_string())),
];

fn count(figure: Option<u64>) -> String {
    known(figure, |count| HumanCount(count).to_string())
}

fn bytes(figure: Option<u64>) -> String {
    known(figure, |bytes| HumanBytes(bytes).to_string())
}

fn known<T>(figure: Option<T>, show: impl FnOnce(T) -> String) -> String {
    figure.map_or_else(|| "not measured".to_owned(), show)
}
