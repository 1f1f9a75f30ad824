//! What this project wants to reach.

use super::markdown::number;

/// What a figure should be at most.
#[derive(Clone, Copy, Debug, Default)]
pub struct Goal {
    pub nanoseconds: Option<f64>,
    pub instructions: Option<f64>,
    /// Times, as a part of the best peer's.
    pub of_best: Option<f64>,
    /// Times, as a part of another allocator's.
    pub of: Option<(f64, &'static str)>,
}

const NONE: Goal = Goal { nanoseconds: None, instructions: None, of_best: None, of: None };

/// The goal for a case, if there is one.
pub fn of(case: &str, allocator: &str, lto: bool) -> Goal {
    use crate::cases::classes::INLINED;
    let heap_or_thread = matches!(allocator, "coroutine tier" | "thread tier");
    match (case, allocator) {
        ("pair, 16 B", _) if heap_or_thread => Goal { instructions: Some(34.0), of_best: Some(0.70), ..NONE },
        ("pair, 64 B", _) if heap_or_thread && lto => {
            Goal { instructions: Some(20.0), of_best: Some(0.65), ..NONE }
        }
        ("pair, 64 B" | "pair, 256 B" | "pair, 1024 B", _) if heap_or_thread => {
            Goal { of_best: Some(0.65), ..NONE }
        }
        (_, "global tier (system)") if case.starts_with("pair") => {
            Goal { of: Some((1.02, "system")), ..NONE }
        }
        ("pair, 64 B", INLINED) => Goal { nanoseconds: Some(2.1), instructions: Some(20.0), ..NONE },
        ("freed on another thread, 64 B", "coroutine tier" | "thread tier") => {
            Goal { of_best: Some(0.90), ..NONE }
        }
        ("region: create, drop", "coroutine heap") => Goal { nanoseconds: Some(10.0), ..NONE },
        ("region: create, 10 x 64 B, drop", _) if allocator.starts_with("coroutine heap") => {
            Goal { nanoseconds: Some(35.0), of_best: Some(0.65), ..NONE }
        }
        ("region: create, 100 x 64 B, drop", _) if allocator.starts_with("coroutine heap") => {
            Goal { nanoseconds: Some(200.0), ..NONE }
        }
        ("enter, leave", _) => Goal { nanoseconds: Some(1.5), ..NONE },
        ("bump, function, constant layout", "BumpAllocator") => Goal { instructions: Some(10.0), ..NONE },
        ("bump, function, unknown layout", "BumpAllocator") => Goal { instructions: Some(12.0), ..NONE },
        (_, "MmapAllocator") if case.starts_with("vector grown") => Goal { of_best: Some(1.0), ..NONE },
        (_, "BitSetAllocator") if case.starts_with("direct, random 64 B") && case.ends_with("full") => {
            Goal { of: Some((0.70, "talc")), ..NONE }
        }
        (_, "BitSetAllocator") if case.starts_with("direct, runs") => {
            Goal { of: Some((0.60, "talc")), ..NONE }
        }
        (_, "BitSetAllocator") if case.starts_with("direct, slowest") => {
            Goal { nanoseconds: Some(30.0), ..NONE }
        }
        ("direct, churn, 10,000 live of 16 to 4096 B", "MultipleBinarySearchTreeAllocator") => {
            Goal { of: Some((0.85, "talc")), ..NONE }
        }
        ("direct, churn, 10,000 live of 16 to 4096 B", "SizeClassAllocator") => {
            Goal { nanoseconds: Some(8.0), ..NONE }
        }
        (_, "BumpAllocator") if case.starts_with("bump") => Goal { of_best: Some(1.0), ..NONE },
        _ => NONE,
    }
}

impl Goal {
    /// In words, each part with whether it is reached. `time_of` gives the time of another allocator in the same case.
    pub fn verdict(
        &self,
        time: Option<f64>,
        instructions: f64,
        best: Option<f64>,
        time_of: impl Fn(&str) -> Option<f64>,
    ) -> String {
        let mut parts = Vec::new();
        if let (Some(most), Some(time)) = (self.nanoseconds, time) {
            parts.push(part(format!("{} ns", number(most)), time <= most));
        }
        if let Some(most) = self.instructions {
            parts.push(part(format!("{most} instructions"), instructions.round() <= most));
        }
        if let (Some(most), Some(time), Some(best)) = (self.of_best, time, best) {
            parts.push(part(format!("{most:.2} of the best"), time <= most * best));
        }
        if let (Some((most, other)), Some(time)) = (self.of, time)
            && let Some(other_time) = time_of(other)
        {
            parts.push(part(format!("{most:.2} of {other}"), time <= most * other_time));
        }
        parts.join(", ")
    }
}

fn part(goal: String, reached: bool) -> String {
    if reached { goal } else { format!("**{goal}**") }
}
