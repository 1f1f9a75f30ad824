//! What is measured. Each case is a function that does the same thing so many times.

pub mod alone;
pub mod bump;
pub mod classes;
pub mod direct;
pub mod growth;
pub mod pair;
pub mod region;
pub mod remote;

use serde::{Deserialize, Serialize};

/// One thing to measure on one allocator.
pub struct Case {
    name: String,
    allocator: &'static str,
    role: Role,
    /// Blocks in one iteration: dear cases run less often.
    pub(crate) weight: u64,
    /// A part of the name of the only function whose instructions count.
    alone: Option<&'static str>,
    timed: bool,
    pub(crate) run: fn(u64),
}

/// What an allocator is in a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// This library.
    Ours,
    /// One of those that the best is sought among.
    Peer,
    /// Something that does less, or part of the measurement itself.
    Other,
}

impl Case {
    /// A case of one block.
    pub fn new(name: impl Into<String>, allocator: &'static str, role: Role, run: fn(u64)) -> Self {
        Self { name: name.into(), allocator, role, weight: 1, alone: None, timed: true, run }
    }

    /// The same with so many blocks an iteration.
    #[must_use]
    pub fn of_blocks(self, weight: u64) -> Self {
        Self { weight, ..self }
    }

    /// The same where only what is executed in a certain function counts, and time says nothing.
    #[must_use]
    pub fn alone(self, function: &'static str) -> Self {
        Self { alone: Some(function), timed: false, ..self }
    }

    /// The same where only instructions are counted, since to set it up takes long.
    #[must_use]
    pub fn counted(self) -> Self {
        Self { timed: false, ..self }
    }

    /// What it is, for a report.
    pub fn description(&self) -> Description {
        Description {
            name: self.name.clone(),
            allocator: self.allocator.into(),
            role: self.role,
            weight: self.weight,
            alone: self.alone.map(Into::into),
            timed: self.timed,
        }
    }
}

/// What a case is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Description {
    /// What is done.
    pub name: String,
    /// On which allocator.
    pub allocator: String,
    /// What that is here.
    pub role: Role,
    /// Blocks in one iteration.
    pub weight: u64,
    /// A part of the name of the only function whose instructions count.
    pub alone: Option<String>,
    /// Whether its time is measured.
    pub timed: bool,
}

impl Description {
    /// What the command line calls it.
    pub fn id(&self) -> String {
        format!("{}: {}", self.allocator, self.name)
    }
}

/// A way to run code on the global allocator of the program.
pub trait Tier {
    /// What it is called.
    const NAME: &'static str;
    /// What it is in a comparison.
    const ROLE: Role;

    /// Runs `f` there, on any thread.
    fn within<R>(f: impl FnOnce() -> R) -> R;
}

/// The cases that run on any global allocator.
pub fn everywhere<T: Tier>() -> Vec<Case> {
    let mut cases = pair::cases::<T>();
    cases.push(remote::case::<T>());
    cases
}
