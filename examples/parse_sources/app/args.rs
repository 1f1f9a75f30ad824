//! The command line.

use super::failure::Failure;
use super::tier::Tier;
use crate::tiers;
use clap::{Parser, ValueEnum};
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::thread;

/// Parse Rust sources, each file in a heap of its own, and measure the allocator's tiers.
///
/// Every file is read, parsed with syn, counted and dropped by one of several threads: first with
/// all blocks in the global tier, then in the thread tier (a heap for each thread), then in the
/// coroutine tier (a heap for each file), in one process. The runs must count the same; then a
/// table shows what each one took.
#[derive(Debug, Parser)]
#[command(after_long_help = EXIT_CODES)]
pub struct Args {
    /// Rust files, and folders to search for them
    ///
    /// Default: the sources of the packages that this program itself was built from, which cargo
    /// has downloaded.
    paths: Vec<PathBuf>,

    /// Number of worker threads [default: as many as the machine runs at once]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,

    /// Tier to run in; may be given more than once
    #[arg(long, value_name = "TIER", default_value = "all")]
    tier: Vec<TierChoice>,

    /// Run each tier N times, taking turns, and report its fastest run
    #[arg(long, value_name = "N", default_value = "1")]
    repeat: NonZeroU32,

    /// Print one JSON object instead of the table, and show no progress
    #[arg(long)]
    json: bool,
}

const EXIT_CODES: &str = "\
A file that is not UTF-8, or that syn cannot parse, is counted as skipped.

Peak resident memory is the process's, reset before each run. It includes what earlier runs left with the process; to
compare it, run one tier for each process (--tier).

Exit codes: 0 done, 1 the runs counted differently, 2 wrong arguments or input.";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TierChoice {
    /// One allocator that all threads share
    Global,
    /// A heap for each thread
    Thread,
    /// A heap for each file
    Coroutine,
    /// Every tier that this build has, one after the other
    All,
}

impl TierChoice {
    fn includes(self, tier: Tier) -> bool {
        match self {
            Self::Global => tier == Tier::Global,
            Self::Thread => tier == Tier::Thread,
            Self::Coroutine => tier == Tier::Coroutine,
            Self::All => tiers::AVAILABLE.contains(&tier),
        }
    }
}

impl Args {
    /// The files and folders named; empty for the default.
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// How many workers to start.
    pub fn threads(&self) -> NonZeroUsize {
        self.threads.or_else(|| thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN)
    }

    /// The tiers to run in, each once and always in the same order.
    ///
    /// # Errors
    ///
    /// If a tier was asked for that this build does not have.
    pub fn tiers(&self) -> Result<Vec<Tier>, Failure> {
        let mut chosen = vec![Tier::Global, Tier::Thread, Tier::Coroutine];
        chosen.retain(|&tier| self.tier.iter().any(|choice| choice.includes(tier)));
        match chosen.iter().find(|tier| !tiers::AVAILABLE.contains(tier)) {
            Some(tier) => Err(Failure::Input(format!(
                "this build's allocator has no {tier} tier; the example parse_sources has"
            ))),
            None => Ok(chosen),
        }
    }

    /// How often to run each tier.
    pub fn repeat(&self) -> u32 {
        self.repeat.get()
    }

    /// Whether to print JSON.
    pub fn json(&self) -> bool {
        self.json
    }
}
