//! Builds a program for each allocator. One that does not build is left out, and told.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::conditions::{self, version};
use super::field::{Entry, FIELD, OURS};
use super::options::Builds;
use super::process::output;
use super::results::Contender;
use super::{Failure, Options};

/// How long a build may take.
const LIMIT: Duration = Duration::from_secs(1800);

/// The programs on a global allocator.
#[derive(Clone, Debug)]
pub struct Built {
    pub name: &'static str,
    /// All cases.
    pub subject: PathBuf,
    /// The example.
    pub parse_sources: PathBuf,
}

/// What was built.
pub struct Programs {
    pub built: Vec<Built>,
    /// That of the allocators that are used directly.
    pub direct: PathBuf,
    pub contenders: Vec<Contender>,
}

/// The folder for what cargo builds with these options.
fn profile(lto: bool) -> &'static str {
    if lto { "figures-lto" } else { "figures" }
}

/// Where programs are built.
struct Place<'a> {
    root: &'a Path,
    target: &'a Path,
    profile: &'static str,
    /// The folder that they are copied to.
    folder: PathBuf,
}

impl Place<'_> {
    /// Builds programs and copies each to the folder of programs, since the next build puts another
    /// in its place.
    fn build(&self, features: &[&str], programs: &[(&str, PathBuf)]) -> Result<(), Failure> {
        let mut command = Command::new("cargo");
        command.args(["build", "--quiet", "--locked", "--package", "figures", "--profile", self.profile]);
        command.arg("--manifest-path").arg(self.root.join("Cargo.toml"));
        for feature in features {
            command.args(["--features", feature]);
        }
        for (program, _) in programs {
            command.args(["--bin", program]);
        }
        command.env("CARGO_TARGET_DIR", self.target);
        output(&mut command, LIMIT)?;
        for (program, copy) in programs {
            let from = self.target.join(self.profile).join(program);
            fs::copy(&from, copy).map_err(|error| format!("{}: {error}", from.display()))?;
        }
        Ok(())
    }

    /// Builds the programs on a global allocator: the cases and, if it is wanted, the example.
    fn one(&self, entry: &'static Entry, example: bool, limit: Duration) -> Result<Built, Failure> {
        let built = Built {
            name: entry.name,
            subject: self.folder.join(entry.name),
            parse_sources: self.folder.join(format!("{}-parse_sources", entry.name)),
        };
        let features = if entry.name == OURS { Vec::new() } else { vec![entry.name] };
        let mut programs = vec![("subject", built.subject.clone())];
        if example {
            programs.push(("parse_sources", built.parse_sources.clone()));
        }
        self.build(&features, &programs)?;
        // It must start, too: its library may be missing.
        output(Command::new(&built.subject).arg("list"), limit)?;
        Ok(built)
    }
}

/// Builds all that are wanted, the example included.
pub fn all(root: &Path, options: &Options) -> Result<Programs, Failure> {
    programs(root, &options.builds, options.lto, true)
}

/// Builds those that run the rows of [`situations`](crate::situations).
pub fn subjects(root: &Path, builds: &Builds) -> Result<Programs, Failure> {
    programs(root, builds, false, false)
}

fn programs(root: &Path, builds: &Builds, lto: bool, example: bool) -> Result<Programs, Failure> {
    let profile = profile(lto);
    let folder = builds.target.join("programs").join(profile);
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let direct = folder.join("direct");
    let place = Place { root, target: &builds.target, profile, folder };
    eprintln!("building direct");
    place.build(&[], &[("direct", direct.clone())])?;
    let (mut built, mut contenders) = (Vec::new(), Vec::new());
    for entry in FIELD.iter().filter(|entry| builds.wants(entry.name)) {
        eprintln!("building {}", entry.name);
        let result = place.one(entry, example, builds.limit());
        let left_out = result.as_ref().err().map(|failure| reason(failure));
        if let Some(reason) = &left_out {
            eprintln!("{} is left out, since it does not build: {reason}", entry.name);
        }
        built.extend(result);
        contenders.push(Contender {
            name: entry.name.into(),
            version: if entry.package.is_empty() {
                conditions::glibc()
            } else {
                version(root, entry.package)
            },
            purge: entry.purge.into(),
            left_out,
        });
    }
    if built.is_empty() {
        return Err("no allocator is left to measure".into());
    }
    Ok(Programs { built, direct, contenders })
}

/// The lines that say why a build failed.
fn reason(failure: &str) -> String {
    let lines = failure.lines().map(str::trim);
    let telling =
        |line: &&str| line.contains("error") || line.contains("not found") || line.contains("panicked");
    let found: Vec<_> = lines.clone().filter(telling).take(3).collect();
    if found.is_empty() { lines.take(3).collect::<Vec<_>>().join(" ") } else { found.join("; ") }
}
