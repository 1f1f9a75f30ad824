//! Which files to parse, in the order in which every run takes them.

use super::dependencies;
use super::failure::Failure;
use std::fs;
use std::path::{Path, PathBuf};
use walkdir::WalkDir;

/// Rust sources, sorted and each once.
pub struct Input {
    /// Where they are.
    pub files: Vec<PathBuf>,
    /// How long they are together.
    pub bytes: u64,
}

impl Input {
    /// Finds the files at and under `paths`, or those of the dependencies if there are none.
    ///
    /// All files are read once, which gives their length and brings them into the page cache, so
    /// that the first run does not wait for the disk where later ones do not.
    ///
    /// # Errors
    ///
    /// If a path or file cannot be read, or if there are no Rust sources.
    pub fn find(paths: &[PathBuf]) -> Result<Self, Failure> {
        let dependencies;
        let paths = if paths.is_empty() {
            dependencies = dependencies::folders()?;
            &dependencies
        } else {
            paths
        };
        let mut files = Vec::new();
        for path in paths {
            find_under(path, &mut files)?;
        }
        files.sort_unstable();
        files.dedup();
        if files.is_empty() {
            return Err(Failure::Input("no Rust sources (files named *.rs) under the given paths".into()));
        }
        let mut bytes = 0;
        for file in &files {
            let content = fs::read(file)
                .map_err(|error| Failure::Input(format!("cannot read {}: {error}", file.display())))?;
            bytes += content.len() as u64;
        }
        Ok(Self { files, bytes })
    }
}

/// A file that is named itself counts whatever its name is.
fn find_under(path: &Path, files: &mut Vec<PathBuf>) -> Result<(), Failure> {
    for entry in WalkDir::new(path) {
        let entry = entry.map_err(|error| {
            let at = error.path().unwrap_or(path).display().to_string();
            match error.into_io_error() {
                Some(error) => Failure::Input(format!("cannot read {at}: {error}")),
                None => Failure::Input(format!("cannot read {at}")),
            }
        })?;
        let is_source = entry.depth() == 0 || entry.path().extension().is_some_and(|end| end == "rs");
        // Follows links, since a file that is named itself may be one; a folder is never a file.
        if is_source && entry.path().is_file() {
            files.push(entry.into_path());
        }
    }
    Ok(())
}
