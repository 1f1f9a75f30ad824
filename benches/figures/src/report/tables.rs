//! The long tables: one line for each case on each allocator.

use std::fmt::Write;

use comfy_table::Table;

use super::goals;
use super::markdown::{mebibytes, number, table};
use super::matrix;
use super::results::{Contender, Measured, Results, best, seconds, times};
use super::spread::Spread;
use crate::memory::Stages;

fn quartiles(spread: Option<Spread>) -> String {
    spread.map_or(String::new(), |spread| {
        format!("{} to {}", number(spread.lower_quartile), number(spread.upper_quartile))
    })
}

/// Cases in full: those whose title `wanted` likes.
pub fn cases(results: &Results, wanted: impl Fn(&str) -> bool) -> Table {
    let headings =
        ["case", "allocator", "ns", "quartiles", "time / best peer", "instructions", "peak resident MiB"];
    let mut table = table(&headings, 2);
    for (title, group) in results.groups().into_iter().filter(|(title, _)| wanted(title)) {
        let times = times(&group);
        let best = best(&times).map(|best| best.value);
        for measured in group {
            table.add_row(row(&title, measured, best));
        }
    }
    table
}

fn row(title: &str, measured: &Measured, best: Option<f64>) -> [String; 7] {
    let time = measured.time();
    let ratio = time.zip(best).map(|(time, best)| format!("{:.2}", time.median / best));
    [
        title.to_owned(),
        measured.case.allocator.clone(),
        time.map_or(String::new(), |time| number(time.median)),
        quartiles(time),
        ratio.unwrap_or_default(),
        measured.instructions.map_or(String::new(), number),
        measured.peak().map_or(String::new(), |peak| mebibytes(peak.median)),
    ]
}

/// The programs.
pub fn programs(results: &Results) -> Table {
    let headings = [
        "program",
        "allocator",
        "seconds",
        "quartiles",
        "time / best peer",
        "processor seconds",
        "peak resident MiB",
    ];
    let mut table = table(&headings, 2);
    for (name, group) in results.programs() {
        let figures = seconds(&group);
        let best = best(&figures).map(|best| best.value);
        for whole in group {
            let spread = Spread::of(&whole.seconds);
            let ratio = spread.zip(best).map(|(spread, best)| format!("{:.2}", spread.median / best));
            table.add_row([
                name.to_owned(),
                whole.allocator.clone(),
                spread.map_or(String::new(), |spread| number(spread.median)),
                quartiles(spread),
                ratio.unwrap_or_default(),
                Spread::of(&whole.processor_seconds).map_or(String::new(), |spread| number(spread.median)),
                Spread::of(&whole.peak_resident).map_or(String::new(), |peak| mebibytes(peak.median)),
            ]);
        }
    }
    table
}

/// What stays resident.
pub fn memory(results: &Results) -> Table {
    let mut headings = vec!["allocator"];
    headings.extend(Stages::HEADINGS);
    let mut table = table(&headings, 1);
    for memory in &results.memory {
        let mut row = vec![memory.allocator.clone()];
        row.extend(memory.medians().map(mebibytes));
        table.add_row(row);
    }
    table
}

/// The share of a region that is live at the end.
pub fn regions(results: &Results) -> Table {
    let mut table = table(&["allocator", "16 B to 4 KiB at random", "64 B only"], 1);
    for share in &results.regions {
        table.add_row([
            share.allocator.clone(),
            format!("{:.3}", share.random_sizes),
            format!("{:.3}", share.blocks),
        ]);
    }
    table
}

/// The allocators and their purge policies.
pub fn contenders(contenders: &[Contender]) -> Table {
    let mut table = table(&["allocator", "version", "gives memory back"], 3);
    for contender in contenders {
        let purge = match &contender.left_out {
            None => contender.purge.clone(),
            Some(reason) => format!("left out, since it does not build: {reason}").replace('|', "/"),
        };
        table.add_row([contender.name.clone(), contender.version.clone(), purge]);
    }
    table
}

/// All that came out, as text.
pub fn everything(results: &Results) -> String {
    let mut text = format!("{}\n{}\n", results.conditions.list(), contenders(&results.contenders));
    let mut part = |title: &str, table: Table| {
        if table.row_count() > 0 {
            writeln!(text, "\n{title}\n\n{table}").expect("writing to a string does not fail");
        }
    };
    part("All cases", cases(results, |_| true));
    part("Programs", programs(results));
    part("MiB resident of 99 MiB in 500,000 blocks", memory(results));
    part("Share of a region that is live when the first request fails", regions(results));
    part("Global allocators: ns, and times the best peer's", matrix::times(results));
    part("Goals", goals::table(results));
    if !results.failures.is_empty() {
        writeln!(text, "\nFailed:\n- {}", results.failures.join("\n- ")).expect("as above");
    }
    text
}
