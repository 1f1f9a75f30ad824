//! What a program executes, counted by valgrind's callgrind: exact, whatever else the machine does.
//!
//! The parts of its output that matter here, with positions and names written in full:
//!
//! ```text
//!   ob=/path/to/object
//!   fn=function
//!   0x4a928 10000          address in the object, times executed
//!   calls=4 0x20920        what the next line costs was executed in the function called
//!   0x208e3 28
//! ```

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use std::{env, fs, process};

use super::Failure;
use super::process::output;

/// How often each instruction was executed.
#[derive(Debug, Default)]
pub struct Profile {
    /// By object, function and address in the object.
    counts: BTreeMap<(String, String, u64), u64>,
}

impl Profile {
    /// What `program` executes with these arguments.
    pub fn of(program: &Path, arguments: &[&str], limit: Duration) -> Result<Self, Failure> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let file = env::temp_dir().join(format!("figures-{}-{number}.callgrind", process::id()));
        let ran = output(
            Command::new("valgrind")
                .args(["--tool=callgrind", "--dump-instr=yes", "--dump-line=no"])
                .args(["--compress-pos=no", "--compress-strings=no"])
                .arg(format!("--callgrind-out-file={}", file.display()))
                .arg(program)
                .args(arguments),
            limit,
        );
        let text = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()));
        // Nothing depends on it: what is left behind is a temporary file.
        let _ = fs::remove_file(&file);
        ran?;
        Self::parse(&text?)
    }

    fn parse(text: &str) -> Result<Self, Failure> {
        let mut profile = Self::default();
        let (mut object, mut function, mut called) = ("", "", false);
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("ob=") {
                object = name;
            } else if let Some(name) = line.strip_prefix("fn=") {
                function = name;
            } else if line.starts_with("calls=") {
                called = true;
            } else if let Some(line) = line.strip_prefix("0x") {
                if std::mem::take(&mut called) {
                    continue;
                }
                let (address, count) = line.split_once(' ').ok_or_else(|| format!("no count: {line}"))?;
                let address = u64::from_str_radix(address, 16).map_err(|error| format!("{line}: {error}"))?;
                let count: u64 = count.trim().parse().map_err(|error| format!("{line}: {error}"))?;
                *profile.counts.entry((object.into(), function.into(), address)).or_default() += count;
            }
        }
        if profile.counts.is_empty() {
            return Err("callgrind counted nothing".into());
        }
        Ok(profile)
    }

    /// Instructions executed, in all or in functions with `part` in their name.
    pub fn total(&self, part: Option<&str>) -> u64 {
        let wanted = |function: &str| part.is_none_or(|part| function.contains(part));
        self.counts.iter().filter(|((_, function, _), _)| wanted(function)).map(|(_, count)| count).sum()
    }

    /// Each instruction executed at least so many times: object, function, address, count.
    pub fn at_least(&self, least: u64) -> impl Iterator<Item = (&str, &str, u64, u64)> {
        self.counts.iter().filter(move |&(_, &count)| count >= least).map(
            |((object, function, address), &count)| (object.as_str(), function.as_str(), *address, count),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::Profile;

    #[test]
    fn calls_are_not_counted_twice() {
        let text = "ob=a\nfn=f\n0x10 3\ncfn=g\ncalls=3 0x20\n0x10 300\n\nfn=g\n0x20 300\n";
        let profile = Profile::parse(text).expect("a profile");
        assert_eq!(profile.total(None), 303);
        assert_eq!(profile.total(Some("f")), 3);
        assert_eq!(profile.at_least(4).collect::<Vec<_>>(), [("a", "g", 0x20, 300)]);
    }
}
