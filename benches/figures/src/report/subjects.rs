//! The programs that run on one allocator each.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Failure;
use super::callgrind::Profile;
use crate::cases::Description;

/// Those with a global allocator of their own.
pub const GLOBAL: &[&str] = &["switch", "system", "mimalloc"];
/// Those, and the allocators that are used directly.
pub const ALL: &[&str] = &["switch", "system", "mimalloc", "direct"];

/// A case, and the program that runs it.
#[derive(Clone, Debug)]
pub struct Subject {
    program: PathBuf,
    pub case: Description,
}

/// Runs a command and gives what it printed.
pub fn output(command: &mut Command) -> Result<String, Failure> {
    let output = command.output().map_err(|error| format!("{command:?} does not start: {error}"))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{command:?} failed, {}:\n{errors}", output.status));
    }
    String::from_utf8(output.stdout).map_err(|error| format!("{command:?} printed no text: {error}"))
}

/// All cases of these programs.
pub fn all(directory: &Path, programs: &[&str]) -> Result<Vec<Subject>, Failure> {
    let mut subjects = Vec::new();
    for name in programs {
        let program = directory.join(name);
        for line in output(Command::new(&program).arg("list"))?.lines() {
            let case = serde_json::from_str(line).map_err(|error| format!("{line}: {error}"))?;
            subjects.push(Subject { program: program.clone(), case });
        }
    }
    Ok(subjects)
}

impl Subject {
    /// Nanoseconds of one iteration, measured once.
    pub fn time(&self) -> Result<f64, Failure> {
        let printed = output(Command::new(&self.program).args(["time", &self.case.id()]))?;
        printed.trim().parse().map_err(|error| format!("{printed:?}: {error}"))
    }

    /// What is executed when it runs so many times.
    pub fn profile(&self, iterations: u64) -> Result<Profile, Failure> {
        Profile::of(&self.program, &["run", &self.case.id(), &iterations.to_string()])
    }

    /// Instructions of one iteration: the difference between many and few, so that the start of the program cancels out.
    pub fn instructions(&self) -> Result<f64, Failure> {
        let scale = 500_u64.max(5_000 / self.case.weight.max(1));
        let (few, many) = (scale, 6 * scale);
        let count = |iterations| -> Result<f64, Failure> {
            Ok(self.profile(iterations)?.total(self.case.alone.as_deref()) as f64)
        };
        Ok((count(many)? - count(few)?) / (many - few) as f64)
    }

    /// The program.
    pub fn program(&self) -> &Path {
        &self.program
    }
}
