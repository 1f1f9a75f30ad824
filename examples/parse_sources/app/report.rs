//! What the program prints: the figures, as JSON or, by `table`, for people.

use super::figures::Figures;
use super::input::Input;
use super::run::{Run, Totals};
use super::tier::Tier;
use serde::Serialize;

/// All that was measured.
#[derive(Debug, Serialize)]
pub struct Report {
    /// What every run parsed.
    pub input: InputReport,
    /// The fastest run of each tier.
    pub runs: Vec<RunReport>,
}

/// The input, as all runs saw it.
#[derive(Debug, Serialize)]
pub struct InputReport {
    /// Files found.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// How many of them are not UTF-8, or not Rust to `syn`.
    pub skipped: u64,
}

/// One run.
#[derive(Debug, Serialize)]
pub struct RunReport {
    /// Where its blocks came from.
    pub tier: Tier,
    /// What it found.
    #[serde(flatten)]
    pub totals: Totals,
    /// How long it took.
    pub seconds: f64,
    /// Million bytes of source a second, skipped files included.
    pub mb_per_s: f64,
    /// The process's peak resident memory, if the kernel says.
    pub peak_resident_bytes: Option<u64>,
    /// What the allocator says.
    #[serde(flatten)]
    pub figures: Figures,
}

impl Report {
    /// The report on `runs` over `input`.
    pub fn new(input: &Input, runs: &[Run]) -> Self {
        let skipped = runs.first().map_or(0, |run| run.totals.skipped);
        Self {
            input: InputReport { files: input.files.len(), bytes: input.bytes, skipped },
            runs: runs.iter().map(|run| RunReport::new(input, run)).collect(),
        }
    }
}

impl RunReport {
    fn new(input: &Input, run: &Run) -> Self {
        let seconds = run.time.as_secs_f64();
        Self {
            tier: run.tier,
            totals: run.totals,
            seconds,
            mb_per_s: input.bytes as f64 / 1e6 / seconds,
            peak_resident_bytes: run.peak_resident_bytes,
            figures: run.figures,
        }
    }
}
