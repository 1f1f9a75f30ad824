//! What the command line of a run says.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::cases::Description;

/// Which programs to build, and where.
#[derive(Debug, Args)]
pub struct Builds {
    /// Only these allocators, of: ours, glibc, jemalloc, mimalloc-2, mimalloc-3, rallocator,
    /// rpmalloc, snmalloc, tcmalloc, direct
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    allocators: Vec<String>,
    /// Seconds after which a process is ended and left out
    #[arg(long, default_value_t = 120)]
    limit: u64,
    /// Build, and measure nothing
    #[arg(long)]
    pub build_only: bool,
    /// Where cargo builds, and where the results are written
    #[arg(long, value_name = "FOLDER", default_value = "target")]
    pub target: PathBuf,
}

impl Builds {
    /// Whether this program is wanted.
    pub fn wants(&self, name: &str) -> bool {
        self.allocators.is_empty() || self.allocators.iter().any(|wanted| wanted == name)
    }

    /// How long a process may take.
    pub fn limit(&self) -> Duration {
        Duration::from_secs(self.limit)
    }
}

/// What to measure, and how thoroughly.
#[derive(Debug, Args)]
pub struct Options {
    /// Few rounds, and no cases with many live blocks that are only counted: some minutes rather
    /// than an hour
    #[arg(long)]
    pub quick: bool,
    /// Build with fat link-time optimisation; allocators that are used directly are left out
    #[arg(long)]
    pub lto: bool,
    #[command(flatten)]
    pub builds: Builds,
    /// Only cases with this text in their names, such as "pair" or "2 threads"; may be given more
    /// than once
    #[arg(long, value_name = "TEXT")]
    cases: Vec<String>,
    /// How often to measure each case [default: 15, quick: 5]
    #[arg(long)]
    rounds: Option<usize>,
    /// Do not count instructions
    #[arg(long)]
    no_instructions: bool,
    /// Write the tables into docs/benchmarks/ and the charts into docs/charts
    #[arg(long)]
    pub write: bool,
}

impl Options {
    /// Whether this program is wanted.
    pub fn wants(&self, name: &str) -> bool {
        self.builds.wants(name)
    }

    /// Whether what is done is wanted.
    pub fn wants_name(&self, name: &str) -> bool {
        self.cases.is_empty() || self.cases.iter().any(|wanted| name.contains(wanted.as_str()))
    }

    /// Whether the case is wanted. A quick run leaves out what takes longest to set up: cases with
    /// many live blocks that are only counted.
    pub fn wants_case(&self, case: &Description) -> bool {
        let slow = !case.timed && case.alone.is_none();
        self.wants_name(&case.title()) && !(self.quick && slow)
    }

    /// Whether instructions are counted.
    pub fn counts(&self) -> bool {
        !self.no_instructions
    }

    /// How often each case is measured.
    pub fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 5 } else { 15 })
    }

    /// How often each program is run.
    pub fn program_rounds(&self) -> usize {
        self.rounds().min(if self.quick { 3 } else { 7 })
    }

    /// How often it is measured what stays resident.
    pub fn memory_rounds(&self) -> usize {
        self.rounds().min(if self.quick { 1 } else { 3 })
    }

    /// How long a case is measured each time.
    pub fn milliseconds(&self) -> u64 {
        if self.quick { 5 } else { 10 }
    }

    /// How long a process may take.
    pub fn limit(&self) -> Duration {
        self.builds.limit()
    }

    /// The file of the results.
    pub fn results(&self) -> PathBuf {
        self.builds.target.join(if self.lto { "benchmark-lto.json" } else { "benchmark.json" })
    }
}
