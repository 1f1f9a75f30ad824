//! All that was measured, as it is written to a file and read again.

use serde::{Deserialize, Serialize};

use super::conditions::Conditions;
use super::spread::Spread;
use crate::cases::direct::efficiency::Share;
use crate::cases::{Description, Role};
use crate::memory::Stages;

/// A run of the benchmark.
#[derive(Debug, Serialize, Deserialize)]
pub struct Results {
    pub conditions: Conditions,
    pub contenders: Vec<Contender>,
    pub cases: Vec<Measured>,
    pub programs: Vec<Whole>,
    pub memory: Vec<Memory>,
    /// The share of a region that allocators fill.
    pub regions: Vec<Share>,
    /// What failed, and why.
    pub failures: Vec<String>,
}

/// An allocator that was to be compared.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Contender {
    /// As the command line calls it.
    pub name: String,
    pub version: String,
    /// When it gives memory back to the system.
    pub purge: String,
    /// Why it is left out.
    pub left_out: Option<String>,
}

/// A case on one allocator.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measured {
    /// The program it was measured in.
    pub contender: String,
    pub case: Description,
    /// Nanoseconds of an iteration, of each round.
    pub nanoseconds: Vec<f64>,
    /// The most bytes that were ever resident, of each round.
    pub peak_resident: Vec<f64>,
    /// Of an iteration.
    pub instructions: Option<f64>,
}

/// A whole program on one allocator.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Whole {
    pub name: String,
    pub allocator: String,
    pub role: Role,
    /// From its start to its end, of each round.
    pub seconds: Vec<f64>,
    /// Seconds of processors, the system's work for it too, of each round: less disturbed by other
    /// programs.
    #[serde(default)]
    pub processor_seconds: Vec<f64>,
    /// The most bytes that were ever resident, of each round.
    pub peak_resident: Vec<f64>,
    /// What it printed: the same on every allocator.
    pub printed: String,
}

/// What stays resident on one allocator.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Memory {
    pub allocator: String,
    pub role: Role,
    /// Of each round.
    pub rounds: Vec<Stages>,
}

impl Memory {
    /// The median of each stage, in bytes.
    pub fn medians(&self) -> [f64; 6] {
        std::array::from_fn(|stage| {
            let bytes: Vec<_> = self.rounds.iter().map(|round| round.bytes()[stage] as f64).collect();
            Spread::of(&bytes).map_or(f64::NAN, |spread| spread.median)
        })
    }
}

/// A figure of one allocator among others'.
#[derive(Clone, Debug)]
pub struct Figure<'a> {
    pub allocator: &'a str,
    pub role: Role,
    pub value: f64,
}

/// The best peer of a group.
pub fn best<'a, 'b>(figures: &'b [Figure<'a>]) -> Option<&'b Figure<'a>> {
    let peers = figures.iter().filter(|figure| figure.role == Role::Peer && figure.value.is_finite());
    peers.min_by(|one, other| one.value.total_cmp(&other.value))
}

impl Measured {
    /// The time of an iteration.
    pub fn time(&self) -> Option<Spread> {
        Spread::of(&self.nanoseconds)
    }

    /// The peak of resident memory.
    pub fn peak(&self) -> Option<Spread> {
        Spread::of(&self.peak_resident)
    }
}

impl Results {
    /// The cases by what is done, in the order in which they were measured.
    pub fn groups(&self) -> Vec<(String, Vec<&Measured>)> {
        let mut groups: Vec<(String, Vec<&Measured>)> = Vec::new();
        for measured in &self.cases {
            let title = measured.case.title();
            match groups.iter_mut().find(|(name, _)| *name == title) {
                Some((_, group)) => group.push(measured),
                None => groups.push((title, vec![measured])),
            }
        }
        groups
    }

    /// The programs by name.
    pub fn programs(&self) -> Vec<(&str, Vec<&Whole>)> {
        let mut groups: Vec<(&str, Vec<&Whole>)> = Vec::new();
        for whole in &self.programs {
            match groups.iter_mut().find(|(name, _)| *name == whole.name) {
                Some((_, group)) => group.push(whole),
                None => groups.push((&whole.name, vec![whole])),
            }
        }
        groups
    }
}

/// The times of a group.
pub fn times<'a>(group: &[&'a Measured]) -> Vec<Figure<'a>> {
    let figure = |measured: &&'a Measured| {
        let value = measured.time()?.median;
        Some(Figure { allocator: &measured.case.allocator, role: measured.case.role, value })
    };
    group.iter().filter_map(figure).collect()
}

/// The times of a program.
pub fn seconds<'a>(group: &[&'a Whole]) -> Vec<Figure<'a>> {
    let figure = |whole: &&'a Whole| {
        let value = Spread::of(&whole.seconds)?.median;
        Some(Figure { allocator: &whole.allocator, role: whole.role, value })
    };
    group.iter().filter_map(figure).collect()
}
