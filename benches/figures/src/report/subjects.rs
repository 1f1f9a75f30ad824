//! The cases of the programs that run on one allocator each.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::Failure;
use super::callgrind::Profile;
use super::process::output;
use crate::cases::Description;
use crate::subject::Sample;

/// A case, and the program that runs it.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Which of the programs, as the command line calls it.
    pub contender: String,
    program: PathBuf,
    pub case: Description,
}

/// All cases of a program.
pub fn of(contender: &str, program: &Path, limit: Duration) -> Result<Vec<Subject>, Failure> {
    let listed = output(Command::new(program).arg("list"), limit)?;
    let subject = |line: &str| {
        let case = serde_json::from_str(line).map_err(|error| format!("{line}: {error}"))?;
        Ok(Subject { contender: contender.into(), program: program.into(), case })
    };
    listed.lines().map(subject).collect()
}

impl Subject {
    /// Measures it once, for about so many milliseconds.
    pub fn sample(&self, milliseconds: u64, limit: Duration) -> Result<Sample, Failure> {
        let milliseconds = milliseconds.to_string();
        let arguments = ["time", &self.case.id(), "--milliseconds", &milliseconds];
        let printed = output(Command::new(&self.program).args(arguments), limit)?;
        serde_json::from_str(&printed).map_err(|error| format!("{printed:?}: {error}"))
    }

    /// What is executed when it runs so many times.
    pub fn profile(&self, iterations: u64, limit: Duration) -> Result<Profile, Failure> {
        Profile::of(&self.program, &["run", &self.case.id(), &iterations.to_string()], limit)
    }

    /// Instructions of one iteration: the difference between many and few, so that the start of the
    /// program cancels out.
    pub fn instructions(&self, limit: Duration) -> Result<f64, Failure> {
        let few = self.case.whole_batches((20_000 / self.case.weight).max(8));
        let many = 4 * few;
        let count = |iterations| -> Result<f64, Failure> {
            Ok(self.profile(iterations, limit)?.total(self.case.alone.as_deref()) as f64)
        };
        Ok((count(many)? - count(few)?) / (many - few) as f64)
    }

    /// The program.
    pub fn program(&self) -> &Path {
        &self.program
    }
}
