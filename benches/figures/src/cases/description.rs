//! A case: what is done, on what, and how it is measured.

use serde::{Deserialize, Serialize};

/// One thing to measure on one allocator.
pub struct Case {
    pub(crate) description: Description,
    pub(crate) run: fn(u64),
}

/// What a case is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Description {
    /// What is done.
    pub name: String,
    /// On how many threads.
    pub threads: usize,
    /// On which allocator.
    pub allocator: String,
    /// What that is here.
    pub role: Role,
    /// How it is measured.
    pub kind: Kind,
    /// Blocks in one iteration, or as much work as so many: dear cases run less often.
    pub weight: u64,
    /// Iterations are done in batches of so many.
    pub batch: u64,
    /// A part of the name of the only function whose instructions count.
    pub alone: Option<String>,
    /// Whether each thread does the whole of it; otherwise the case starts its threads itself.
    pub each_thread: bool,
    /// Whether its time is measured.
    pub timed: bool,
    /// Whether its instructions are counted.
    pub counted: bool,
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

/// How a case is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// So often that it takes some milliseconds.
    Repeated,
    /// Once, as a whole.
    Program,
    /// Once; it prints how much memory is resident at each stage.
    Memory,
    /// Once; it prints the figures of a row of [`situations`](crate::situations).
    Situation,
}

impl Case {
    /// A case of one block on one thread, timed and counted.
    pub fn new(name: impl Into<String>, allocator: &str, role: Role, run: fn(u64)) -> Self {
        let description = Description {
            name: name.into(),
            threads: 1,
            allocator: allocator.into(),
            role,
            kind: Kind::Repeated,
            weight: 1,
            batch: 1,
            alone: None,
            each_thread: false,
            timed: true,
            counted: true,
        };
        Self { description, run }
    }

    fn with(mut self, change: impl FnOnce(&mut Description)) -> Self {
        change(&mut self.description);
        self
    }

    /// The same with so many blocks an iteration.
    #[must_use]
    pub fn of_blocks(self, weight: u64) -> Self {
        self.with(|case| case.weight = weight)
    }

    /// The same where iterations are done in batches of so many, not fewer.
    #[must_use]
    pub fn in_batches(self, batch: u64) -> Self {
        self.with(|case| case.batch = batch)
    }

    /// The same done by so many threads at once, each of which does all of it.
    #[must_use]
    pub fn on_threads(self, threads: usize) -> Self {
        self.with(|case| {
            case.threads = threads;
            case.each_thread = threads > 1;
            case.counted &= threads == 1;
        })
    }

    /// The same where the case itself starts so many threads.
    #[must_use]
    pub fn starting_threads(self, threads: usize) -> Self {
        self.with(|case| case.threads = threads)
    }

    /// The same where only what is executed in a certain function counts, and time says nothing.
    #[must_use]
    pub fn alone(self, function: &str) -> Self {
        self.with(|case| {
            case.alone = Some(function.into());
            case.timed = false;
        })
    }

    /// The same where only instructions are counted, since to set it up takes long.
    #[must_use]
    pub fn only_counted(self) -> Self {
        self.with(|case| case.timed = false)
    }

    /// The same where instructions are not counted, since they say nothing: the kernel or waiting
    /// is most of it.
    #[must_use]
    pub fn only_timed(self) -> Self {
        self.with(|case| case.counted = false)
    }

    /// The same measured in another way; its instructions are not counted.
    #[must_use]
    pub fn measured_as(self, kind: Kind) -> Self {
        self.only_timed().with(|case| case.kind = kind)
    }
}

impl Description {
    /// So many iterations, or a few more that make whole batches.
    pub fn whole_batches(&self, iterations: u64) -> u64 {
        iterations.next_multiple_of(self.batch)
    }

    /// What is done, with the number of threads where it is not one.
    pub fn title(&self) -> String {
        match self.threads {
            1 => self.name.clone(),
            threads => format!("{}, {threads} threads", self.name),
        }
    }

    /// What the command line calls it.
    pub fn id(&self) -> String {
        format!("{}: {}", self.allocator, self.title())
    }
}
