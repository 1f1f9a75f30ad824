//! The default input: the sources of the packages that this program was built from.

use super::failure::Failure;
use cargo_metadata::MetadataCommand;
use std::path::{Path, PathBuf};

/// The folders of all packages that cargo had to download for this build.
///
/// The metadata is limited to the platform that this program was compiled for: cargo has downloaded no others, and must
/// not download any here.
///
/// # Errors
///
/// If cargo cannot be run, or does not have the packages, as where this program was copied to another machine.
pub fn folders() -> Result<Vec<PathBuf>, Failure> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let options = ["--offline", "--filter-platform", target_tuple::TARGET];
    let metadata = MetadataCommand::new()
        .manifest_path(&manifest)
        .other_options(options.map(String::from))
        .exec()
        .map_err(|error| {
            Failure::Input(format!(
                "cannot find the sources of this build's dependencies ({}): {}; name the paths to parse instead",
                manifest.display(),
                error.to_string().trim_end()
            ))
        })?;
    let downloaded = metadata.packages.into_iter().filter(|package| package.source.is_some());
    Ok(downloaded.filter_map(|package| Some(package.manifest_path.parent()?.into())).collect())
}
