//! What this project wants to reach, and whether it did. Each goal is for one case on one of its
//! allocators.

use comfy_table::Table;

use super::markdown::{self, mebibytes, number};
use super::results::{Figure, Measured, Memory, Results, best, times};
use crate::cases::classes::INLINED;
use crate::cases::{Role, region};

/// What a figure should be at most.
#[derive(Clone, Copy, Debug)]
enum Goal {
    Nanoseconds(f64),
    Instructions(f64),
    /// Of the time of the best peer.
    OfBest(f64),
    /// Of the time of a certain other allocator.
    Of(f64, &'static str),
    /// Peak of resident memory, of the median of the four peers with the lowest.
    Resident(f64),
}

/// The goals of a pair; `size` is what comes after "pair, ".
fn of_pair(size: &str, tier: &str) -> Vec<Goal> {
    match (size, tier) {
        (_, "global tier (glibc)") => vec![Goal::Of(1.02, "glibc")],
        ("16 B", _) => vec![Goal::OfBest(0.45), Goal::Instructions(32.0)],
        ("8 KiB", _) => vec![Goal::OfBest(0.70)],
        _ => vec![Goal::OfBest(0.50), Goal::Instructions(32.0)],
    }
}

/// The goals of a case on a global allocator.
fn of_tier(case: &str, tier: &str) -> Vec<Goal> {
    let thread = tier == "thread tier";
    if let Some(size) = case.strip_prefix("pair, ") {
        return of_pair(size, tier);
    }
    if !thread && tier != "coroutine tier" {
        return Vec::new();
    }
    let start = case.split([',', ' ', ':']).next().unwrap_or(case);
    match start {
        "batch" => vec![Goal::OfBest(if case.ends_with("at random") { 0.75 } else { 0.70 })],
        "churn" => vec![Goal::OfBest(0.70), Goal::Resident(1.10)],
        "request" => vec![Goal::OfBest(if thread { 0.95 } else { 0.72 })],
        "JSON" => vec![Goal::OfBest(if thread { 0.95 } else { 0.85 }), Goal::Resident(1.10)],
        "freed" => vec![Goal::OfBest(0.80)],
        "larson" | "large" => vec![Goal::OfBest(0.80), Goal::Resident(1.10)],
        "vector" => vec![Goal::OfBest(1.00)],
        "thread" if thread => vec![Goal::OfBest(1.00), Goal::Instructions(22_000.0)],
        _ => Vec::new(),
    }
}

/// The goals of a region around so many blocks, on one of the allocators that make regions.
fn of_region(blocks: usize, allocator: &str) -> Vec<Goal> {
    let (time, instructions) = match blocks {
        0 => (10.0, 60.0),
        10 => (35.0, 450.0),
        100 => (200.0, 3_500.0),
        _ => (2_000.0, 35_000.0),
    };
    match allocator {
        "coroutine heap, entered and left" | "coroutine heap, each block freed" => {
            vec![Goal::Nanoseconds(time), Goal::Instructions(instructions)]
        }
        "coroutine heap, destroyed" => vec![Goal::Nanoseconds(time)],
        _ => Vec::new(),
    }
}

/// The goals of an allocator with a region of memory of its own; `what` is what comes after
/// "direct, ".
fn of_managed(what: &str, allocator: &str) -> Vec<Goal> {
    let random = what.starts_with("random 64 B") && what.ends_with("full");
    let churn = what == "churn, 10,000 live of 16 to 4096 B";
    match allocator {
        "BitSetAllocator" if random => vec![Goal::Of(0.60, "talc"), Goal::Instructions(45.0)],
        "BitSetAllocator" if what.starts_with("runs") => vec![Goal::Of(0.50, "talc")],
        "BitSetAllocator" if what.starts_with("slowest") => vec![Goal::Nanoseconds(30.0)],
        "MultipleBinarySearchTreeAllocator" if random || what.starts_with("coins") => {
            vec![Goal::Of(0.85, "talc")]
        }
        "MultipleBinarySearchTreeAllocator" if what.starts_with("batch") && what.contains("first out") => {
            vec![Goal::Of(0.85, "talc"), Goal::Instructions(200.0)]
        }
        "MultipleBinarySearchTreeAllocator" if churn => vec![Goal::Of(0.80, "talc")],
        "SizeClassAllocator" if churn => vec![Goal::Nanoseconds(8.0)],
        "SizeClassAllocator" if what == "pair, 64 B" => {
            vec![Goal::Nanoseconds(2.1), Goal::Instructions(20.0)]
        }
        _ => Vec::new(),
    }
}

/// The goals of a case used directly, or of a region.
fn of_direct(case: &str, allocator: &str) -> Vec<Goal> {
    if let Some(what) = case.strip_prefix("direct, ") {
        return of_managed(what, allocator);
    }
    if let Some(blocks) = region::REGIONS.into_iter().find(|&blocks| case == region::name(blocks)) {
        return of_region(blocks, allocator);
    }
    match (case, allocator) {
        ("pair, 64 B", INLINED) => vec![Goal::Nanoseconds(2.1), Goal::Instructions(20.0)],
        ("request: 200 strings, a map, vectors", "BumpAllocator, reset") => {
            vec![Goal::Of(1.05, "bump-scope, reset")]
        }
        ("enter, leave", _) => vec![Goal::Nanoseconds(1.5)],
        ("bump, function, constant layout", "BumpAllocator") => vec![Goal::Instructions(10.0)],
        ("bump, function, unknown layout", "BumpAllocator") => vec![Goal::Instructions(12.0)],
        ("bump, vector of 128 pushes", "BumpAllocator") => vec![Goal::OfBest(0.95)],
        (_, "BumpAllocator") if case.starts_with("bump") => vec![Goal::OfBest(1.00)],
        (_, "MmapAllocator") if case.starts_with("map grown") => vec![Goal::OfBest(1.00)],
        _ => Vec::new(),
    }
}

fn of(measured: &Measured) -> Vec<Goal> {
    let (case, allocator) = (measured.case.name.as_str(), measured.case.allocator.as_str());
    if allocator.contains(" tier") { of_tier(case, allocator) } else { of_direct(case, allocator) }
}

/// A line of the table; whether it is reached is the last cell.
type Line = [String; 6];

fn line(case: &str, allocator: &str, goal: String, measured: String, beside: String, reached: bool) -> Line {
    let reached = if reached { "yes" } else { "**no**" };
    [case.into(), allocator.into(), goal, measured, beside, reached.into()]
}

/// A goal beside what was measured; none where it was not measured.
fn judged(title: &str, measured: &Measured, group: &[&Measured], goal: Goal) -> Option<Line> {
    let allocator = &measured.case.allocator;
    let times = times(group);
    let beside = |other: &Figure| format!("{} {} ns", other.allocator, number(other.value));
    let ratio = |most: f64, time: f64, other: &Figure, name: &str| {
        let measured = format!("{} ns ({:.2})", number(time), time / other.value);
        line(
            title,
            allocator,
            format!("{most:.2} of {name}"),
            measured,
            beside(other),
            time <= most * other.value,
        )
    };
    let time = measured.time().map(|time| time.median);
    Some(match goal {
        Goal::Nanoseconds(most) => {
            let time = time?;
            line(
                title,
                allocator,
                format!("{} ns", number(most)),
                format!("{} ns", number(time)),
                String::new(),
                time <= most,
            )
        }
        Goal::Instructions(most) => {
            let count = measured.instructions?;
            let fewest = group
                .iter()
                .filter(|other| other.case.role == Role::Peer)
                .filter_map(|other| Some((other.instructions?, &other.case.allocator)))
                .min_by(|one, other| one.0.total_cmp(&other.0));
            let beside = fewest.map(|(count, allocator)| format!("{allocator} {}", number(count)));
            let goal = format!("{most:.0} instructions");
            line(title, allocator, goal, number(count), beside.unwrap_or_default(), count.round() <= most)
        }
        Goal::OfBest(most) => ratio(most, time?, best(&times)?, "the best peer"),
        Goal::Of(most, name) => ratio(most, time?, times.iter().find(|other| other.allocator == name)?, name),
        Goal::Resident(most) => {
            let peak = measured.peak()?.median;
            let leaders = leaders(group)?;
            let goal = format!("{most:.2} of the leaders' memory");
            let text = format!("{} MiB ({:.2})", mebibytes(peak), peak / leaders);
            line(title, allocator, goal, text, format!("{} MiB", mebibytes(leaders)), peak <= most * leaders)
        }
    })
}

/// The median of the four lowest peaks of peers.
fn leaders(group: &[&Measured]) -> Option<f64> {
    let peers = group.iter().filter(|measured| measured.case.role == Role::Peer);
    let mut peaks: Vec<f64> = peers.filter_map(|measured| Some(measured.peak()?.median)).collect();
    peaks.sort_by(f64::total_cmp);
    peaks.truncate(4);
    let middle = peaks.len() / 2;
    match peaks.len() {
        0 => None,
        count if count % 2 == 1 => Some(peaks[middle]),
        _ => Some((peaks[middle - 1] + peaks[middle]) / 2.0),
    }
}

/// What stays resident: with all live, and two seconds after all was freed, with no further
/// traffic.
fn resident(results: &Results, memory: &Memory) -> [Line; 2] {
    let lowest = |stage: usize| {
        let peers = results.memory.iter().filter(|memory| memory.role == Role::Peer);
        let lowest = peers
            .map(|peer| (peer.medians()[stage], &peer.allocator))
            .min_by(|one, other| one.0.total_cmp(&other.0));
        lowest.map_or(String::new(), |(bytes, allocator)| format!("{allocator} {} MiB", mebibytes(bytes)))
    };
    let mebibyte = f64::from(1 << 20);
    let medians = memory.medians();
    let goal = |name: &str, stage: usize, most: f64| {
        let measured = format!("{} MiB", mebibytes(medians[stage]));
        let reached = medians[stage] <= most * mebibyte;
        line(name, &memory.allocator, format!("{most:.0} MiB"), measured, lowest(stage), reached)
    };
    [goal("99 MiB live, resident", 0, 108.0), goal("all freed, 2 s later, resident", 3, 2.0)]
}

/// All goals.
pub fn table(results: &Results) -> Table {
    let headings = ["case", "allocator", "goal: at most", "measured", "beside", "reached"];
    let mut table = markdown::table(&headings, 3);
    for (title, group) in results.groups() {
        for measured in &group {
            for goal in of(measured) {
                if let Some(line) = judged(&title, measured, &group, goal) {
                    table.add_row(line);
                }
            }
        }
    }
    for memory in results.memory.iter().filter(|memory| memory.allocator == "thread tier") {
        table.add_rows(resident(results, memory));
    }
    table
}
