//! Checks what the fast paths execute.
//!
//! Text that looks fast proves nothing, so each case runs many times under callgrind, and what is
//! executed in one iteration of ten, or more often, is looked up in the disassembly. None of that
//! may be an atomic read-modify-write, nor lie in another object than the program itself, such as
//! libc. Cases that are known to do either show that the check finds them.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::Failure;
use super::process::output;
use super::subjects::{self, Subject};

const ITERATIONS: u64 = 1_000_000;
/// How long a process may take.
const LIMIT: Duration = Duration::from_secs(300);
/// What is executed so often is on the path. The start of a program executes nothing so often.
const USUAL: u64 = ITERATIONS / 10;
/// Threads hand blocks over in batches, so that what is executed for a batch is rarer.
const RARE: u64 = ITERATIONS / 1_000;

/// What must be clean.
const FAST: [(&str, &str); 6] = [
    ("coroutine tier", "pair, 64 B"),
    ("thread tier", "pair, 64 B"),
    ("coroutine heap", "enter, leave"),
    ("coroutine heap", "poll"),
    ("coroutine heap", "region: create, drop"),
    ("coroutine heap, each block freed", "region: create, 10 x 64 B, drop"),
];

/// What is listed, clean or not.
const LISTED: [(&str, &str); 1] = [("coroutine heap, destroyed", "region: create, 10 x 64 B, drop")];

/// Functions that only measure: parts of their names.
const MEASURING: [&str; 4] = ["pair::pairs", "region::freed", "region::kept", "region::polled"];

/// What must be found, so that the check is known to find it.
const SLOW: [(&str, &str, Fault); 2] = [
    ("thread tier", "freed on another thread, 64 B", Fault::Atomic),
    ("global tier (glibc)", "pair, 64 B", Fault::Outside),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// An atomic read-modify-write.
    Atomic,
    /// An instruction of another object.
    Outside,
}

/// An instruction on a path.
struct Step {
    function: String,
    address: u64,
    text: String,
    per_iteration: f64,
    fault: Option<Fault>,
}

/// Checks all and lists what is clean; the error says what is not.
pub fn check(directory: &Path) -> Result<(), Failure> {
    let subjects = subjects::of("ours", &directory.join("subject"), LIMIT)?;
    let find = |allocator: &str, name: &str| {
        subjects
            .iter()
            .find(|subject| subject.case.allocator == allocator && subject.case.name == name)
            .ok_or_else(|| format!("no case {allocator}: {name}"))
    };
    let disassembly = disassembly(find(FAST[0].0, FAST[0].1)?.program())?;
    let mut failures = Vec::new();
    let mut printed = HashSet::new();
    for (allocator, name) in FAST.into_iter().chain(LISTED) {
        let subject = find(allocator, name)?;
        let path = path(subject, &disassembly, USUAL)?;
        print(subject, &path, &mut printed);
        if LISTED.contains(&(allocator, name)) {
            continue;
        }
        for step in path.iter().filter(|step| step.fault.is_some()) {
            failures.push(format!(
                "{}: {:?} at {:x} in {}: {}",
                subject.case.id(),
                step.fault,
                step.address,
                step.function,
                step.text
            ));
        }
    }
    for (allocator, name, fault) in SLOW {
        let subject = find(allocator, name)?;
        if !path(subject, &disassembly, RARE)?.iter().any(|step| step.fault == Some(fault)) {
            failures.push(format!("the check is blind: it finds no {fault:?} in {}", subject.case.id()));
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
}

/// What a case executes at least so often, function by function in the order of addresses.
fn path(subject: &Subject, disassembly: &HashMap<u64, String>, least: u64) -> Result<Vec<Step>, Failure> {
    let profile = subject.profile(ITERATIONS, LIMIT)?;
    let program = subject.program().canonicalize().map_err(|error| error.to_string())?;
    let program = program.to_string_lossy();
    let mut steps = Vec::new();
    for (object, function, address, count) in profile.at_least(least) {
        let inside = object == program;
        let text = match disassembly.get(&address) {
            Some(text) if inside => text.clone(),
            None if inside => return Err(format!("{address:x} of {function} is not in the disassembly")),
            _ => object.to_owned(),
        };
        let fault = match inside {
            false => Some(Fault::Outside),
            true => is_atomic(&text).then_some(Fault::Atomic),
        };
        let per_iteration = count as f64 / ITERATIONS as f64;
        steps.push(Step { function: function.into(), address, text, per_iteration, fault });
    }
    if steps.len() < 3 {
        return Err(format!("{} executes nothing", subject.case.id()));
    }
    Ok(steps)
}

/// Each instruction of the program by its address.
fn disassembly(program: &Path) -> Result<HashMap<u64, String>, Failure> {
    let text = output(Command::new("objdump").args(["-d", "-C", "--no-show-raw-insn"]).arg(program), LIMIT)?;
    let instruction = |line: &str| {
        let (address, text) = line.split_once(":\t")?;
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        Some((u64::from_str_radix(address.trim(), 16).ok()?, text))
    };
    Ok(text.lines().filter_map(instruction).collect())
}

/// Whether an instruction of x86-64 is an atomic read-modify-write.
fn is_atomic(text: &str) -> bool {
    text.split_whitespace().any(|word| word == "lock") || (text.starts_with("xchg") && text.contains('('))
}

/// Lists a path. `printed` has the addresses that were listed already.
fn print(subject: &Subject, path: &[Step], printed: &mut HashSet<u64>) {
    let total: f64 = path.iter().map(|step| step.per_iteration).sum();
    println!("### {}: {}\n", subject.case.name, subject.case.allocator);
    println!("{total:.0} instructions an iteration.\n\n```text");
    for steps in path.chunk_by(|one, other| one.function == other.function) {
        let sum: f64 = steps.iter().map(|step| step.per_iteration).sum();
        let function = short(&steps[0].function);
        if MEASURING.iter().any(|part| function.contains(part)) {
            println!("{sum:>5.0}  {function}, which measures");
        } else if steps.iter().all(|step| printed.contains(&step.address)) {
            println!("{sum:>5.0}  {function}, as above");
        } else {
            println!("{sum:>5.0}  {function}");
            for step in steps {
                let mark = if step.fault.is_some() { "!" } else { " " };
                println!("    {mark} {:>3.0} x  {}", step.per_iteration, short(&step.text));
            }
            printed.extend(steps.iter().map(|step| step.address));
        }
    }
    println!("```\n");
}

/// Without the names of the program's own functions that are jumped to, and without hashes.
fn short(text: &str) -> String {
    match text.split_once(" <") {
        // A jump within a function: its address is enough.
        Some((before, after)) if text.starts_with('j') && after.contains("+0x") => before.to_owned(),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::is_atomic;

    #[test]
    fn atomics_are_known() {
        assert!(is_atomic("lock xadd %rax,(%rdi)"));
        assert!(is_atomic("xchg %al,(%rdi)"));
        assert!(!is_atomic("xchg %ax,%ax"));
        assert!(!is_atomic("mov %rax,(%rdi)"));
        assert!(!is_atomic("call 4a900 <block::lock_all>"));
    }
}
