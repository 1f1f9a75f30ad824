//! The machine, the compiler, and how it was measured.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use cargo_metadata::{Metadata, MetadataCommand};
use serde::{Deserialize, Serialize};

use super::process::output;
use super::{Failure, Options};

/// Under which a run took place.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Conditions {
    pub processor: String,
    pub cores: usize,
    pub kernel: String,
    pub compiler: String,
    pub valgrind: String,
    /// Whether the programs were built with fat link-time optimisation.
    pub link_time_optimisation: bool,
    pub rounds: usize,
    pub milliseconds: u64,
    /// Whether it was a quick run.
    pub quick: bool,
    /// Libraries that are compared in direct use, with their versions.
    pub libraries: Vec<String>,
}

/// Those of direct use.
const LIBRARIES: [&str; 9] = [
    "blink-alloc",
    "buddy_system_allocator",
    "bump-scope",
    "bumpalo",
    "linked_list_allocator",
    "mimalloc",
    "rlsf",
    "stalloc",
    "talc",
];

/// What cargo knows of the packages.
pub fn metadata(root: &Path, features: &[String]) -> Result<Metadata, Failure> {
    let options = ["--locked", "--filter-platform", target_tuple::TARGET].map(String::from);
    let mut command = MetadataCommand::new();
    command.manifest_path(root.join("benches/figures/Cargo.toml")).other_options(options);
    command.features(cargo_metadata::CargoOpt::SomeFeatures(features.to_vec()));
    command.exec().map_err(|error| format!("cargo metadata: {error}"))
}

/// The version of a package in the lock file; empty where there is none.
pub fn version(root: &Path, package: &str) -> String {
    let lock = fs::read_to_string(root.join("Cargo.lock")).unwrap_or_default();
    let mut lines = lock.lines().skip_while(|line| *line != format!("name = \"{package}\"")).skip(1);
    let version = lines.next().and_then(|line| line.strip_prefix("version = \"")?.strip_suffix('"'));
    version.unwrap_or_default().to_owned()
}

fn first_line(program: &str, arguments: &[&str]) -> String {
    let printed = output(Command::new(program).args(arguments), Duration::from_secs(20)).unwrap_or_default();
    printed.lines().next().unwrap_or("unknown").trim().to_owned()
}

/// The version of the GNU C library.
pub fn glibc() -> String {
    first_line("getconf", &["GNU_LIBC_VERSION"]).trim_start_matches("glibc ").to_owned()
}

/// Those of this run.
pub fn of(root: &Path, options: &Options) -> Conditions {
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processor.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let kind = if processor.contains(" hypervisor") { "virtual machine" } else { "machine" };
    Conditions {
        processor: format!("{} ({kind})", model.map_or("unknown", |(_, model)| model.trim())),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        kernel: first_line("uname", &["-srm"]),
        compiler: first_line("rustc", &["--version"]),
        valgrind: first_line("valgrind", &["--version"]),
        link_time_optimisation: options.lto,
        rounds: options.rounds(),
        milliseconds: options.milliseconds(),
        quick: options.quick,
        libraries: LIBRARIES.map(|library| format!("{library} {}", version(root, library))).into(),
    }
}

impl Conditions {
    /// As a list in Markdown.
    pub fn list(&self) -> String {
        format!(
            "- {} cores of {}, shared with other work; {}\n\
             - {}, profile `figures` (`release` with its defaults), {} link-time optimisation\n\
             - {}; medians of {} rounds of {} ms each{}\n\
             - libraries used directly: {}\n",
            self.cores,
            self.processor,
            self.kernel,
            self.compiler,
            if self.link_time_optimisation { "fat" } else { "without" },
            self.valgrind,
            self.rounds,
            self.milliseconds,
            if self.quick { " (a quick run)" } else { "" },
            self.libraries.join(", "),
        )
    }
}
